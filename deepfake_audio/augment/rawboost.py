"""RawBoost: disturbances of telephone lines, made of nothing but the clip itself and noise.

The three parts of Tak et al. (2111.04433), each with the ranges of the paper and each for a whole
batch at once. Powers are taken of the clip at unit peak, so that its level makes no difference.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..config import SAMPLE_RATE_HZ
from .signals import Generators, at_snr, fast_length, filtered, peaks

_N_BANDS = 5
_CENTRE_HZ = (20.0, 8_000.0)
_WIDTH_HZ = (100.0, 1_000.0)
_TAPS = (10, 100)
_ORDERS = 5
_HARMONIC_GAIN_DB = (-20.0, -5.0)
_IMPULSE_SHARE = 0.10
_IMPULSE_GAIN = 2.0
_SNR_DB = (10.0, 40.0)
_KERNEL = 1_024  # holds five filters of at most 101 taps, one after the other


def _notch_kernels(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw filters of five stop bands each, largest gain 1, middle at 0; (count, 1024), float32."""
    shape = (count, _N_BANDS, 1)
    centre = rng.uniform(*_CENTRE_HZ, shape) / SAMPLE_RATE_HZ
    width = rng.uniform(*_WIDTH_HZ, shape) / SAMPLE_RATE_HZ
    reach = rng.integers(_TAPS[0], _TAPS[1] + 1, shape) // 2  # taps on each side of the middle
    low = np.maximum(centre - width / 2, 1e-6)
    high = np.minimum(centre + width / 2, 0.5 - 1e-6)
    tap = np.arange(_KERNEL) - _KERNEL // 2
    window = np.where(np.abs(tap) <= reach, 0.54 + 0.46 * np.cos(np.pi * tap / reach), 0.0)
    band = 2 * high * np.sinc(2 * high * tap) - 2 * low * np.sinc(2 * low * tap)
    stop = window * ((tap == 0) - band)
    stop /= np.maximum(np.abs(stop.sum(2, keepdims=True)), 1e-3)
    response = np.fft.rfft(np.fft.ifftshift(stop, axes=2)).real.prod(1)  # (count, bins)
    response /= np.maximum(np.abs(response).max(1, keepdims=True), 1e-6)
    kernels: np.ndarray = np.fft.irfft(response, _KERNEL)
    return kernels.astype(np.float32)


def _responses(kernels: np.ndarray, n_samples: int) -> Tensor:
    """Frequency responses of kernels whose middle is at 0, for signals of ``n_samples``."""
    n_fft = fast_length(n_samples + _KERNEL)
    half = _KERNEL // 2
    placed = np.zeros((*kernels.shape[:-1], n_fft), dtype=np.float32)
    placed[..., :half], placed[..., -half:] = kernels[..., :half], kernels[..., half:]
    responses: Tensor = torch.fft.rfft(torch.from_numpy(placed))
    return responses


def convolutive(waveforms: Tensor, rngs: Generators) -> Tensor:
    """Linear and non-linear convolutive noise: the clip and its powers, each filtered.

    Parameters
    ----------
    waveforms : Tensor, float32, shape (batch, samples)
        16 kHz.
    rngs : list of Generator
        One a clip.
    """
    peak = peaks(waveforms)
    orders = torch.arange(1, _ORDERS + 1, device=waveforms.device)
    powers = (waveforms / peak)[:, None] ** orders[:, None]  # (batch, orders, samples)
    kernels = []
    for rng in rngs:
        gain_db = np.concatenate([[0.0], rng.uniform(*_HARMONIC_GAIN_DB, _ORDERS - 1)])
        gain = 10.0 ** (gain_db / 20.0)
        kernels.append(_notch_kernels(_ORDERS, rng) * gain[:, None].astype(np.float32))
    response = _responses(np.concatenate(kernels), waveforms.shape[1])
    parts = filtered(powers.flatten(0, 1), response)
    mixed = parts.reshape(powers.shape).sum(1)
    return (mixed - mixed.mean(1, keepdim=True)) * peak


def impulsive(waveforms: Tensor, rngs: Generators) -> Tensor:
    """Impulsive signal-dependent noise: up to a tenth of the samples come out of proportion."""
    gains = []
    for rng in rngs:
        share = rng.uniform(0.0, _IMPULSE_SHARE)
        hit, first, second = rng.random((3, waveforms.shape[1]), dtype=np.float32)
        deviation = _IMPULSE_GAIN * (2 * first - 1) * (2 * second - 1)
        gains.append(np.where(hit < share, 1 + deviation, 1).astype(np.float32))
    return waveforms * torch.from_numpy(np.stack(gains)).to(waveforms.device)


def stationary(waveforms: Tensor, rngs: Generators) -> Tensor:
    """Stationary signal-independent noise: hiss through stop bands, 10 to 40 dB below."""
    n_samples = waveforms.shape[1]
    kernels, hiss, snr_db = [], [], []
    for rng in rngs:
        kernels.append(_notch_kernels(1, rng))
        hiss.append(rng.standard_normal(n_samples, dtype=np.float32))
        snr_db.append(rng.uniform(*_SNR_DB))
    response = _responses(np.concatenate(kernels), n_samples)
    noise = filtered(torch.from_numpy(np.stack(hiss)), response).to(waveforms)
    return waveforms + at_snr(waveforms, noise, torch.tensor(snr_db).to(waveforms))
