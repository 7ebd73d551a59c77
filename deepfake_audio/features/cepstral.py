"""Cepstral coefficients (MFCC, LFCC) and their time derivatives, batched in torch."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from .spectral import (
    linear_filterbank,
    log_filterbank_energies,
    mel_filterbank,
    power_spectrum,
    power_to_db,
    stft,
)


@functools.lru_cache(maxsize=32)
def dct_matrix(n_coefficients: int, n_bands: int) -> Tensor:
    """Orthonormal type-II discrete cosine transform.

    Returns
    -------
    Tensor, float32, shape (n_coefficients, n_bands)
    """
    order = np.arange(n_coefficients)[:, None]
    matrix = np.cos(math.pi / n_bands * (np.arange(n_bands) + 0.5) * order)
    matrix *= math.sqrt(2.0 / n_bands)
    matrix[0] /= math.sqrt(2.0)
    return torch.from_numpy(matrix).float()


def mfcc(
    waveform: Tensor,
    *,
    n_coefficients: int = 20,
    n_bands: int = 128,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    sample_rate_hz: int = 16_000,
) -> Tensor:
    """Mel-frequency cepstral coefficients (Davis & Mermelstein, 1980).

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.

    Returns
    -------
    Tensor, shape (batch, n_coefficients, frames)
        In decibels, equal to ``librosa.feature.mfcc``.
    """
    power = power_spectrum(
        stft(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    )
    mel = torch.matmul(mel_filterbank(n_bands, n_fft, sample_rate_hz).to(power), power)
    return torch.matmul(dct_matrix(n_coefficients, n_bands).to(power), power_to_db(mel))


def lfcc(
    waveform: Tensor,
    *,
    n_coefficients: int = 20,
    n_bands: int = 70,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    sample_rate_hz: int = 16_000,
    floor: float = 1e-6,
) -> Tensor:
    """Linear-frequency cepstral coefficients (Sahidullah et al., Interspeech 2015).

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.
    floor : float
        Added to each band energy before the natural logarithm.

    Returns
    -------
    Tensor, shape (batch, n_coefficients, frames)
    """
    power = power_spectrum(
        stft(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    )
    bank = linear_filterbank(n_bands, n_fft, sample_rate_hz)
    energies = log_filterbank_energies(power, bank, floor)
    return torch.matmul(dct_matrix(n_coefficients, n_bands).to(power), energies)


@functools.lru_cache(maxsize=16)
def _delta_kernel(width: int, order: int) -> tuple[float, ...]:
    """Least-squares polynomial derivative of the given order at the centre of ``width`` frames."""
    time = np.arange(width) - width // 2
    powers = np.vander(time, order + 1, increasing=True)
    kernel = math.factorial(order) * np.linalg.pinv(powers)[order]
    return tuple(kernel.astype(np.float32).tolist())


def delta(features: Tensor, *, width: int = 9, order: int = 1) -> Tensor:
    """Time derivative by local polynomial regression (Furui, 1986; Savitzky & Golay, 1964).

    Parameters
    ----------
    features : Tensor, shape (batch, rows, frames)
        Any frame-wise feature.
    width : int
        Frames in the regression, odd.
    order : int
        1 for the slope a frame, 2 for the curvature.

    Returns
    -------
    Tensor, shape (batch, rows, frames)
        Equal to ``librosa.feature.delta(..., mode="nearest")``: ends repeat their last frame.
    """
    if width < 3 or width % 2 == 0:
        raise ValueError(f"delta: width must be odd and at least 3, got {width}")
    half = width // 2
    padded = torch.nn.functional.pad(features, (half, half), mode="replicate")
    # Mirrored weights are equal or opposite, so frames are paired first. Shifted views added up
    # are many times faster than a convolution over a single channel, and ends counted from the
    # back are no sizes that a recorded network would have to compute.
    weights = _delta_kernel(width, order)
    even = order % 2 == 0
    slope = features * weights[half] if even else torch.zeros_like(features)
    for distance in range(1, half + 1):
        later = padded[..., half + distance : (distance - half) or None]
        earlier = padded[..., half - distance : -half - distance]
        slope.add_(later + earlier if even else later - earlier, alpha=weights[half + distance])
    return slope
