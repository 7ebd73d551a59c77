"""Audio in: every container, every kind of source, limits, damage."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soxr
from audio_files import amr_wb, encode, encode_av, encode_video_only, speech_like
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio import _blocks, _readers, errors
from deepfake_audio.audio import decode, probe
from deepfake_audio.config import Limits

SECONDS = 1.5


@pytest.fixture(scope="module")
def wav() -> bytes:
    return encode(speech_like(SECONDS, 44_100), 44_100, "WAV", "PCM_16")


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Largest normalised cross-correlation: blind to a codec's delay and gain."""
    size = len(a) + len(b)
    product = np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size))
    return float(np.fft.irfft(product).max() / np.linalg.norm(a) / np.linalg.norm(b))


SNDFILE = [
    *[("WAV", codec) for codec in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")],
    *[("WAV", codec) for codec in ("ALAW", "ULAW", "GSM610")],
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("AU", "PCM_16"),
]


@pytest.mark.parametrize(("container", "codec"), SNDFILE)
def test_libsndfile_formats(container: str, codec: str, tmp_path: Path) -> None:
    rate = 8_000 if codec == "GSM610" else 48_000
    original = speech_like(SECONDS, rate)
    path = tmp_path / "clip.bin"
    path.write_bytes(encode(original, rate, container, codec))
    audio = decode(path)
    assert audio.info.format == f"{container}/{codec}"
    assert (audio.info.sample_rate_hz, audio.info.channels) == (rate, 1)
    assert audio.info.duration_s == pytest.approx(SECONDS, abs=0.06)
    assert audio.samples.dtype == np.float32
    assert similarity(audio.samples[0], soxr.resample(original, rate, 16_000)) > 0.97
    assert not {"truncated", "clipped", "invalid_samples", "noisy", "dc_offset"} & set(audio.flags)


FFMPEG = [
    ("ipod", "aac", 44_100, "M4A/AAC", {}),
    ("ipod", "alac", 44_100, "M4A/ALAC", {}),
    ("mp4", "aac", 44_100, "MP4/AAC", {"video": True}),
    ("mp4", "aac", 44_100, "MP4/AAC", {"faststart": True}),
    ("mov", "pcm_s16le", 44_100, "MOV/PCM_S16LE", {"video": True}),
    ("webm", "libopus", 48_000, "WEBM/OPUS", {"video": True}),
    ("matroska", "ac3", 48_000, "MKV/AC3", {"video": True}),
    ("matroska", "pcm_s16le", 44_100, "MKV/PCM_S16LE", {}),
    ("amr", "libopencore_amrnb", 8_000, "AMR/AMR_NB", {}),
    ("3gp", "libopencore_amrnb", 8_000, "3GP/AMR_NB", {}),
    ("3gp", "aac", 16_000, "3GP/AAC", {}),
    ("asf", "wmav2", 44_100, "WMA/WMAV2", {}),
    ("adts", "aac", 44_100, "AAC/AAC", {}),
    ("caf", "ac3", 48_000, "CAF/AC3", {}),
    ("ogg", "flac", 44_100, "OGG/FLAC", {}),
    ("wav", "g722", 16_000, "WAV/ADPCM_G722", {}),
]


@pytest.mark.parametrize(("container", "codec", "rate", "label", "options"), FFMPEG)
def test_ffmpeg_formats(
    container: str, codec: str, rate: int, label: str, options: dict[str, bool]
) -> None:
    pytest.importorskip("av")
    original = speech_like(SECONDS, rate)
    content = encode_av(original, rate, container, codec, **options)
    audio = decode(content)
    assert audio.info.format == label
    assert audio.info.sample_rate_hz == rate
    assert audio.info.duration_s == pytest.approx(SECONDS, abs=0.15)
    least = 0.45 if "amr" in codec else 0.9  # AMR keeps the spectrum and not the waveform
    assert similarity(audio.samples[0], soxr.resample(original, rate, 16_000)) > least
    assert "truncated" not in audio.flags
    assert probe(content).duration_s == pytest.approx(SECONDS, abs=0.15) or options.get("video")


def test_amr_wb() -> None:
    pytest.importorskip("av")
    audio = decode(amr_wb(100))
    assert audio.info.format == "AMR/AMR_WB"
    assert audio.info.duration_s == pytest.approx(2.0, abs=0.03)


def test_content_decides_not_the_extension(tmp_path: Path, wav: bytes) -> None:
    path = tmp_path / "clip.mp3"
    path.write_bytes(wav)
    assert decode(path).info.format == "WAV/PCM_16"
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(speech_like(1, 16_000), 16_000, "FLAC", "PCM_16"))
    assert probe(path).format == "FLAC/PCM_16"


def test_id3_tag_before_the_audio() -> None:
    tag = b"ID3\4\0\0\0\0\2\0" + bytes(256)
    mp3 = encode(speech_like(1, 44_100), 44_100, "MP3")
    assert decode(tag + mp3).info.duration_s == pytest.approx(1, abs=0.06)


class Pipe(io.RawIOBase):
    """A source that can only be read onwards, a few bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, 777) if size >= 0 else 777)

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("codec", ["wav", "m4a"])
def test_path_bytes_and_file_objects_agree(codec: str, wav: bytes, tmp_path: Path) -> None:
    if codec == "m4a":
        pytest.importorskip("av")
        wav = encode_av(speech_like(1, 44_100), 44_100, "ipod", "aac")
    path = tmp_path / "clip"
    path.write_bytes(wav)
    reference = decode(path)
    assert reference.info.sha256 == hashlib.sha256(wav).hexdigest()
    assert reference.info.name == str(path)
    opened = path.open("rb")
    for source in (str(path), wav, bytearray(wav), io.BytesIO(wav), opened, Pipe(wav)):
        audio = decode(source, name=str(path))
        assert audio.info == reference.info
        assert audio.flags == reference.flags
        np.testing.assert_array_equal(audio.samples, reference.samples)
    assert not opened.closed
    opened.close()


def test_large_files_are_not_read_into_memory(
    tmp_path: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav)
    expected = decode(path)
    monkeypatch.setattr("deepfake_audio._sources._IN_MEMORY_BYTES", 1000)
    for source in (path, Pipe(wav)):
        audio = decode(source, name=str(path))
        assert audio.info == expected.info
        np.testing.assert_array_equal(audio.samples, expected.samples)


@pytest.mark.parametrize("block", [1 << 10, 5_000, 1 << 14])
@pytest.mark.parametrize("codec", [("WAV", "PCM_16"), ("OGG", "OPUS"), ("FLAC", "PCM_16")])
def test_block_size_does_not_matter(
    block: int, codec: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stereo = np.stack([speech_like(SECONDS, 48_000, seed) for seed in (0, 1)], axis=1)
    content = encode(stereo, 48_000, *codec)
    expected = decode(content)
    monkeypatch.setattr(_blocks, "BLOCK_SAMPLES", block)
    audio = decode(content)
    np.testing.assert_allclose(audio.samples, expected.samples, atol=1e-6)
    assert audio.flags == expected.flags


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000])
def test_streaming_equals_resampling_at_once(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_SAMPLES", 4096)
    original = speech_like(SECONDS, rate)
    expected = soxr.resample(original, rate, 16_000)
    audio = decode(original, sample_rate_hz=rate)
    assert audio.samples.shape == (1, len(expected))
    np.testing.assert_allclose(audio.samples[0], expected, atol=1e-5)


def test_at_16_khz_samples_pass_unchanged() -> None:
    original = speech_like(1, 16_000)
    np.testing.assert_array_equal(decode(original, sample_rate_hz=16_000).samples[0], original)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(50, 5000),
    rate=st.integers(4_000, 384_000),
    channels=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_output_length(frames: int, rate: int, channels: int, seed: int) -> None:
    array = np.random.default_rng(seed).uniform(-1, 1, (channels, frames)).astype(np.float32)
    audio = decode(array, sample_rate_hz=rate)
    assert audio.samples.shape[0] == channels
    assert abs(audio.samples.shape[1] - frames * 16_000 / rate) <= 1
    assert np.isfinite(audio.samples).all()
    assert audio.info.duration_s == pytest.approx(frames / rate)


def test_opposite_channels_stay_two_channels() -> None:
    left = speech_like(1, 44_100)
    audio = decode(encode(np.stack([left, -left], axis=1), 44_100, "WAV", "PCM_16"))
    assert audio.samples.shape[0] == 2
    np.testing.assert_allclose(audio.samples[0], -audio.samples[1], atol=1e-4)
    assert np.abs(audio.samples[0]).max() > 0.3


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float64"])
def test_arrays_are_scaled_by_their_type(dtype: str) -> None:
    original = speech_like(1, 16_000)
    array = original
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        array = original.astype(np.float64) * 2.0 ** (info.bits - 1) + (info.min == 0) * (
            2.0 ** (info.bits - 1)
        )
    array = np.floor(array).astype(dtype) if dtype != "float64" else array.astype(dtype)
    audio = decode(array, sample_rate_hz=16_000)
    step = 2.0**-7 if "8" in dtype else 2.0**-14
    np.testing.assert_allclose(audio.samples[0], original, atol=step)
    assert (audio.info.format, audio.info.name) == ("array", "<array>")


def test_arrays_of_the_caller_are_left_alone() -> None:
    array = speech_like(2, 16_000)
    array[100] = np.nan
    audio = decode(array, sample_rate_hz=16_000)
    assert np.isnan(array[100])
    assert audio.samples[0, 100] == 0
    assert "invalid_samples" in audio.flags


def test_one_nan_in_a_file_is_zeroed_and_flagged() -> None:
    samples = speech_like(2, 44_100)
    samples[500] = np.inf
    audio = decode(encode(samples, 44_100, "WAV", "FLOAT"))
    assert "invalid_samples" in audio.flags
    assert np.isfinite(audio.samples).all()


TRUNCATED = [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16")]
TRUNCATED += [("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("RF64", "PCM_16")]


@pytest.mark.parametrize(("container", "codec"), TRUNCATED)
def test_half_a_file_is_read_and_flagged(container: str, codec: str) -> None:
    if container == "CAF":
        pytest.importorskip("av")  # libsndfile refuses a CAF that ends early
    content = encode(speech_like(4, 48_000), 48_000, container, codec)
    assert "truncated" not in decode(content).flags
    audio = decode(content[: len(content) // 2])
    assert "truncated" in audio.flags
    assert 0.8 < audio.info.duration_s < 2.6
    assert audio.samples.shape[1] == pytest.approx(16_000 * audio.info.duration_s, abs=2)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [("mp4", "aac", {"faststart": True}), ("webm", "libopus", {}), ("adts", "aac", {})],
)
def test_half_a_video_is_read_and_flagged(container: str, codec: str, options: dict) -> None:
    pytest.importorskip("av")
    content = encode_av(speech_like(4, 48_000), 48_000, container, codec, **options)
    audio = decode(content[: len(content) * 6 // 10])
    assert "truncated" in audio.flags
    assert 1.0 < audio.info.duration_s < 3.5


LIMITS = [
    ({"max_duration_s": 1.0}, "longer than 1 s"),
    ({"max_samples": 10_000}, "10000 samples at 16 kHz"),
    ({"max_source_samples": 10_000}, "10000 samples over"),
    ({"max_file_bytes": 1_000}, "1000 bytes"),
    ({"min_sample_rate_hz": 48_000}, "44100 Hz"),
    ({"max_sample_rate_hz": 22_050}, "44100 Hz"),
    ({"max_decode_s": 1e-9}, "longer than"),
]


@pytest.mark.parametrize(("changes", "text"), LIMITS)
def test_limits(changes: dict[str, float], text: str, wav: bytes) -> None:
    limits = Limits().replace(**changes)
    for source in (wav, Pipe(wav)):
        with pytest.raises(errors.LimitExceededError, match=text):
            decode(source, limits=limits)


def test_channel_limit() -> None:
    content = encode(np.zeros((1000, 3)), 16_000, "WAV")
    with pytest.raises(errors.LimitExceededError, match="3 channels"):
        decode(content, limits=Limits(max_channels=2))


def test_limits_hold_while_reading_whatever_the_header_says() -> None:
    # An MP3 without a frame count announces nothing that could be checked beforehand.
    content = encode(speech_like(6, 44_100), 44_100, "MP3")
    content = content.replace(b"Info", b"\0\0\0\0").replace(b"Xing", b"\0\0\0\0")
    with pytest.raises(errors.LimitExceededError, match="longer than 2 s"):
        decode(content, limits=Limits(max_duration_s=2))


def test_a_small_file_cannot_ask_for_much_memory() -> None:
    import tracemalloc

    bomb = encode(np.zeros((400_000, 8)), 384_000, "FLAC", "PCM_16")
    assert len(bomb) < 20_000
    tracemalloc.start()
    with pytest.raises(errors.LimitExceededError):
        decode(bomb, limits=Limits(max_source_samples=1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # the whole would be 12.8 MB for each second


def test_the_budget_of_memory_is_in_samples_at_16_khz() -> None:
    content = encode(np.zeros((48_000, 2)), 48_000, "FLAC", "PCM_16")
    assert decode(content, limits=Limits(max_samples=32_000)).samples.size == 32_000
    with pytest.raises(errors.LimitExceededError, match=r"limits\.max_samples"):
        decode(content, limits=Limits(max_samples=31_999))
    # Low rates grow on the way.
    with pytest.raises(errors.LimitExceededError, match=r"limits\.max_samples"):
        decode(speech_like(1, 8_000), sample_rate_hz=8_000, limits=Limits(max_samples=15_999))
    defaults = Limits()
    assert defaults.max_samples >= defaults.max_duration_s * 16_000
    assert defaults.max_source_samples >= defaults.max_duration_s * 48_000 * 2


def test_decoding_holds_the_samples_once() -> None:
    import tracemalloc

    content = encode(np.zeros(16_000 * 500), 16_000, "FLAC", "PCM_16")
    decode(content[:1000] + content[1000:])  # imports and caches
    tracemalloc.start()
    samples = decode(content).samples
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.nbytes == 32_000_000
    # NumPy counts the untouched array as memory: parts and whole, and no third copy.
    assert peak < 2.4 * samples.nbytes


JOINED = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


@pytest.mark.parametrize("codec", JOINED)
def test_joined_files_are_heard_to_the_end(codec: tuple[str, str]) -> None:
    if codec[0] == "MP3":
        pytest.importorskip("av")
    first, second = speech_like(3, 16_000), speech_like(5, 16_000, 1)
    content = encode(first, 16_000, *codec) + encode(second, 16_000, *codec)
    audio = decode(content)
    assert audio.info.format == "/".join(codec) or codec[0] == "MP3"
    assert audio.info.duration_s == pytest.approx(8, abs=0.3)
    assert similarity(audio.samples[0, -80_000:], second) > 0.9
    assert "truncated" not in audio.flags
    assert probe(content).duration_s == pytest.approx(8, abs=0.5)


def test_joined_ogg_files_of_different_kinds() -> None:
    vorbis = encode(speech_like(1, 16_000), 16_000, "OGG", "VORBIS")
    opus = encode(speech_like(2, 16_000), 16_000, "OGG", "OPUS")
    assert decode(vorbis + opus + vorbis).info.duration_s == pytest.approx(4, abs=0.1)
    other = encode(speech_like(1, 44_100), 44_100, "OGG", "VORBIS")
    with pytest.raises(errors.CorruptAudioError, match="changes within"):
        decode(vorbis + other)
    # Neither bytes between the two nor a missing mark of the end hide what follows.
    audio = decode(vorbis + bytes(5000) + opus)
    assert audio.info.duration_s == pytest.approx(3, abs=0.1)
    audio = decode(encode(speech_like(9, 16_000), 16_000, "OGG", "VORBIS")[:-500] + opus)
    assert audio.info.duration_s > 4
    assert "truncated" in audio.flags
    audio = decode(vorbis + opus[:60])  # of the second nothing is left
    assert audio.info.duration_s == pytest.approx(1, abs=0.1)
    assert "truncated" in audio.flags


def test_the_search_for_joined_files_spans_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vorbis = encode(speech_like(1, 16_000), 16_000, "OGG", "VORBIS")
    for size in (len(vorbis) - 3, len(vorbis), len(vorbis) + 3, 50):
        monkeypatch.setattr("deepfake_audio._containers._SCAN_BYTES", size)
        assert decode(vorbis * 3).info.duration_s == pytest.approx(3, abs=0.1)


def with_xing_frames(mp3: bytes, share: float) -> bytes:
    """Change the number of frames that an MP3 states."""
    at = next(mp3.find(mark) for mark in (b"Xing", b"Info") if mark in mp3) + 8
    frames = int(int.from_bytes(mp3[at : at + 4], "big") * share)
    return mp3[:at] + frames.to_bytes(4, "big") + mp3[at + 4 :]


def without_xing(mp3: bytes) -> bytes:
    return mp3.replace(b"Info", b"\0\0\0\0").replace(b"Xing", b"\0\0\0\0")


@pytest.mark.parametrize("av", [True, False])
def test_no_mp3_is_cut_in_silence(av: bool, request: pytest.FixtureRequest) -> None:
    if av:
        pytest.importorskip("av")
    else:
        request.getfixturevalue("without_av")
    mp3 = encode(speech_like(8, 16_000), 16_000, "MP3")
    for content in (with_xing_frames(mp3, 0.25), without_xing(mp3), mp3 + mp3):
        audio = decode(content)
        whole = 8 * content.count(b"Xing") if content == mp3 + mp3 else 8
        assert audio.info.duration_s > whole - 0.1 or "truncated" in audio.flags


def test_tags_at_the_end_of_an_mp3_are_no_sound(without_av: None) -> None:
    mp3 = encode(speech_like(2, 16_000), 16_000, "MP3")
    size = (40_000 + 32).to_bytes(4, "little")
    ape = bytes(40_000) + b"APETAGEX" + bytes(4) + size + bytes(16)
    audio = decode(mp3 + ape + b"TAG" + bytes(125))
    assert audio.info.format.startswith("MP3/MPEG")
    assert audio.info.duration_s == pytest.approx(2, abs=0.06)
    assert "truncated" not in audio.flags


@pytest.mark.parametrize("container", ["matroska", "mp4", "ogg"])
def test_a_second_track_is_mentioned(container: str) -> None:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        codec = "aac" if container == "mp4" else "libopus"
        tracks = [file.add_stream(codec, rate=48_000, layout="mono") for _ in range(2)]
        for seed, track in enumerate(tracks):
            pcm = speech_like(1, 48_000, seed)[None]
            frame = av.AudioFrame.from_ndarray(pcm, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            resampler = av.AudioResampler(
                format=track.format, layout="mono", rate=48_000, frame_size=960
            )
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(track.encode(part))
            file.mux(track.encode(None))
    assert "extra_audio_tracks" in decode(out.getvalue()).flags


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("without_av")
def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.MissingExtraError) as raised:
        decode("clip.m4a")
    expected = 'clip.m4a: AAC needs the "av" extra: pip install "deepfake-audio[av]"'
    assert str(raised.value) == expected


@pytest.mark.usefixtures("without_av")
def test_without_the_extra_damage_is_told_from_a_missing_codec(wav: bytes) -> None:
    assert decode(wav).info.format == "WAV/PCM_16"
    with pytest.raises(errors.CorruptAudioError, match="damaged"):
        decode(wav[:30])
    with pytest.raises(errors.MissingExtraError, match="this WAV codec needs"):
        decode(wav[:20] + b"\x77\x77" + wav[22:])


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"http://localhost/clip.wav",
    ],
)
def test_playlists_are_not_opened(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    monkeypatch.setattr(av, "open", lambda *a, **k: pytest.fail("FFmpeg was asked"))
    with pytest.raises(errors.UnsupportedFormatError):
        decode(text)


def test_ffmpeg_gets_a_file_object_and_one_demuxer(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    content = encode_av(speech_like(1, 16_000), 16_000, "matroska", "pcm_s16le")
    calls = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: calls.append((a, k)) or real(*a, **k))
    decode(content)
    ((file, *_), options), *more = calls
    assert not more
    assert not isinstance(file, str | os.PathLike)
    assert options["format"] == options["options"]["format_whitelist"] == "matroska"
    assert options["options"]["protocol_whitelist"] == "none"


def test_video_without_sound() -> None:
    pytest.importorskip("av")
    with pytest.raises(errors.UnsupportedFormatError, match="no audio track"):
        decode(encode_video_only())


def test_array_without_rate_and_other_types() -> None:
    with pytest.raises(errors.InvalidSamplesError, match="sample_rate_hz"):
        decode(np.zeros(100))
    for rate in ("16000", 16_000.5, float("nan"), b"16000", [16_000]):
        with pytest.raises(errors.InvalidSamplesError, match="sample_rate_hz"):
            decode(np.zeros(100), sample_rate_hz=rate)  # type: ignore[arg-type]
    samples = speech_like(1, 16_000)
    assert decode(samples, sample_rate_hz=np.float64(16_000)).info.sample_rate_hz == 16_000
    with pytest.raises(errors.UnsupportedFormatError, match="int"):
        decode(12)  # type: ignore[arg-type]
    with pytest.raises(errors.UnsupportedFormatError, match="rb"):
        decode(io.StringIO("text"))  # type: ignore[arg-type]


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            decode(path)
        except errors.DeepfakeAudioError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert len(outcome) == 1
    assert isinstance(outcome[0], errors.AudioNotFoundError)


def test_file_objects_that_fail() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(errors.AudioError, match="cannot be read") as raised:
        decode(Broken(), name="a.wav")
    assert "the disk is gone" in str(raised.value)


def test_threads_give_the_same_result() -> None:
    contents = [encode(speech_like(1, 48_000, seed), 48_000, "OGG", "OPUS") for seed in range(3)]
    expected = [decode(content).samples for content in contents]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(decode, contents * 6))
    for index, audio in enumerate(results):
        np.testing.assert_array_equal(audio.samples, expected[index % 3])


def test_probe_reads_no_samples(wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _readers.SndfileReader, "blocks", lambda self: pytest.fail("samples were read")
    )
    info = probe(wav, name="a")
    assert (info.name, info.sha256, info.format) == ("a", None, "WAV/PCM_16")
    assert (info.sample_rate_hz, info.channels) == (44_100, 1)
    assert info.duration_s == pytest.approx(SECONDS)
