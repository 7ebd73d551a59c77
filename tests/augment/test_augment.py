"""Augmentation: a function of its generators, the same for both classes, and what it says it is."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from sounds import make_speech

from deepfake_audio.augment import NO_AUGMENTATION, AugmentConfig, ChannelSimulator, SoundBank
from deepfake_audio.augment.bank import nonspeech, synthetic_rir
from deepfake_audio.augment.channel import trim_edges
from deepfake_audio.augment.codec2 import MODES, codec2
from deepfake_audio.augment.codecs import CODECS, available_codecs, transcode
from deepfake_audio.augment.hifigan import HifiGan
from deepfake_audio.augment.pace import change_speed
from deepfake_audio.augment.renderings import render
from deepfake_audio.augment.signals import at_snr
from deepfake_audio.augment.vocoders import VOCODERS, copies, find_vocoder
from deepfake_audio.datasets.cache import AudioCache, to_int16
from deepfake_audio.errors import CheckpointError, ConfigError, MissingExtraError

RATE_HZ = 16_000
EVERYTHING = AugmentConfig(reverb=1, eq=1, band_limit=1, noise=1, overload=0.5, nonlinear=0.5)


def generators(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, index]) for index in range(n)]


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.from_numpy(np.stack([make_speech(2.0, seed, RATE_HZ) for seed in range(4)]))


def test_the_same_generators_give_the_same_sound(batch: torch.Tensor) -> None:
    simulate = ChannelSimulator(EVERYTHING, SoundBank())
    assert torch.equal(simulate(batch, generators(4)), simulate(batch, generators(4)))
    assert not torch.equal(simulate(batch, generators(4)), simulate(batch, generators(4, seed=1)))


def test_a_clip_is_treated_alike_whatever_stands_beside_it(batch: torch.Tensor) -> None:
    simulate = ChannelSimulator(EVERYTHING, SoundBank())
    together = simulate(batch, generators(4))
    alone = simulate(batch[2:3], generators(4)[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-4)


def test_no_augmentation_changes_nothing_but_the_rounding(batch: torch.Tensor) -> None:
    untouched = ChannelSimulator(NO_AUGMENTATION, SoundBank())(batch, generators(4))
    torch.testing.assert_close(untouched, batch.float(), rtol=0, atol=2e-5)


def test_everything_stays_finite_and_within_full_scale(batch: torch.Tensor) -> None:
    loud = torch.cat([batch, torch.zeros(1, batch.shape[1]), 30 * batch[:1]]).float()
    out = ChannelSimulator(EVERYTHING, SoundBank())(loud, generators(6))
    assert torch.isfinite(out).all()
    assert out.abs().max() <= 1.0


def test_background_lies_at_the_asked_distance(batch: torch.Tensor) -> None:
    noise = torch.randn(batch.shape, generator=torch.Generator().manual_seed(0))
    snr_db = torch.tensor([0.0, 10.0, 20.0, 30.0])
    added = at_snr(batch.float(), noise, snr_db)
    power = batch.float().square().mean(1) / added.square().mean(1)
    torch.testing.assert_close(10 * power.log10(), snr_db, rtol=0, atol=1e-3)


def test_synthetic_rooms_have_unit_energy_and_start_at_once() -> None:
    for seed in range(20):
        room = synthetic_rir(np.random.default_rng(seed))
        assert np.isclose(np.sum(room**2), 1.0, atol=1e-3)
        assert room[0] > 0
        assert not room[1:16].any()


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_faster_means_higher_by_as_much(factor: float) -> None:
    time_s = np.arange(40_000) / 16_000
    tone = (8_000 * np.sin(2 * np.pi * 1_000 * time_s)).astype(np.int16)
    played = change_speed(tone, factor, 32_000)
    assert (played.shape, played.dtype) == ((32_000,), np.int16)
    peak_hz = np.argmax(np.abs(np.fft.rfft(played[1_000:-1_000] * np.hanning(30_000)))) * 16 / 30
    assert peak_hz == pytest.approx(1_000 * factor, abs=1)


def test_trimming_bounds_the_silent_edges() -> None:
    speech = to_int16(make_speech(1.0, 0, RATE_HZ))
    silence = np.zeros(RATE_HZ, dtype=np.int16)
    long = np.concatenate([silence, speech, silence])
    for seed in range(10):
        trimmed = trim_edges(long, np.random.default_rng(seed))
        loud = np.flatnonzero(np.abs(trimmed) > 300)
        assert loud[0] <= 0.35 * RATE_HZ
        assert len(trimmed) - loud[-1] <= 0.35 * RATE_HZ
    assert len(trim_edges(silence, np.random.default_rng(0))) == RATE_HZ


def test_nonspeech_is_audible_sound_of_the_asked_length() -> None:
    for seed in range(30):
        sound = nonspeech(SoundBank(), 20_000, np.random.default_rng(seed))
        assert sound.shape == (20_000,)
        assert sound.dtype == np.int16
        assert np.abs(sound.astype(int)).max() > 100


@pytest.mark.parametrize("name", CODECS)
def test_codecs_keep_length_and_likeness(name: str) -> None:
    if name not in available_codecs():
        pytest.skip(f"this build of FFmpeg has no encoder for {name}")
    speech = to_int16(make_speech(1.5, 3, RATE_HZ))
    rates = CODECS[name].bit_rates or (None,)
    for rate in (rates[0], rates[-1]):
        coded = transcode(speech, name, rate)
        assert coded.shape == speech.shape
        assert coded.dtype == np.int16
        assert not np.array_equal(coded, speech)
        spectra = [np.abs(np.fft.rfft(x[4_000:20_000].astype(float))) for x in (speech, coded)]
        assert np.corrcoef(*spectra)[0, 1] > 0.6, rate


def test_unknown_codecs_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'speex'.*opus"):
        transcode(np.zeros(100, dtype=np.int16), "speex")


def small_cache() -> AudioCache:
    lengths = [3_000, 5_000, 2_000]
    samples = np.arange(sum(lengths)).astype(np.int16)
    return AudioCache([None] * 3, samples, np.array([0, 3_000, 8_000, 10_000]))  # type: ignore[list-item]


def test_renderings_share_the_offsets_and_are_made_once(tmp_path: Path) -> None:
    cache = small_cache()
    calls: list[int] = []

    def double(index: int, samples: np.ndarray) -> np.ndarray:
        calls.append(index)
        return (samples[:-10] * 2).astype(np.int16)

    first = render(cache, tmp_path, "double", [0, 2], double)
    assert (first.clip(cache, 2)[:-10] == (cache[2][:-10] * 2).astype(np.int16)).all()
    assert not first.clip(cache, 2)[-10:].any()
    again = render(cache, tmp_path, "double", [0, 1, 2], double)
    assert sorted(calls) == [0, 1, 2]
    assert (again.clip(cache, 0) == first.clip(cache, 0)).all()


SHARED = Path(__file__).parents[3] / "shared" / "vocoders"
SAMPLE = Path(__file__).parents[2] / "deepfake_audio/samples/genuine_librivox_1.flac"


def test_hifigan_gives_a_waveform_of_about_the_right_length() -> None:
    torch.manual_seed(0)
    generator = HifiGan().eval()
    assert sum(p.numel() for p in generator.parameters()) == pytest.approx(1.46e6, rel=0.01)
    speech = make_speech(1.0, 0, RATE_HZ)
    for pace in (1.0, 0.8, 1.25):
        assert len(generator.copy(speech, pace)) == pytest.approx(len(speech), rel=0.03)
    short = speech[:300]
    np.testing.assert_array_equal(generator.copy(short), short)


def real_speech() -> np.ndarray:
    import soundfile

    samples, _ = soundfile.read(SAMPLE, dtype="int16", frames=48_000)
    return samples


def log_spectrum(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples / 32768.0, 512)[::256]
    return np.log(np.abs(np.fft.rfft(frames * np.hanning(512)))[:, 4:120] + 1e-2)


vocoder_names = [
    *(name for name in VOCODERS if name != "codec2"),
    pytest.param(
        "codec2",
        marks=pytest.mark.skipif(
            ctypes.util.find_library("codec2") is None, reason="apt install libcodec2-1.0"
        ),
    ),
    *(
        pytest.param(
            str(SHARED / name),
            id=name,
            marks=pytest.mark.skipif(not (SHARED / name).exists(), reason="needs shared/"),
        )
        for name in ("hifigan_v3_lj.safetensors", "lyra")
    ),
]


@pytest.mark.parametrize("name", vocoder_names)
def test_a_copy_says_the_same_and_is_another(name: str) -> None:
    speech = real_speech()
    work = copies(find_vocoder(name), Path(name).name)
    first, *others = (work(index, speech) for index in range(4))
    np.testing.assert_array_equal(first, work(0, speech))
    # Each clip has settings of its own, though not a different one from every other.
    assert any(not np.array_equal(first, other) for other in others)
    for copy in (first, *others):
        assert copy.dtype == np.int16
        assert len(copy) == pytest.approx(len(speech), abs=400)
        length = min(len(copy), len(speech))
        rms = [np.sqrt(np.mean(np.square(x[:length].astype(float)))) for x in (speech, copy)]
        assert rms[0] == pytest.approx(rms[1], rel=0.1)
        logs = [log_spectrum(x[:length]) for x in (speech, copy)]
        reversed_log = log_spectrum(speech[:length][::-1])
        # The words stay where they are, and something has changed.
        assert 0.02 < np.abs(logs[0] - logs[1]).mean() < 0.7 * np.abs(logs[0] - reversed_log).mean()


@pytest.mark.skipif(ctypes.util.find_library("codec2") is None, reason="apt install libcodec2-1.0")
@pytest.mark.parametrize("bit_rate", sorted(MODES))
def test_codec_2_changes_the_lower_half_only_and_comes_in_time(bit_rate: int) -> None:
    speech = (real_speech() / 32768).astype(np.float32)
    copy = codec2(speech, bit_rate)
    assert copy.shape == speech.shape
    change = np.abs(np.fft.rfft(copy - speech))
    edge = len(change) // 2  # 4 kHz
    assert change[edge + len(change) // 40 :].max() < 0.01 * change[:edge].max()
    # The envelope of the lower half: in step, and not half a frame early or late.
    low, spoken = (soxr.resample(x, 16_000, 8_000) for x in (speech, copy))

    def envelope(x: np.ndarray) -> np.ndarray:
        return np.sqrt(np.convolve(x**2, np.ones(80) / 80, "same"))

    heard, said = envelope(low), envelope(spoken)
    alike = {
        shift: np.corrcoef(heard[200:-200], np.roll(said, -shift)[200:-200])[0, 1]
        for shift in range(-160, 161, 8)
    }
    assert alike[0] > 0.75
    assert abs(max(alike, key=alike.__getitem__)) <= 40  # 5 ms
    assert codec2(speech[:10], bit_rate).shape == (10,)


def test_without_its_library_codec_2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(MissingExtraError, match="libcodec2"):
        codec2(np.zeros(800, np.float32), 2400)


def test_a_vocoder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="griffin_lim"):
        find_vocoder("straight")
    with pytest.raises(CheckpointError, match="Lyra"):
        find_vocoder(tmp_path)


def test_a_file_that_is_no_generator_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("nothing")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: is not a HiFi-GAN"):
        HifiGan.load(path)


def test_the_published_generator_keeps_the_log_mel() -> None:
    path = SHARED / "hifigan_v3_lj.safetensors"
    if not path.exists():
        pytest.skip("needs the trained vocoder in shared/")
    generator = HifiGan.load(path)
    speech = real_speech() / np.float32(32768)
    copy = generator.copy(speech)
    copy *= np.sqrt(np.mean(speech**2) / np.mean(copy**2))
    logs = [generator.log_mel(torch.from_numpy(x).float()[None]) for x in (speech, copy)]
    length = min(log.shape[2] for log in logs)
    # Phase is invented, the log-mel kept: about 0.4 on unseen speakers, 1.5 between strangers.
    assert (logs[0][..., :length] - logs[1][..., :length]).abs().mean() < 0.7
