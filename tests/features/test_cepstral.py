"""Cepstra and deltas against librosa and against the plain formula."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.fft
import torch

from deepfake_audio.features import cepstral, spectral

SIZES = {"n_fft": 512, "win_length": 400, "hop_length": 160}


def test_dct_is_orthonormal() -> None:
    matrix = cepstral.dct_matrix(40, 40).double()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(40).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n_coefficients", "n_bands"), [(20, 128), (13, 40), (40, 80)])
def test_mfcc_equals_librosa(clips: np.ndarray, n_coefficients: int, n_bands: int) -> None:
    ours = cepstral.mfcc(
        torch.from_numpy(clips), n_coefficients=n_coefficients, n_bands=n_bands, **SIZES
    )
    for row, clip in zip(ours.numpy(), clips, strict=True):
        theirs = librosa.feature.mfcc(
            y=clip, sr=16_000, n_mfcc=n_coefficients, n_mels=n_bands, pad_mode="constant", **SIZES
        )
        np.testing.assert_allclose(row, theirs, rtol=1e-4, atol=1e-3)


def test_lfcc_equals_the_formula(clips: np.ndarray) -> None:
    ours = cepstral.lfcc(torch.from_numpy(clips), n_coefficients=20, n_bands=70, **SIZES).numpy()
    bank = spectral.linear_filterbank(70).numpy().astype(np.float64)
    for row, clip in zip(ours, clips, strict=True):
        power = np.abs(librosa.stft(clip, pad_mode="constant", **SIZES)) ** 2
        logs = np.log(bank @ power + 1e-6)
        expected = scipy.fft.dct(logs, axis=0, type=2, norm="ortho")[:20]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("width", [5, 9])
def test_delta_equals_librosa(clips: np.ndarray, width: int, order: int) -> None:
    features = cepstral.mfcc(torch.from_numpy(clips), **SIZES)
    ours = cepstral.delta(features, width=width, order=order).numpy()
    theirs = librosa.feature.delta(features.numpy(), width=width, order=order, mode="nearest")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 4])
def test_delta_refuses_widths_without_a_centre(width: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        cepstral.delta(torch.zeros(1, 2, 30), width=width)
