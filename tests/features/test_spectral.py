"""Spectra, filterbanks and moments against librosa, feature by feature."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio.features import spectral

SIZES = {"n_fft": 512, "win_length": 400, "hop_length": 160}
LIBROSA = {**SIZES, "center": True, "pad_mode": "constant"}


def reference_spectrum(clip: np.ndarray) -> np.ndarray:
    return librosa.stft(clip, **LIBROSA)


def test_stft_equals_librosa(clips: np.ndarray) -> None:
    ours = spectral.stft(torch.from_numpy(clips), **SIZES).numpy()
    for row, clip in zip(ours, clips, strict=True):
        np.testing.assert_allclose(row, reference_spectrum(clip), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_hz", [None, 8_000.0])
@pytest.mark.parametrize(("n_bands", "n_fft", "rate"), [(80, 512, 16_000), (80, 1024, 22_050)])
def test_mel_filterbank_equals_librosa(
    n_bands: int, n_fft: int, rate: int, max_hz: float | None
) -> None:
    ours = spectral.mel_filterbank(n_bands, n_fft, rate, max_hz=max_hz).numpy()
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_bands, fmax=max_hz)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-8)


def test_mel_scale_is_its_own_inverse() -> None:
    hz = np.array([0.0, 200.0, 999.0, 1000.0, 1001.0, 4000.0, 8000.0])
    np.testing.assert_allclose(spectral.mel_to_hz(spectral.hz_to_mel(hz)), hz, rtol=1e-12)


def test_octave_filterbank_is_even_in_octaves_and_sums_to_one() -> None:
    bank = spectral.octave_filterbank(70, 1024).numpy().astype(np.float64)
    assert bank.shape == (70, 513)
    np.testing.assert_allclose(bank.sum(1), 1.0, rtol=1e-5)
    peaks_hz = np.linspace(0, 8_000, 513)[bank.argmax(1)]
    # Seven octaves above 62.5 Hz, ten bands each; peaks lie on bins, half of 15.6 Hz away at most.
    np.testing.assert_allclose(peaks_hz, 62.5 * 2 ** (np.arange(70) / 10), atol=7.9)
    octaves = np.log2(peaks_hz[40:])  # where bins are fine enough
    np.testing.assert_allclose(np.diff(octaves), 0.1, atol=0.03)


def test_linear_filterbank_is_evenly_spaced_and_sums_to_one() -> None:
    bank = spectral.linear_filterbank(64, 512).numpy().astype(np.float64)
    np.testing.assert_allclose(bank.sum(1), 1.0, rtol=1e-5)
    bins_hz = np.linspace(0, 8000, 257)
    centres = (bank * bins_hz).sum(1)
    np.testing.assert_allclose(np.diff(centres), 8000 / 65, rtol=0.02)


def test_log_mel_spectrogram_equals_librosa(clips: np.ndarray) -> None:
    power = spectral.power_spectrum(spectral.stft(torch.from_numpy(clips).float(), **SIZES))
    ours = spectral.log_filterbank_energies(power, spectral.mel_filterbank(80), floor=1e-6)
    for row, clip in zip(ours.numpy(), clips, strict=True):
        mel = librosa.feature.melspectrogram(y=clip, sr=16_000, n_mels=80, power=2.0, **LIBROSA)
        np.testing.assert_allclose(row, np.log(mel + 1e-6), rtol=1e-4, atol=1e-4)


def test_log_linear_spectrogram_equals_the_formula(clips: np.ndarray) -> None:
    power = spectral.power_spectrum(spectral.stft(torch.from_numpy(clips).float(), **SIZES))
    bank = spectral.linear_filterbank(80)
    ours = spectral.log_filterbank_energies(power, bank, floor=1e-6).numpy()
    for row, clip in zip(ours, clips, strict=True):
        expected = np.log(bank.numpy() @ np.abs(reference_spectrum(clip)) ** 2 + 1e-6)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("top_db", [None, 60.0, 80.0])
def test_power_to_db_equals_librosa_clip_by_clip(clips: np.ndarray, top_db: float | None) -> None:
    power = spectral.power_spectrum(spectral.stft(torch.from_numpy(clips), **SIZES))
    ours = spectral.power_to_db(power, top_db).numpy()
    for row, plane in zip(ours, power.numpy(), strict=True):
        np.testing.assert_allclose(row, librosa.power_to_db(plane, top_db=top_db), rtol=1e-6)


def test_moments_equal_librosa(clips: np.ndarray) -> None:
    moments = spectral.spectral_moments(torch.from_numpy(clips), **SIZES)
    for index, clip in enumerate(clips):
        magnitude = np.abs(reference_spectrum(clip))
        shared = {"S": magnitude, "sr": 16_000}
        expected = {
            "centroid_hz": librosa.feature.spectral_centroid(**shared),
            "bandwidth_hz": librosa.feature.spectral_bandwidth(**shared),
            "rolloff_hz": librosa.feature.spectral_rolloff(**shared),
            "flatness": librosa.feature.spectral_flatness(S=magnitude),
            "flux": librosa.onset.onset_strength(
                S=librosa.power_to_db(magnitude**2), center=False, detrend=False
            ),
            "zero_crossing_rate": librosa.feature.zero_crossing_rate(
                clip, frame_length=512, hop_length=160
            ),
        }
        for name, value in expected.items():
            ours = getattr(moments, name)[index].numpy()
            np.testing.assert_allclose(
                ours, np.ravel(value), rtol=1e-4, atol=1e-6, err_msg=f"{name}, clip {index}"
            )


def test_silence_gives_finite_features() -> None:
    moments = spectral.spectral_moments(torch.zeros(2, 8_000))
    for name in ("centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "flux"):
        assert torch.isfinite(getattr(moments, name)).all(), name


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 4), n_samples=st.integers(600, 9_000))
def test_a_batch_is_its_rows(batch: int, n_samples: int) -> None:
    waveform = torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(n_samples))
    together = spectral.spectral_moments(waveform)
    n_frames = 1 + n_samples // 160
    for index in range(batch):
        alone = spectral.spectral_moments(waveform[index : index + 1])
        for name in vars(together):
            row = getattr(together, name)[index]
            assert row.shape == (n_frames,), name
            torch.testing.assert_close(row, getattr(alone, name)[0], rtol=1e-4, atol=1e-4)
