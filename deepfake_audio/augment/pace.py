"""Speed, pitch and tempo: the same words faster, higher, or both.

Speed is plain resampling. Pitch and tempo alone need a phase vocoder, which leaves traces of its
own: both classes have to go through it alike.
"""

from __future__ import annotations

import numpy as np
import soxr
import torch

from ..config import SAMPLE_RATE_HZ

_N_FFT = 1_024
_HOP = _N_FFT // 4


def change_speed(samples: np.ndarray, factor: float, n_samples: int) -> np.ndarray:
    """Play ``factor`` times as fast, pitch and all.

    Parameters
    ----------
    samples : np.ndarray, int16, shape (samples,)
        Enough of them: ``factor * n_samples``; what is missing is repeated.
    n_samples : int
        Length of the result.
    """
    played = soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ")
    return np.resize(played, n_samples)


def change_tempo(samples: np.ndarray, factor: float) -> np.ndarray:
    """Speak ``factor`` times as fast at the same pitch (Flanagan & Golden, 1966).

    Parameters
    ----------
    samples : np.ndarray, float32, shape (samples,)
        16 kHz.

    Returns
    -------
    np.ndarray, float32, shape (samples / factor,)
    """
    window = torch.hann_window(_N_FFT)
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (_N_FFT // 2, _N_FFT // 2))
    spectrum = torch.stft(padded, _N_FFT, _HOP, window=window, center=False, return_complex=True)
    spectrum = torch.nn.functional.pad(spectrum, (0, 2))  # (bins, frames + 2)
    at = torch.arange(0, spectrum.shape[1] - 2, factor, dtype=torch.float64)
    frame, part = at.long(), (at % 1.0).float()
    before, after = spectrum[:, frame], spectrum[:, frame + 1]
    magnitude = before.abs() * (1 - part) + after.abs() * part
    expected = 2 * torch.pi * _HOP / _N_FFT * torch.arange(len(spectrum))[:, None]
    advance = after.angle() - before.angle() - expected
    advance = expected + advance - 2 * torch.pi * torch.round(advance / (2 * torch.pi))
    # Each frame begins with the phase that all advances before it add up to.
    phase = before[:, :1].angle().double() + torch.cumsum(advance.double(), 1) - advance
    length = round(len(samples) / factor)
    stretched = torch.polar(magnitude, phase.float())
    spoken: np.ndarray = torch.istft(stretched, _N_FFT, _HOP, window=window, length=length).numpy()
    return spoken


def change_pitch(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Move the pitch at the same pace: another tempo, made up for by speed.

    Parameters
    ----------
    samples : np.ndarray, float32, shape (samples,)
        16 kHz.

    Returns
    -------
    np.ndarray, float32, same shape
    """
    factor = 2.0 ** (semitones / 12.0)
    slower = change_tempo(samples, 1.0 / factor)
    return change_speed(slower, factor, len(samples))
