"""Windows of a recording without padding, and where in it there is anything to hear.

The network takes windows of any length, but a batch needs one length. Recordings are therefore
cut into windows whose lengths come from a small set: ``window_s`` where there are several, and a
multiple of ``step_s`` where one is enough. Nothing is ever padded, so a score never depends on
silence that nobody recorded. The set is small because every length takes batches of its own, and
kernels built for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
"""Frames this far below the loud frames of their window are pauses."""

MIN_ACTIVE_SHARE = 0.125
"""Windows with a smaller share of active frames (half a second of a full window) are pauses; the
network is not asked."""

_FINE_STEPS = 8  # lengths from here on are multiples of two steps: less than a fifth is lost

_SAMPLES_AT_ONCE = 1 << 20  # copied together; a longer recording is looked at where it lies

_LOUD_SHARE = 0.95
_MIN_POWER = 10 ** (SILENCE_DBFS / 10)

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def seconds_to_samples(seconds: float) -> int:
    """Return the nearest whole number of samples at 16 kHz."""
    return round(seconds * SAMPLE_RATE_HZ)


def window_starts(n_samples: int, config: WindowConfig) -> tuple[int, IntArray]:
    """Lay windows of one length over a recording.

    A single window lies in the middle. Several lie on a grid from the first sample, so that a
    live stream can be cut before its end is known; one more takes in the end if the grid leaves
    ``step_s`` or more of it. All begin at whole frames of the energy gate.

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
    (64000, array([    0, 32000, 48000]))
    """
    step = seconds_to_samples(config.step_s)
    if n_samples > seconds_to_samples(config.single_s):
        length = seconds_to_samples(config.window_s)
        last = (n_samples - length) // FRAME * FRAME
        starts = np.arange(0, last + 1, seconds_to_samples(config.hop_s), dtype=np.int64)
        return length, starts if last - starts[-1] < step else np.append(starts, last)
    if n_samples >= _FINE_STEPS * step:
        step *= 2
    length = n_samples // step * step
    if length < max(seconds_to_samples(config.min_window_s), 1):
        return 0, np.zeros(0, dtype=np.int64)
    return length, np.array([(n_samples - length) // 2 // FRAME * FRAME], dtype=np.int64)


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


def frame_moments(samples: FloatArray) -> FloatArray:
    """Return mean and mean square of each frame of 10 ms.

    Parameters
    ----------
    samples : ndarray, shape (channels, samples)
        Audio at 16 kHz, full scale 1.

    Returns
    -------
    ndarray, shape (2, channels, samples // 160)
    """
    channels, n = samples.shape
    frames = samples[:, : n // FRAME * FRAME].reshape(channels, -1, FRAME)
    moments: FloatArray = np.stack(
        [frames.mean(axis=2), np.einsum("cfs,cfs->cf", frames, frames) / FRAME]
    )
    return moments


def in_windows(frames: FloatArray, starts: IntArray, length: int) -> FloatArray:
    """Lay what is known of each frame out by window; may be a view.

    Parameters
    ----------
    frames : ndarray, shape (..., frames)
        One value each.
    starts, length
        The windows in samples, from :func:`window_starts`.

    Returns
    -------
    ndarray, shape (..., windows, frames in a window)
    """
    if not length:
        return np.zeros((*frames.shape[:-1], 0, 0), dtype=frames.dtype)
    if starts.size == 1:  # as of most recordings
        first = int(starts[0]) // FRAME
        return frames[..., None, first : first + length // FRAME]
    laid: FloatArray = sliding(frames, length // FRAME)[..., starts // FRAME, :]
    return laid


def activity(moments: FloatArray) -> BoolArray:
    """Tell sound from silence and pauses, by level.

    A frame is active when it is above -80 dBFS and at most 40 dB below the loud frames of its
    window (the 95th percentile of those that are not silent, so that a click sets no standard).
    A constant offset is no sound. Windows are judged apart: what comes later changes nothing.

    Parameters
    ----------
    moments : ndarray, shape (2, ..., frames)
        Mean and mean square of the frames of each window, from :func:`frame_moments`.

    Returns
    -------
    ndarray of bool, shape (..., frames)
        Whether each frame is active.
    """
    mean, square = moments.astype(np.float64)
    n_frames = mean.shape[-1]
    if not mean.size:
        return np.zeros(mean.shape, dtype=np.bool_)
    offset = mean.mean(axis=-1, keepdims=True)
    power = square - 2 * offset * mean + offset**2  # mean of (x - offset)^2
    audible = power > _MIN_POWER
    count = audible.sum(axis=-1, keepdims=True)
    # The audible frames are the last ones in order.
    rank = n_frames - 1 - np.floor((1 - _LOUD_SHARE) * count).astype(np.int64)
    loud = np.take_along_axis(np.sort(power, axis=-1), np.maximum(rank, 0), axis=-1)
    active: BoolArray = audible & (power >= loud * 10 ** (-DYNAMIC_RANGE_DB / 10))
    return active


def is_sounding(active: BoolArray) -> BoolArray:
    """Tell windows worth a question to the network from pauses; drops the last axis, frames."""
    enough: BoolArray = active.sum(axis=-1) >= MIN_ACTIVE_SHARE * max(active.shape[-1], 1)
    return enough


class Layout(NamedTuple):
    """Where the windows of one recording lie, and which of them sound.

    Attributes
    ----------
    length : int
        Samples in a window.
    starts : ndarray of int, shape (windows,)
        Their first samples.
    active : ndarray of bool, shape (channels, windows, frames)
        From :func:`activity`.
    sounding : ndarray of bool, shape (channels, windows)
        From :func:`is_sounding`.
    """

    length: int
    starts: IntArray
    active: BoolArray
    sounding: BoolArray


def lay_out(recordings: Sequence[FloatArray], config: WindowConfig) -> list[Layout]:
    """Lay windows over recordings, and look at all windows of one length at once.

    Parameters
    ----------
    recordings : sequence of ndarray, shape (channels, samples)
        Audio at 16 kHz, full scale 1.
    config : WindowConfig
        Lengths and spacing.

    Returns
    -------
    list of Layout
        One for each recording, in order; the same whatever stands beside it.
    """
    # Sums over other orders of memory round otherwise, and a frame may lie on the threshold.
    recordings = [np.ascontiguousarray(samples) for samples in recordings]
    grids = [window_starts(samples.shape[1], config) for samples in recordings]
    moments = [
        in_windows(its, starts, length)
        for its, (length, starts) in zip(_moments_of_each(recordings), grids, strict=True)
    ]  # (2, channels, windows, frames) each
    alike: dict[int, list[int]] = {}
    for place, its in enumerate(moments):
        alike.setdefault(its.shape[-1], []).append(place)
    found: dict[int, tuple[BoolArray, BoolArray]] = {}
    for frames, places in alike.items():
        shapes = [moments[place].shape[1:3] for place in places]
        rows = [channels * windows for channels, windows in shapes]
        together = [
            moments[place].reshape(2, count, frames)
            for place, count in zip(places, rows, strict=True)
        ]
        active = activity(np.concatenate(together, axis=1))  # (rows, frames)
        sounding = is_sounding(active)
        stop = 0
        for place, shape, count in zip(places, shapes, rows, strict=True):
            start, stop = stop, stop + count
            found[place] = (
                active[start:stop].reshape(*shape, frames),
                sounding[start:stop].reshape(shape),
            )
    return [Layout(*grid, *found[place]) for place, grid in enumerate(grids)]


def _moments_of_each(recordings: Sequence[FloatArray]) -> Iterator[FloatArray]:
    """Give the :func:`frame_moments` of each recording, some megabytes of sound at a time."""
    group: list[FloatArray] = []
    size = 0
    for samples in recordings:
        if group and size + samples.size > _SAMPLES_AT_ONCE:
            yield from _moments_together(group)
            group, size = [], 0
        group.append(samples)
        size += samples.size
    yield from _moments_together(group)


def _moments_together(group: Sequence[FloatArray]) -> Iterator[FloatArray]:
    if len(group) < 2:
        yield from map(frame_moments, group)
        return
    whole = [samples[:, : samples.shape[1] // FRAME * FRAME] for samples in group]
    moments = frame_moments(np.concatenate([samples.reshape(1, -1) for samples in whole], axis=1))
    stops = np.cumsum([samples.size // FRAME for samples in whole])
    for samples, its in zip(whole, np.split(moments[:, 0], stops[:-1], axis=1), strict=True):
        yield its.reshape(2, samples.shape[0], samples.shape[1] // FRAME)


def active_seconds(active: BoolArray, starts: IntArray, chosen: BoolArray) -> FloatArray:
    """Return the seconds of active audio under the chosen windows, overlaps counted once.

    Parameters
    ----------
    active : ndarray of bool, shape (channels, windows, frames)
        From :func:`activity`.
    starts : ndarray of int, shape (windows,)
        First samples, from :func:`window_starts`.
    chosen : ndarray of bool, shape (channels, windows)
        Which windows count.

    Returns
    -------
    ndarray, shape (channels,)
        Seconds.
    """
    channels, windows, in_window = active.shape
    if windows == 1:
        alone: FloatArray = (active[:, 0].sum(axis=-1) * chosen[:, 0]) * FRAME_S
        return alone
    first = starts // FRAME
    covered = np.zeros((channels, int(first.max(initial=0)) + in_window), dtype=np.bool_)
    channel, window, frame = np.nonzero(active & chosen[..., None])
    covered[channel, first[window] + frame] = True
    seconds: FloatArray = covered.sum(axis=-1) * FRAME_S
    return seconds
