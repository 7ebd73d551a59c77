"""Phase cues: group delay, modified group delay and instantaneous frequency, batched in torch.

A vocoder that predicts magnitudes has to invent a phase; what it invents differs from the phase
of a recorded voice even where the magnitudes agree.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .spectral import _hann, power_spectrum, windowed_stft


@functools.cache
@torch.inference_mode(False)  # as the window itself
def _time_weighted_hann(
    win_length: int, n_fft: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Hann window times the sample index, counted from the middle of the frame."""
    index = torch.arange(n_fft, dtype=dtype, device=device) - n_fft // 2
    return _hann(win_length, n_fft, dtype, device) * index


def stft_pair(
    waveform: Tensor, *, n_fft: int = 512, win_length: int = 400, hop_length: int = 160
) -> tuple[Tensor, Tensor]:
    """Spectra of the frames and of the frames times their sample index.

    Returns
    -------
    tuple of Tensor, complex, each of shape (batch, n_fft // 2 + 1, frames)
        ``X`` of ``x[n]`` and ``Y`` of ``n x[n]`` with ``n = 0`` in the middle of the frame, from
        which the group delay follows without unwrapping.
    """
    plain = _hann(win_length, n_fft, waveform.dtype, waveform.device)
    weighted = _time_weighted_hann(win_length, n_fft, waveform.dtype, waveform.device)
    return windowed_stft(waveform, plain, hop_length), windowed_stft(waveform, weighted, hop_length)


def cross_power(spectrum: Tensor, weighted: Tensor) -> Tensor:
    """Return ``Re(X conj(Y))``, the numerator of the group delay, same shape as ``X``."""
    return spectrum.real * weighted.real + spectrum.imag * weighted.imag


def group_delay(
    waveform: Tensor,
    *,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    floor: float = 1e-8,
) -> Tensor:
    """Negative derivative of the phase over frequency, in samples.

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.
    floor : float
        Added to the power in the denominator.

    Returns
    -------
    Tensor, shape (batch, n_fft // 2 + 1, frames)
        Zero for energy in the middle of the frame, positive for later energy
        (Yegnanarayana & Murthy, IEEE Trans. Signal Processing 1992).
    """
    spectrum, weighted = stft_pair(
        waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length
    )
    return cross_power(spectrum, weighted) / (power_spectrum(spectrum) + floor)


def modified_group_delay(
    waveform: Tensor,
    *,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    alpha: float = 0.4,
    gamma: float = 0.9,
    lifter: int = 30,
    floor: float = 1e-8,
) -> Tensor:
    """Group delay with a cepstrally smoothed denominator and a compressed range.

    Parameters
    ----------
    waveform : Tensor, shape (batch, samples)
        Real signal.
    alpha, gamma : float
        Exponents of the result and of the smoothed spectrum.
    lifter : int
        Cepstral coefficients kept in the smooth spectrum.
    floor : float
        Added to the power before the logarithm.

    Returns
    -------
    Tensor, shape (batch, n_fft // 2 + 1, frames)
        Murthy & Gadde, ICASSP 2003.
    """
    spectrum, weighted = stft_pair(
        waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length
    )
    log_magnitude = 0.5 * torch.log(power_spectrum(spectrum) + floor)
    cepstrum = torch.fft.irfft(log_magnitude, n=n_fft, dim=1)
    cepstrum[:, lifter : n_fft - lifter + 1] = 0.0
    smooth_log = torch.fft.rfft(cepstrum, n=n_fft, dim=1).real
    ratio = cross_power(spectrum, weighted) * torch.exp(-2.0 * gamma * smooth_log)
    return ratio.sign() * ratio.abs().pow(alpha)


@functools.cache
@torch.inference_mode(False)  # as the window itself
def _rotation(
    n_bins: int, hop_length: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (bins, 1), that undo the advance of each bin's centre frequency in a hop."""
    n_fft = 2 * (n_bins - 1)
    # (k * hop) modulo n_fft first keeps the rotation exact in float32.
    turns = (torch.arange(n_bins, device=device) * hop_length % n_fft) / n_fft
    angle = (-2.0 * math.pi * turns).to(dtype)[:, None]
    return angle.cos(), angle.sin()


def phase_deviation(spectrum: Tensor, hop_length: int) -> Tensor:
    """Phase advance from frame to frame beyond that of each bin's centre frequency.

    Parameters
    ----------
    spectrum : Tensor, complex, shape (batch, bins, frames)
        Short-time spectrum with ``n_fft = 2 (bins - 1)``.
    hop_length : int
        Samples between frames.

    Returns
    -------
    Tensor, shape (batch, bins, frames)
        Radians in (-pi, pi]; the first frame, which has no predecessor, is 0.
    """
    # The product's angle is the advance; rotating by the expected advance leaves the deviation,
    # already wrapped.
    real = spectrum.real
    cosine, sine = _rotation(int(spectrum.shape[1]), hop_length, real.dtype, real.device)
    # In real arithmetic: exporters know little of complex numbers, and atan2 is ten times slower
    # on the parts of a complex tensor, which lie interleaved.
    imag = spectrum.imag
    now_real, now_imag = real[..., 1:], imag[..., 1:]
    last_real, last_imag = real[..., :-1], imag[..., :-1]
    product_real = now_real * last_real + now_imag * last_imag
    product_imag = now_imag * last_real - now_real * last_imag
    deviation = torch.atan2(
        product_imag * cosine + product_real * sine, product_real * cosine - product_imag * sine
    )
    return torch.nn.functional.pad(deviation, (1, 0))


def instantaneous_frequency(
    waveform: Tensor,
    *,
    n_fft: int = 512,
    win_length: int = 400,
    hop_length: int = 160,
    sample_rate_hz: int = 16_000,
) -> Tensor:
    """Frequency that each bin's phase advances with, in hertz.

    Returns
    -------
    Tensor, shape (batch, n_fft // 2 + 1, frames)
        Centre frequency of the bin plus the deviation of its phase advance
        (Flanagan & Golden's phase vocoder, 1966).
    """
    window = _hann(win_length, n_fft, waveform.dtype, waveform.device)
    spectrum = windowed_stft(waveform, window, hop_length)
    deviation_hz = phase_deviation(spectrum, hop_length) * (
        sample_rate_hz / (2.0 * math.pi * hop_length)
    )
    bins_hz = torch.arange(spectrum.shape[1], device=waveform.device) * (sample_rate_hz / n_fft)
    return bins_hz[:, None] + deviation_hz
