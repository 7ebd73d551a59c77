"""Spectra of a whole window, fine enough to tell neighbouring harmonics and tones apart.

Vocoders that upsample step by step leave weak tones at fixed frequencies (Afchar et al.,
2506.19108, for music), and copy the comb of a voice, its jitter and the noise between its teeth
less than perfectly. Frames of 25 ms are too short to see that, and no single long one shows it
above the speech; the mean over all of them does. How steadily each bin's phase advances says the
same of the phase: a tone, however weak, advances evenly, and so does a pitch without jitter.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .spectral import Planes, power_spectrum

SURROUNDINGS = 41
"""Bins, odd, whose mean is taken for the smooth part of a spectrum: 160 Hz at 4,096 points."""

_PHASE_FLOOR = 1e-7
"""Power under which the phase of a bin counts for less: rounding makes it, not the recording."""

_BINS_AT_ONCE = 256
"""What is made of them stays in the cache of a core: twice as fast as all at once."""


def long_term_spectrum(log_power: Tensor, scale: float = 1.0) -> Tensor:
    """Mean and deviation over time of a log spectrogram, each less its surroundings.

    A level, a line response and all else that is smooth in frequency is gone.

    Parameters
    ----------
    log_power : Tensor, shape (batch, bins, frames)
        Logarithms of power; at least two frames say something.
    scale : float
        What they are multiplied by.

    Returns
    -------
    Tensor, shape (batch, 2, bins)
    """
    mean = log_power.mean(-1, keepdim=True)
    variance = (log_power - mean).square().mean(-1)  # many times faster than ``var``
    # Scaled here, where little is left: a pass over all frames costs as much as a layer.
    deviation = (scale**2 * variance + 1e-5).sqrt()
    spectra = torch.stack([scale * mean[..., 0], deviation], 1)  # (batch, 2, bins)
    return spectra - _surroundings(spectra)


def long_term_phase(spectrum: Planes) -> Tensor:
    """How steadily the phase of each bin advances over time, less its surroundings.

    The length of the mean phasor (the mean resultant length of directional statistics, Mardia &
    Jupp, 2000) of the advance from frame to frame. Magnitudes do not count, so that the noise
    between words says as much as the words.

    Parameters
    ----------
    spectrum : Planes of shape (batch, bins, frames)
        Short-time spectrum of waveforms at speech level; at least two frames. Where less than
        three quarters of a frame are in the next one, too, there is little to see.

    Returns
    -------
    Tensor, shape (batch, 1, bins)
    """
    firsts = range(0, spectrum.real.shape[1], _BINS_AT_ONCE)
    parts = [_mean_turn(spectrum.part(slice(at, at + _BINS_AT_ONCE))) for at in firsts]
    steadiness = torch.cat(parts, 1).unsqueeze(1)
    return steadiness - _surroundings(steadiness)


def _mean_turn(spectrum: Planes) -> Tensor:
    """Length of the mean phasor of the turns from frame to frame, (batch, bins)."""
    scale = (power_spectrum(spectrum) + _PHASE_FLOOR).rsqrt()
    real, imag = spectrum.real * scale, spectrum.imag * scale
    last_real, now_real = real[..., :-1], real[..., 1:]
    last_imag, now_imag = imag[..., :-1], imag[..., 1:]
    cosine = torch.addcmul(now_real * last_real, now_imag, last_imag).mean(-1)
    sine = torch.addcmul(now_imag * last_real, now_real, last_imag, value=-1).mean(-1)
    return (cosine.square() + sine.square() + 1e-6).sqrt()  # silence has a gradient, too


def _surroundings(spectra: Tensor) -> Tensor:
    """Mean of SURROUNDINGS bins around each; ends repeat their last bin."""
    before, after = SURROUNDINGS // 2 + 1, SURROUNDINGS // 2
    padded = F.pad(spectra, (before, after), mode="replicate")
    # Differences of a running sum: several times faster than pooling over so many bins.
    total = padded.cumsum(-1, dtype=torch.float64)
    return ((total[..., SURROUNDINGS:] - total[..., :-SURROUNDINGS]) / SURROUNDINGS).type_as(
        spectra
    )
