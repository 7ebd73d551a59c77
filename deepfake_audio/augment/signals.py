"""What the effects share: filtering, mixing and rounding of whole batches, float32 tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..config import SAMPLE_RATE_HZ

Generators = list[np.random.Generator]
"""One a clip, so that a clip is treated alike whatever stands beside it."""


def fast_length(n: int) -> int:
    """Round up to a multiple of a large power of two, where transforms are fast."""
    unit = 1 << max(int(np.log2(n)) - 2, 0)
    return -(-n // unit) * unit


def transform_length(n_samples: int) -> int:
    """Length of transform that holds a clip and half a second of what rings on."""
    return fast_length(n_samples + SAMPLE_RATE_HZ // 2)


def filtered(waveforms: Tensor, response: Tensor) -> Tensor:
    """Filter by frequency response.

    Parameters
    ----------
    waveforms : Tensor, shape (batch, samples)
        Any signals.
    response : Tensor, real or complex, shape (batch, bins)
        At the bins of a transform longer than the signal, as of :func:`transform_length`.

    Returns
    -------
    Tensor, shape (batch, samples)
    """
    n_fft = 2 * (response.shape[1] - 1)
    spectrum = torch.fft.rfft(waveforms, n_fft) * response.to(waveforms.device)
    wet: Tensor = torch.fft.irfft(spectrum, n_fft)[:, : waveforms.shape[1]]
    return wet


def at_snr(speech: Tensor, background: Tensor, snr_db: Tensor) -> Tensor:
    """Scale each background to lie ``snr_db`` under its speech; silence stays silent."""
    speech_rms = speech.square().mean(1, keepdim=True).sqrt()
    background_rms = background.square().mean(1, keepdim=True).sqrt()
    gain = speech_rms / background_rms.clamp_min(1e-9) * 10.0 ** (-snr_db[:, None] / 20.0)
    return background * torch.where(background_rms > 0, gain, 0.0)


def peaks(waveforms: Tensor) -> Tensor:
    """Largest absolute sample of each row, above zero, shape (batch, 1)."""
    return waveforms.abs().amax(1, keepdim=True).clamp_min(1e-6)


def overload(waveforms: Tensor, drive: Tensor, bend: Tensor) -> Tensor:
    """Bend (even and odd harmonics) and clip the rows that drew it, relative to their peaks."""
    peak = peaks(waveforms)
    unit = waveforms / peak
    bent = unit + bend[:, None] * (unit.square() - unit.pow(3))
    clipped = (bent * drive[:, None].clamp_min(1.0)).clamp(-1.0, 1.0)
    return torch.where(drive[:, None] > 0, clipped, bent) * peak


def quantize(waveforms: Tensor) -> Tensor:
    """Round to 16 bits at a peak below full scale, as any file would."""
    peak = waveforms.abs().amax(1, keepdim=True)
    scaled = waveforms / peak.clamp_min(1.0)
    return torch.round(scaled * 32767.0) / 32767.0
