"""One spectrum of a whole window, fine enough to tell neighbouring harmonics and tones apart.

Vocoders that upsample step by step leave weak tones at fixed frequencies (Afchar et al.,
2506.19108, for music), and copy the comb of a voice, its jitter and the noise between its teeth
less than perfectly. Frames of 25 ms are too short to see that, and no single long one shows it
above the speech; the mean over all of them does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SURROUNDINGS = 41
"""Bins, odd, whose mean is taken for the smooth part of a spectrum: 160 Hz at 4,096 points."""


def long_term_spectrum(log_power: Tensor) -> Tensor:
    """Mean and deviation over time of a log spectrogram, each less its surroundings.

    A level, a line response and all else that is smooth in frequency is gone.

    Parameters
    ----------
    log_power : Tensor, shape (batch, bins, frames)
        Logarithms of power; at least two frames say something.

    Returns
    -------
    Tensor, shape (batch, 2, bins)
    """
    mean = log_power.mean(-1, keepdim=True)
    variance = (log_power - mean).square().mean(-1)  # many times faster than ``var``
    spectra = torch.stack([mean[..., 0], (variance + 1e-5).sqrt()], 1)  # (batch, 2, bins)
    return spectra - _surroundings(spectra)


def _surroundings(spectra: Tensor) -> Tensor:
    """Mean of SURROUNDINGS bins around each; ends repeat their last bin."""
    before, after = SURROUNDINGS // 2 + 1, SURROUNDINGS // 2
    padded = F.pad(spectra, (before, after), mode="replicate")
    # Differences of a running sum: several times faster than pooling over so many bins.
    total = padded.cumsum(-1, dtype=torch.float64)
    return ((total[..., SURROUNDINGS:] - total[..., :-SURROUNDINGS]) / SURROUNDINGS).type_as(
        spectra
    )
