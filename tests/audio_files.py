"""Small recordings made in code: a speech-like signal, and encoders to bytes."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile


def speech_like(seconds: float, rate_hz: int, seed: int = 0) -> np.ndarray:
    """Harmonics of a gliding pitch with breath above, in syllables with pauses; float32, mono."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / rate_hz
    voice = sum(np.sin(k * pitch + k) / k for k in range(1, 25) if 150 * k < 0.45 * rate_hz)
    breath = 0.05 * rng.standard_normal(len(t))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * t), 0, None) ** 2
    signal = syllables * (voice + breath)
    signal *= 0.5 / np.abs(signal).max()
    return (signal + 1e-5 * rng.standard_normal(len(t))).astype(np.float32)


def encode(samples: np.ndarray, rate_hz: int, container: str, codec: str | None = None) -> bytes:
    """Encode samples of shape (samples,) or (samples, channels) with libsndfile."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format=container, subtype=codec)
    return out.getvalue()


def encode_av(
    samples: np.ndarray,
    rate_hz: int,
    container: str,
    codec: str,
    *,
    video: bool = False,
    faststart: bool = False,
) -> bytes:
    """Encode samples of shape (samples,) or (channels, samples) with FFmpeg."""
    import av

    samples = np.atleast_2d(samples)
    layout = "mono" if len(samples) == 1 else "stereo"
    options = {"movflags": "faststart"} if faststart else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"  # by path: moving the index to the front reads it back
        with av.open(str(path), "w", format=container, options=options) as out:
            film = _add_video(out) if video else None
            stream = out.add_stream(codec, rate=rate_hz, layout=layout)
            if not codec.startswith("pcm"):
                stream.bit_rate = 12_200 if "amr" in codec else 64_000
            if film:  # all streams have to be known before the first packet
                _fill_video(av, out, film, seconds=samples.shape[1] / rate_hz)
            pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm.T.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate = rate_hz
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate_hz)
            fifo = av.AudioFifo()
            for converted in resampler.resample(frame):
                converted.pts = None
                fifo.write(converted)
            done, size = 0, stream.codec_context.frame_size or 1024
            while (part := fifo.read(size, partial=True)) is not None:
                part.pts, part.time_base = done, Fraction(1, rate_hz)
                done += part.samples
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
        return path.read_bytes()


def encode_video_only() -> bytes:
    """Encode a silent film."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        _fill_video(av, container, _add_video(container), seconds=1)
    return out.getvalue()


def _add_video(out):
    stream = out.add_stream("libvpx" if out.format.name == "webm" else "mpeg4", rate=10)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    return stream


def _fill_video(av, out, stream, seconds: float) -> None:
    # Longer than the sound, so that its duration cannot be mistaken for that of the sound.
    for index in range(int(10 * seconds) + 10):
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 10)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def amr_wb(frames: int, seed: int = 0) -> bytes:
    """Return AMR-WB with random parameters, for which FFmpeg has a decoder but no encoder."""
    rng = np.random.default_rng(seed)
    mode_2 = b"\x14" + b"%s"  # 12.65 kb/s: 32 bytes of speech parameters a frame of 20 ms
    return b"#!AMR-WB\n" + b"".join(mode_2 % rng.bytes(32) for _ in range(frames))
