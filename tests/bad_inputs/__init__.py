"""Inputs that no well-meaning program makes: each must be refused in one line, or flagged."""

from __future__ import annotations

import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
from audio_files import encode, encode_av, encode_video_only, speech_like

RATE_HZ = 44_100


def make_bad_inputs(folder: Path) -> dict[str, Path]:
    """Write all bad inputs into `folder`; those that need FFmpeg only where PyAV is installed."""
    contents = _not_audio() | _broken_wav() | _broken_streams() | _bad_samples()
    if importlib.util.find_spec("av"):
        contents |= _broken_av()
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    return paths | _not_files(folder)


def _not_audio() -> dict[str, bytes]:
    noise = np.random.default_rng(0).bytes(50_000)
    return {
        "empty.wav": b"",
        "one_byte.mp3": b"\xff",
        "text.wav": b"This is a text.\n" * 500,
        "utf16_text.mp3": ("\ufeff" + "hello, I pass for a sync word\n" * 900).encode("utf-16-le"),
        "random.ogg": noise,
        "zeros.wav": bytes(50_000),
        "ones.mp3": b"\xff" * 50_000,
        "picture.png": b"\x89PNG\r\n\x1a\n" + noise,
        "archive.zip": b"PK\3\4" + noise,
        "page.html": b"<!doctype html><title>404</title>" * 100,
        "playlist.m3u8": b"#EXTM3U\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/hostname\n",
        "line\nbreak.wav": b"no audio, and a name that would break a line",
    }


def _wav(samples: np.ndarray | None = None, codec: str = "PCM_16") -> bytes:
    return encode(speech_like(2, RATE_HZ) if samples is None else samples, RATE_HZ, "WAV", codec)


def _patched(content: bytes, offset: int, layout: str, *values: int) -> bytes:
    new = struct.pack(layout, *values)
    return content[:offset] + new + content[offset + len(new) :]


def _broken_wav() -> dict[str, bytes]:
    wav = _wav()
    return {
        "only_riff.wav": wav[:12],
        "half_header.wav": wav[:30],
        "no_samples.wav": wav[:44],
        "zero_frames.wav": _wav(np.zeros(0)),
        "half.wav": wav[: len(wav) // 2],
        "data_size_lies.wav": _patched(wav, 40, "<I", 0x70000000),
        "no_channels.wav": _patched(wav, 22, "<H", 0),
        "many_channels.wav": _patched(_patched(wav, 22, "<H", 900), 32, "<H", 1800),
        "rate_0.wav": _patched(wav, 24, "<I", 0),
        "rate_1.wav": _patched(wav, 24, "<I", 1),
        "rate_huge.wav": _patched(wav, 24, "<I", 0x7FFFFFFF),
        "unknown_codec.wav": _patched(wav, 20, "<H", 0x7777),
        "bits_0.wav": _patched(wav, 34, "<H", 0),
        "chunk_size_lies.wav": _patched(wav, 16, "<I", 0xFFFFFFF0),
        "half.aiff": encode(speech_like(2, RATE_HZ), RATE_HZ, "AIFF")[:60_000],
        "half.caf": encode(speech_like(2, RATE_HZ), RATE_HZ, "CAF")[:60_000],
        "only_header.caf": encode(speech_like(2, RATE_HZ), RATE_HZ, "CAF")[:60],
    }


def _scrambled(content: bytes, start: float, count: int) -> bytes:
    at = int(len(content) * start)
    noise = np.random.default_rng(1).bytes(count)
    return content[:at] + noise + content[at + count :]


def _broken_streams() -> dict[str, bytes]:
    speech = speech_like(3, RATE_HZ)
    mp3 = encode(speech, RATE_HZ, "MP3")
    flac = encode(speech, RATE_HZ, "FLAC")
    ogg = encode(speech_like(3, 48_000), 48_000, "OGG", "OPUS")
    vorbis = encode(speech, RATE_HZ, "OGG", "VORBIS")
    bomb = encode(np.zeros((2_000_000, 8), np.int16), 384_000, "FLAC")
    return {
        "half.mp3": mp3[: len(mp3) // 2],
        "scrambled.mp3": _scrambled(mp3, 0.3, 4000),
        "header_only.mp3": mp3[:300],
        "only_id3.mp3": b"ID3\4\0\0\0\0\2\0" + bytes(256),
        "id3_beyond_the_end.mp3": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3[:2000],
        "half.flac": flac[: len(flac) // 2],
        "scrambled.flac": _scrambled(flac, 0.5, 500),
        "header_only.flac": flac[:42],
        "length_lies.flac": _patched(flac, 22, ">I", 0xFFFFFFFF),
        "bomb.flac": bomb,
        "half.opus": ogg[: len(ogg) // 2],
        "scrambled.opus": _scrambled(ogg, 0.4, 3000),
        "header_only.opus": ogg[:47],
        "no_audio_pages.opus": ogg[:800],
        "scrambled_head.ogg": _scrambled(vorbis, 0.01, 2000),
        "half.ogg": vorbis[: len(vorbis) // 2],
    }


def _bad_samples() -> dict[str, bytes]:
    speech = speech_like(2, RATE_HZ)
    one_nan, many_nan, infinite = speech.copy(), speech.copy(), speech.copy()
    one_nan[1000], many_nan[::7], infinite[:20_000] = np.nan, np.nan, np.inf
    offset, clipped = speech + np.float32(0.1), np.clip(8 * speech, -1, 1)
    return {
        "one_nan.wav": _wav(one_nan, "FLOAT"),
        "many_nan.wav": _wav(many_nan, "FLOAT"),
        "infinite.wav": _wav(infinite, "DOUBLE"),
        "all_nan.wav": _wav(np.full(1000, np.nan), "FLOAT"),
        "beyond_float32.wav": _wav(1e300 * speech.astype(np.float64), "DOUBLE"),
        "integers_as_floats.wav": _wav(32_768 * speech, "FLOAT"),
        "offset.wav": _wav(offset),
        "clipped.wav": _wav(clipped),
        "one_sample.wav": _wav(speech[500:501]),
        "dead_channel.wav": _wav(np.stack([speech, 0 * speech], axis=1)),
    }


def _broken_av() -> dict[str, bytes]:
    speech = speech_like(3, RATE_HZ)
    m4a = encode_av(speech, RATE_HZ, "ipod", "aac")
    fast = encode_av(speech, RATE_HZ, "mp4", "aac", faststart=True)
    webm = encode_av(speech_like(3, 48_000), 48_000, "webm", "libopus")
    adts = encode_av(speech, RATE_HZ, "adts", "aac")
    return {
        "no_index.m4a": m4a[: len(m4a) // 2],
        "half.mp4": fast[: len(fast) // 2],
        "scrambled.mp4": _scrambled(fast, 0.5, 8000),
        "scrambled_index.mp4": _scrambled(fast, 0.01, 600),
        "only_ftyp.mp4": m4a[:28],
        "silent_film.mp4": encode_video_only(),
        "half.webm": webm[: len(webm) // 2],
        "header_only.webm": webm[:60],
        "scrambled.webm": _scrambled(webm, 0.5, 3000),
        "scrambled.aac": _scrambled(adts, 0.3, 5000),
        "header_only.aac": adts[:9],
        "noise.amr": b"#!AMR\n" + np.random.default_rng(2).bytes(3000),
        "header_only.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100),
    }


def _not_files(folder: Path) -> dict[str, Path]:
    paths = {"missing.wav": folder / "missing.wav", "folder.wav": folder / "folder.wav"}
    paths["folder.wav"].mkdir()
    paths["null\0byte.wav"] = Path(str(folder) + "/null\0byte.wav")
    paths["long_name.wav"] = folder / ("x" * 5000)
    if hasattr(os, "mkfifo"):
        paths["pipe.wav"] = folder / "pipe.wav"
        os.mkfifo(paths["pipe.wav"])
        paths["endless.wav"] = Path("/dev/zero")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        paths["forbidden.wav"] = folder / "forbidden.wav"
        paths["forbidden.wav"].write_bytes(b"")
        paths["forbidden.wav"].chmod(0)
    return paths
