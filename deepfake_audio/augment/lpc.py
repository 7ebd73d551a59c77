"""A linear-prediction vocoder: pulses or noise through an all-pole filter a frame.

The oldest of all (Atal & Hanauer, 1971) and what formant and diphone synthesisers sound like;
no weights, a few transforms over all frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import SAMPLE_RATE_HZ

_PITCH_WINDOW = 640  # 40 ms: two periods of the lowest voices
_PITCH_HZ = (60.0, 400.0)
_VOICED = 0.45
"""Correlation of a frame with itself a period later from which it is voiced."""

_FLOOR = 1e-4
"""White noise added before prediction, as a share of the power: keeps the filters stable."""

_DAMPING = 0.994
"""Radius by which the poles are drawn in, so that filters ring for less than a frame."""


@dataclass(frozen=True)
class LpcSettings:
    """How a voice is taken apart.

    Attributes
    ----------
    order : int
        Poles.
    window, hop : int
        Samples in a frame, and between frames.
    breath : float
        Share of noise in the excitation of voiced frames, 0 to 1.
    """

    order: int = 18
    window: int = 512
    hop: int = 128
    breath: float = 0.1


def resynthesize(
    samples: np.ndarray, settings: LpcSettings, rng: np.random.Generator
) -> np.ndarray:
    """Take a voice apart and put it together again.

    Parameters
    ----------
    samples : np.ndarray, float32, shape (samples,)
        16 kHz.
    settings : LpcSettings
        How.
    rng : Generator
        Draws the noise.

    Returns
    -------
    np.ndarray, float32, shape (samples,)
    """
    window = np.hanning(settings.window + 1)[:-1]
    frames = _frames(samples, settings.window, settings.hop) * window
    predictor, gain = _predict(frames, settings.order)
    pitch_hz = track_pitch(samples, settings.hop)
    excitation = _excitation(pitch_hz, settings, rng)
    n_fft = 4 * settings.window
    pieces = _frames(excitation, settings.window, settings.hop)[: len(frames)] * window
    spectrum = np.fft.rfft(pieces, n_fft) * gain[:, None] / np.fft.rfft(predictor, n_fft)
    spoken = _overlap_add(np.fft.irfft(spectrum, n_fft), settings.hop)
    spoken /= window.sum() / settings.hop  # what the windows add up to
    middle = settings.window // 2
    return spoken[middle : middle + len(samples)].astype(np.float32)


def track_pitch(samples: np.ndarray, hop: int) -> np.ndarray:
    """Estimate the pitch by autocorrelation.

    Returns
    -------
    np.ndarray, float64, shape (frames,)
        Hertz, a frame every ``hop`` samples; 0 where the voice is silent or unvoiced.
    """
    window = np.hanning(_PITCH_WINDOW + 1)[:-1]
    frames = _frames(samples, _PITCH_WINDOW, hop) * window
    lags = np.arange(int(SAMPLE_RATE_HZ / _PITCH_HZ[1]), int(SAMPLE_RATE_HZ / _PITCH_HZ[0]) + 1)
    correlation = _autocorrelation(frames, lags[-1] + 1)
    # A window correlates less with itself the longer the lag, whatever it looks at.
    of_window = _autocorrelation(window[None], lags[-1] + 1)
    power = correlation[:, :1] / of_window[:, :1]
    likeness = correlation[:, lags] / of_window[:, lags] / np.maximum(power, 1e-12)
    # Multiples of a period are as alike: a shorter one is preferred.
    best = np.argmax(likeness - 3e-4 * lags, axis=1)
    voiced = likeness[np.arange(len(best)), best] > _VOICED
    voiced &= power[:, 0] > 1e-4 * power.max(initial=1e-12)
    pitch = np.where(voiced, SAMPLE_RATE_HZ / lags[best], 0.0)
    # A median over five frames removes single octave errors.
    padded = np.pad(pitch, 2, mode="edge")
    smooth: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return smooth


def _frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Cut frames centred on multiples of ``hop``; ends are padded with zeros, float64."""
    n_frames = -(-len(samples) // hop) + 1
    padded = np.zeros((n_frames - 1) * hop + length)
    padded[length // 2 : length // 2 + len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]


def _autocorrelation(frames: np.ndarray, n_lags: int) -> np.ndarray:
    """Correlate each frame with itself, shape (frames, n_lags)."""
    spectrum = np.fft.rfft(frames, 2 * frames.shape[1])
    correlation: np.ndarray = np.fft.irfft(np.abs(spectrum) ** 2)[:, :n_lags]
    return correlation


def _predict(frames: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Solve the normal equations of all frames.

    Returns
    -------
    predictor : np.ndarray, shape (frames, order + 1)
        Coefficients of the inverse filter, the first one 1.
    gain : np.ndarray, shape (frames,)
        Root mean square of what is left, as the window sees it.
    """
    correlation = _autocorrelation(frames, order + 1)
    correlation[:, 0] = correlation[:, 0] * (1 + _FLOOR) + 1e-9
    lag = np.abs(np.arange(order)[:, None] - np.arange(order))
    matrix = correlation[:, lag]  # (frames, order, order), Toeplitz
    weights = np.linalg.solve(matrix, correlation[:, 1:, None])[..., 0]
    left = correlation[:, 0] - (weights * correlation[:, 1:]).sum(1)
    predictor = np.concatenate([np.ones((len(frames), 1)), -weights], axis=1)
    predictor *= _DAMPING ** np.arange(order + 1)
    energy = np.square(np.hanning(frames.shape[1] + 1)[:-1]).sum()
    return predictor, np.sqrt(np.maximum(left, 0.0) / energy)


def _excitation(
    pitch_hz: np.ndarray, settings: LpcSettings, rng: np.random.Generator
) -> np.ndarray:
    """Pulses at the pitch, noise elsewhere, both of unit power; as long as the frames reach."""
    n_samples = (len(pitch_hz) - 1) * settings.hop + 1
    frame = np.arange(n_samples) / settings.hop
    nearest = np.rint(frame).astype(np.int64)
    voiced = pitch_hz[nearest] > 0
    known = np.flatnonzero(pitch_hz)
    steady = np.interp(frame, known, pitch_hz[known]) if len(known) else np.full(n_samples, 100.0)
    period = np.floor(np.cumsum(steady) / SAMPLE_RATE_HZ)
    pulses = np.diff(period, prepend=0.0) * np.sqrt(SAMPLE_RATE_HZ / steady)
    noise = rng.standard_normal(n_samples)
    breath = settings.breath
    mixed: np.ndarray = np.sqrt(1 - breath) * pulses + np.sqrt(breath) * noise
    return np.where(voiced, mixed, noise)


def _overlap_add(pieces: np.ndarray, hop: int) -> np.ndarray:
    """Add frames up, each ``hop`` samples after the one before."""
    n_frames, length = pieces.shape
    total = np.zeros((n_frames + -(-length // hop), hop))
    padded = np.zeros((n_frames, -(-length // hop) * hop))
    padded[:, :length] = pieces
    for offset in range(padded.shape[1] // hop):  # parts of frames, not frames
        total[offset : offset + n_frames] += padded[:, offset * hop : (offset + 1) * hop]
    return total.ravel()
