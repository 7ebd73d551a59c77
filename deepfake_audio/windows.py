"""Windows of a recording without padding, and where in it there is anything to hear.

The network takes windows of any length, but a batch needs one length. Recordings are therefore
cut into windows whose lengths come from a small set: ``window_s`` where there are several, and a
multiple of ``step_s`` where one is enough. Nothing is ever padded, so a score never depends on
silence that nobody recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .config import SAMPLE_RATE_HZ, WindowConfig

FRAME_S = 0.010
"""Resolution of the energy gate, seconds."""

FRAME = round(FRAME_S * SAMPLE_RATE_HZ)
"""Samples in a frame of the energy gate."""

SILENCE_DBFS = -80.0
"""Frames below this level are silent whatever surrounds them (RMS, 0 dB is full scale)."""

DYNAMIC_RANGE_DB = 40.0
"""Frames this far below the loud frames of their channel are pauses."""

_LOUD_PERCENTILE = 95.0
_MIN_POWER = 10 ** (SILENCE_DBFS / 10)

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def seconds_to_samples(seconds: float) -> int:
    """Return the nearest whole number of samples at 16 kHz."""
    return round(seconds * SAMPLE_RATE_HZ)


def window_starts(n_samples: int, config: WindowConfig) -> tuple[int, IntArray]:
    """Lay windows of one length over a recording.

    A single window lies in the middle; several are spread evenly from the first to the last
    sample.

    Parameters
    ----------
    n_samples : int
        Length of the recording, samples at 16 kHz.
    config : WindowConfig
        Lengths and spacing.

    Returns
    -------
    length : int
        Length of each window, samples; 0 if the recording is shorter than ``min_window_s``.
    starts : ndarray of int, shape (windows,)
        First sample of each window, at most ``hop_s`` apart and never leaving a gap.

    Examples
    --------
    >>> window_starts(16_000 * 7, WindowConfig(window_s=4.0, hop_s=2.0))
    (64000, array([    0, 24000, 48000]))
    """
    if n_samples > seconds_to_samples(config.single_s):
        length = seconds_to_samples(config.window_s)
        slack = n_samples - length
        count = -(-slack // seconds_to_samples(config.hop_s)) + 1
        return length, np.linspace(0, slack, count).round().astype(np.int64)
    step = seconds_to_samples(config.step_s)
    length = n_samples // step * step
    if length < max(seconds_to_samples(config.min_window_s), 1):
        return 0, np.zeros(0, dtype=np.int64)
    return length, np.array([(n_samples - length) // 2], dtype=np.int64)


def cut(samples: FloatArray, config: WindowConfig) -> FloatArray:
    """Cut a recording into windows.

    Parameters
    ----------
    samples : ndarray, shape (channels, samples)
        Audio at 16 kHz.
    config : WindowConfig
        Lengths and spacing.

    Returns
    -------
    ndarray, shape (channels, windows, length)
        The windows; ``(channels, 0, 0)`` if the recording is too short for any.
    """
    length, starts = window_starts(samples.shape[-1], config)
    if not length:
        return np.zeros((samples.shape[0], 0, 0), dtype=samples.dtype)
    return sliding(samples, length)[:, starts]


def sliding(samples: FloatArray, length: int) -> FloatArray:
    """Return every window of one length as a read-only view; nothing is copied.

    Parameters
    ----------
    samples : ndarray, shape (channels, samples)
        Audio.
    length : int
        Samples in a window, between 1 and ``samples``.

    Returns
    -------
    ndarray, shape (channels, samples - length + 1, length)
        ``out[c, s]`` is the window of channel ``c`` that starts at sample ``s``.
    """
    return np.lib.stride_tricks.sliding_window_view(samples, length, axis=-1)


def frame_activity(samples: FloatArray) -> BoolArray:
    """Tell sound from silence and pauses, by level, every 10 ms.

    A frame is active when it is above -80 dBFS and at most 40 dB below the loud frames of its
    channel (the 95th percentile of those that are not silent, so that a click sets no standard).
    A constant offset is no sound.

    Parameters
    ----------
    samples : ndarray, shape (channels, samples)
        Audio at 16 kHz, full scale 1.

    Returns
    -------
    ndarray of bool, shape (channels, samples // 160)
        Whether each frame is active.
    """
    channels, n = samples.shape
    frames = samples[:, : n // FRAME * FRAME].reshape(channels, -1, FRAME)
    if not frames.shape[1]:
        return np.zeros((channels, 0), dtype=np.bool_)
    # Mean of (x - offset)^2, expanded so that no copy of the recording is made.
    offset = frames.mean(axis=(1, 2), dtype=np.float64)[:, None]
    square = np.einsum("cfs,cfs->cf", frames, frames) / FRAME
    power = square - 2 * offset * frames.mean(axis=2) + offset**2
    audible = power > _MIN_POWER
    loud = [
        np.percentile(row[heard], _LOUD_PERCENTILE) if heard.any() else 0.0
        for row, heard in zip(power, audible, strict=True)
    ]
    floor = np.asarray(loud)[:, None] * 10 ** (-DYNAMIC_RANGE_DB / 10)
    active: BoolArray = audible & (power >= floor)
    return active


def active_share(active: BoolArray, starts: IntArray, length: int) -> FloatArray:
    """Return the share of active frames in each window.

    Parameters
    ----------
    active : ndarray of bool, shape (channels, frames)
        From :func:`frame_activity`.
    starts : ndarray of int, shape (windows,)
        First samples, from :func:`window_starts`.
    length : int
        Samples in a window.

    Returns
    -------
    ndarray, shape (channels, windows)
        Shares between 0 and 1.
    """
    first, last = _frame_range(starts, length, active.shape[-1])
    total = np.cumsum(np.pad(active, ((0, 0), (1, 0))), axis=-1, dtype=np.int64)
    share: FloatArray = (total[:, last] - total[:, first]) / np.maximum(last - first, 1)
    return share


def active_seconds(
    active: BoolArray, starts: IntArray, length: int, chosen: BoolArray
) -> FloatArray:
    """Return the seconds of active audio under the chosen windows, overlaps counted once.

    Parameters
    ----------
    active : ndarray of bool, shape (channels, frames)
        From :func:`frame_activity`.
    starts, length
        The windows, as in :func:`active_share`.
    chosen : ndarray of bool, shape (channels, windows)
        Which windows count.

    Returns
    -------
    ndarray, shape (channels,)
        Seconds.
    """
    channels, n_frames = active.shape
    first, last = _frame_range(starts, length, n_frames)
    # A window adds one where it starts and takes it back where it ends; the running sum is the
    # number of chosen windows over each frame.
    edges = np.zeros((channels, n_frames + 1), dtype=np.int64)
    row = np.arange(channels)[:, None]
    np.add.at(edges, (row, first[None]), chosen)
    np.subtract.at(edges, (row, last[None]), chosen)
    covered = np.cumsum(edges, axis=-1)[:, :n_frames] > 0
    seconds: FloatArray = (active & covered).sum(axis=-1) * FRAME_S
    return seconds


def _frame_range(starts: IntArray, length: int, n_frames: int) -> tuple[IntArray, IntArray]:
    """Return the first and one past the last frame of each window, both shaped (windows,)."""
    first = np.minimum(starts // FRAME, n_frames)
    return first, np.minimum(first + length // FRAME, n_frames)
