"""Acoustic features, batched in torch: spectra, cepstra, phase cues and long-term spectra.

Most take ``(batch, samples)`` at 16 kHz and return ``(batch, rows, frames)``; spectra of a whole
window are made of a spectrogram.
"""

from .cepstral import dct_matrix, delta, lfcc, mfcc
from .frontend import Bands, Frontend
from .long_term import long_term_phase, long_term_spectrum
from .phase import group_delay, instantaneous_frequency, modified_group_delay
from .spectral import (
    Planes,
    SpectralMoments,
    linear_filterbank,
    log_filterbank_energies,
    mel_filterbank,
    octave_filterbank,
    power_spectrum,
    power_to_db,
    spectral_moments,
    stft,
    zero_crossing_rate,
)

__all__ = [
    "Bands",
    "Frontend",
    "Planes",
    "SpectralMoments",
    "dct_matrix",
    "delta",
    "group_delay",
    "instantaneous_frequency",
    "lfcc",
    "linear_filterbank",
    "log_filterbank_energies",
    "long_term_phase",
    "long_term_spectrum",
    "mel_filterbank",
    "mfcc",
    "modified_group_delay",
    "octave_filterbank",
    "power_spectrum",
    "power_to_db",
    "spectral_moments",
    "stft",
    "zero_crossing_rate",
]
