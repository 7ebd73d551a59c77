"""Quality flags: each one raised by its fault and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from audio_files import encode, speech_like

from deepfake_audio.audio import decode
from deepfake_audio.quality import FLAGS, SampleMeter, estimate_snr_db

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like(3, RATE_HZ)


def flags_of(samples: np.ndarray, rate_hz: int = RATE_HZ) -> tuple[str, ...]:
    return decode(samples, sample_rate_hz=rate_hz).flags


def test_clean_speech_has_no_flags(speech: np.ndarray) -> None:
    assert flags_of(speech) == ()
    assert flags_of(np.stack([speech, 0.3 * speech])) == ()
    assert flags_of(speech_like(3, 48_000), 48_000) == ()


def test_flags_are_sorted_and_known(speech: np.ndarray) -> None:
    both = flags_of(np.clip(5 * speech, -0.8, 0.8)[:8000] + np.float32(0.1))
    assert set(both) >= {"clipped", "dc_offset", "short"}
    assert list(both) == sorted(both)
    assert set(both) < set(FLAGS)


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_clipped_also_when_turned_down_afterwards(speech: np.ndarray, gain: float) -> None:
    clipped = gain * np.clip(4 * speech, -1, 1)
    assert flags_of(clipped) == ("clipped",)
    assert decode(encode(clipped, RATE_HZ, "WAV", "PCM_16")).flags == ("clipped",)


def test_clipped_survives_a_codec(speech: np.ndarray) -> None:
    content = encode(np.clip(4 * speech, -1, 1), RATE_HZ, "OGG", "OPUS")
    assert "clipped" in decode(content).flags


@pytest.mark.parametrize("codec", ["ULAW", "ALAW", "PCM_U8"])
def test_coarse_quantisation_is_not_clipping(speech: np.ndarray, codec: str) -> None:
    assert "clipped" not in decode(encode(1.8 * speech, RATE_HZ, "WAV", codec)).flags


def test_narrow_band_by_rate_and_by_spectrum(speech: np.ndarray) -> None:
    telephone = soxr.resample(speech, RATE_HZ, 8_000)
    assert flags_of(telephone, 8_000) == ("narrow_band",)
    widened = soxr.resample(telephone, 8_000, RATE_HZ)
    assert flags_of(widened) == ("narrow_band",)
    assert "narrow_band" in decode(encode(widened, RATE_HZ, "OGG", "OPUS")).flags


@pytest.mark.parametrize(("snr_db", "flagged"), [(0, True), (5, True), (25, False), (35, False)])
def test_noisy(speech: np.ndarray, snr_db: float, flagged: bool) -> None:
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    noise *= np.sqrt(np.mean(speech**2)) / 10 ** (snr_db / 20)
    assert ("noisy" in flags_of(speech + noise)) is flagged


def test_snr_estimate_grows_with_the_ratio(speech: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal(len(speech))
    ratios = []
    for level in (0.3, 0.1, 0.03, 0.01):
        frames = (speech + level * noise)[: len(speech) // 320 * 320].reshape(1, -1, 320)
        ratios.append(estimate_snr_db(np.mean(frames**2, axis=2))[0])
    assert ratios == sorted(ratios)
    assert estimate_snr_db(np.zeros((1, 50), np.float32))[0] == np.inf


def test_short(speech: np.ndarray) -> None:
    assert flags_of(speech[:15_999]) == ("short",)
    assert flags_of(speech[:1]) == ("short",)
    assert "short" not in flags_of(speech[:16_000])


def test_dc_offset(speech: np.ndarray) -> None:
    assert flags_of(speech + np.float32(0.1)) == ("dc_offset",)
    assert flags_of(np.stack([speech, speech - np.float32(0.03)])) == ("dc_offset",)
    assert flags_of(speech + np.float32(0.001)) == ()


def test_silent_channel(speech: np.ndarray) -> None:
    assert flags_of(np.stack([speech, np.zeros_like(speech)])) == ("silent_channel",)
    assert flags_of(np.stack([0.001 * speech, speech])) == ("silent_channel",)
    assert flags_of(np.stack([0.1 * speech, speech])) == ()
    # Silence on all of them is no fault of a channel: there is just no speech.
    assert flags_of(np.zeros((2, 32_000), np.float32)) == ()


def test_meter_counts_and_cleans() -> None:
    block = np.zeros((100, 2), np.float32)
    block[3, 0], block[4, 1], block[5, 0] = np.nan, -np.inf, -0.5
    meter = SampleMeter()
    cleaned = meter.update(block)
    assert np.isfinite(cleaned).all()
    assert (meter.invalid, meter.total, meter.peak) == (2, 200, 0.5)
    assert meter.invalid_share == 0.01
