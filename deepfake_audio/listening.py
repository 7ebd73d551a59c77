"""One recording as it arrives: cut into the windows it would be cut into as a whole.

Keeps some seconds of sound and one number a window, however long the recording grows. Long files
and live streams are heard this way; :meth:`deepfake_audio.scoring.Scorer.score` does the same for
recordings that fit in memory, many at a time.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .batching import in_groups
from .config import SAMPLE_RATE_HZ, WindowConfig
from .errors import ConfigError
from .reduction import Evidence, Score, conclude, mean_where_any
from .scoring import Heard, Scorer
from .windows import (
    FRAME,
    FRAME_S,
    BoolArray,
    FloatArray,
    activity,
    frame_moments,
    is_sounding,
    seconds_to_samples,
    window_starts,
)

MAX_LOST_SHARE = 0.1
"""Windows of which more than this was lost on the way are not heard."""

_GROUP_WINDOWS = 64
_INT16_SCALE = 32768.0
_SOUNDING, _SPEECH = 1, 2
_SLACK = 4000
"""Room beyond what must be kept, samples: the more there is, the more rarely sound is moved."""


@dataclass(frozen=True)
class Window:
    """Some seconds of all channels, complete.

    Attributes
    ----------
    start : int
        Position of the first sample, at 16 kHz.
    samples : ndarray of float32, shape (channels, length)
        What is to be heard.
    active : ndarray of bool, shape (channels, frames)
        Which frames sound.
    sounding : ndarray of bool, shape (channels,)
        Which channels are worth a question to the network.
    counts : bool
        The recording as a whole is cut here, too; the others are for the moment only.
    final : bool
        Only the end of the recording decided on it.
    """

    start: int
    samples: FloatArray
    active: BoolArray
    sounding: BoolArray
    counts: bool
    final: bool = False

    @property
    def end_s(self) -> float:
        """Where the window ends, seconds from the start of the recording."""
        return float((self.start + self.samples.shape[1]) / SAMPLE_RATE_HZ)


class Listener:
    """Cuts what arrives into windows and keeps what is found in them.

    Parameters
    ----------
    channels : int
        Of the recording.
    config : WindowConfig
        As of the model.
    every_s : float, optional
        Give a window that ends at each multiple of this as well; shorter ones at the beginning.
        Both ``window_s`` and ``hop_s`` must be multiples of it.
    dtype : numpy dtype, default float32
        What waiting sound is kept as; int16 takes half the memory.

    Raises
    ------
    ConfigError
        If the windows asked for would miss those of the recording as a whole.
    """

    def __init__(
        self,
        channels: int,
        config: WindowConfig,
        *,
        every_s: float | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.channels = channels
        self._config = config
        self._length = seconds_to_samples(config.window_s)
        self._hop = seconds_to_samples(config.hop_s)
        self._every = None if every_s is None else seconds_to_samples(every_s)
        if self._every is not None and self._every < FRAME:
            raise ConfigError(
                f"{every_s:g} s is too short", name="hop_s", hint="1 s and 0.5 s usually do"
            )
        if self._every and (self._length % self._every or self._hop % self._every):
            raise ConfigError(
                f"{every_s:g} s does not divide windows of {config.window_s:g} s "
                f"every {config.hop_s:g} s",
                name="hop_s",
                hint="1 s and 0.5 s usually do",
            )
        self._single = seconds_to_samples(config.single_s)
        # Any length up to the single window's may turn out to be all there is.
        self._buffer = np.zeros((channels, self._single + _SLACK), dtype=dtype)
        self._first = 0  # position of the first sample in the buffer
        self._end = 0  # position of the next sample to come
        self._due = self._every or self._length
        self._lost: list[tuple[int, int]] = []  # stretches of silence that stand for lost sound
        # Of the windows that count, each channel; plain arrays, as a room may be open for a day.
        self._llr = array("f")
        self._marks: array[int] = array("B")
        self._count = 0
        self._last_start = -1
        self._speech_frames = np.zeros(channels, dtype=np.int64)
        self._covered = np.zeros((channels, self._length // FRAME), dtype=np.bool_)
        self._covered_start = 0
        self._distance = np.zeros(channels)  # of the speech windows, in sum
        self._spoken = np.zeros(channels, dtype=np.int64)
        self._whole: tuple[Window, Heard] | None = None

    @property
    def duration_s(self) -> float:
        """Seconds received."""
        return self._end / SAMPLE_RATE_HZ

    @property
    def until_due(self) -> int:
        """Samples that complete the next window."""
        return self._due - self._end

    @property
    def n_bytes(self) -> int:
        """Memory held, bytes."""
        held = self._buffer.nbytes + self._covered.nbytes + 16 * len(self._lost)
        return held + sum(part.itemsize * len(part) for part in (self._llr, self._marks))

    def feed(self, samples: FloatArray, *, lost: bool = False) -> Iterator[Window]:
        """Take in what has come next.

        Parameters
        ----------
        samples : ndarray of float32, shape (channels, samples)
            At 16 kHz, full scale 1; any number of samples.
        lost : bool
            The samples are silence that stands for sound lost on the way.

        Yields
        ------
        Window
            As they become complete. To be used up: what is not asked for is not taken in.
        """
        taken = 0
        while taken < samples.shape[1]:
            self._make_room()
            here = self._end - self._first
            count = min(samples.shape[1] - taken, self._buffer.shape[1] - here)
            count = min(count, self._due - self._end)  # a window is due before more comes
            self._put(here, samples[:, taken : taken + count])
            if lost:
                self._lost.append((self._end, self._end + count))
            self._end += count
            taken += count
            if self._end == self._due:
                self._due += self._every or self._hop
                length = min(self._length, self._end)
                if length >= seconds_to_samples(self._config.min_window_s):
                    yield self._window(self._end - length, length)

    def latest(self) -> FloatArray:
        """Return the sound of the last seconds, (channels, samples), float32."""
        return self._sound(self._first, self._end - self._first)

    def finish(self) -> Window | None:
        """Return the window that only the end decides on, if there is one."""
        length, starts = window_starts(self._end, self._config)
        if not length:
            return None
        if not self._is_single and self._last_start == starts[-1]:
            return None
        return self._window(int(starts[-1]), length, final=True)

    def take(self, window: Window, found: Heard) -> None:
        """Keep what was found in a window, if it counts.

        Parameters
        ----------
        window : Window
            From :meth:`feed` or :meth:`finish`, in that order.
        found : Heard
            Each shaped (channels,); 0 and False of channels that do not sound.
        """
        if not window.counts:
            return
        if window.final and self._is_single:
            self._whole = (window, found)
            return
        llr, speech, distance = found
        self._count += 1
        self._last_start = window.start
        self._llr.extend(llr.tolist())
        self._marks.extend((_SOUNDING * window.sounding + _SPEECH * speech).tolist())
        self._distance += np.where(speech, distance, 0)
        self._spoken += speech
        moved = (window.start - self._covered_start) // FRAME
        self._covered_start = window.start
        self._covered[:, : max(self._covered.shape[1] - moved, 0)] = self._covered[:, moved:]
        self._covered[:, max(self._covered.shape[1] - moved, 0) :] = False
        spoken = window.active & speech[:, None]
        self._speech_frames += (spoken & ~self._covered).sum(axis=1)
        self._covered |= spoken

    def evidence(self) -> Evidence:
        """Return what is known of the recording so far."""
        if self._is_single and self._whole:
            return _evidence_of_one(self.duration_s, *self._whole)
        shape = (self._count, self.channels)
        marks = np.array(self._marks, dtype=np.uint8).reshape(shape).T
        starts = np.arange(self._count, dtype=np.int64) * self._hop
        starts[-1:] = self._last_start  # the final window lies off the grid
        return Evidence(
            duration_s=self.duration_s,
            length=self._length,
            starts=starts,
            sounding=(marks & _SOUNDING).astype(np.bool_),
            speech=(marks & _SPEECH).astype(np.bool_),
            llr=np.array(self._llr, dtype=np.float64).reshape(shape).T,
            speech_s=self._speech_frames * FRAME_S,
            distance=mean_where_any(self._distance, self._spoken),
        )

    @property
    def _is_single(self) -> bool:
        return self._end <= self._single

    def _make_room(self) -> None:
        """Forget what no window can reach any more, once the buffer is full."""
        held = self._end - self._first
        if held < self._buffer.shape[1]:
            return
        kept = self._length + FRAME
        latest = self._buffer[:, held - kept : held]
        if held > kept + _SLACK:  # it is a long recording: less is enough from here on
            self._buffer = np.zeros((self.channels, kept + _SLACK), dtype=latest.dtype)
        self._buffer[:, :kept] = latest
        self._first = self._end - kept
        self._lost = [stretch for stretch in self._lost if stretch[1] > self._first]

    def _put(self, at: int, samples: FloatArray) -> None:
        if self._buffer.dtype == np.int16:
            samples = samples * _INT16_SCALE
            np.rint(samples, out=samples)
            np.maximum(samples, -_INT16_SCALE, out=samples)
            np.minimum(samples, _INT16_SCALE - 1, out=samples)
        self._buffer[:, at : at + samples.shape[1]] = samples

    def _sound(self, start: int, length: int) -> FloatArray:
        """Copy what is held from a position on: the buffer moves on."""
        at = start - self._first
        samples = self._buffer[:, at : at + length].astype(np.float32)
        return samples / np.float32(_INT16_SCALE) if self._buffer.dtype == np.int16 else samples

    def _window(self, start: int, length: int, *, final: bool = False) -> Window:
        samples = self._sound(start, length)
        active = activity(frame_moments(samples))
        lost = sum(
            max(min(stop, start + length) - max(begin, start), 0) for begin, stop in self._lost
        )
        sounding = is_sounding(active) & (lost <= MAX_LOST_SHARE * length)
        on_grid = length == self._length and start % self._hop == 0
        return Window(start, samples, active, sounding, final or on_grid, final)


def hear(
    score: Callable[[Sequence[FloatArray]], Heard], windows: Sequence[Window]
) -> Iterator[Heard]:
    """Score windows together, whatever they come from.

    Parameters
    ----------
    score : callable
        :meth:`Scorer.hear`, or what asks one elsewhere.
    windows : sequence of Window
        Whose channels that sound are scored.

    Yields
    ------
    Heard
        Of each window, in order, shaped (channels,); 0 and False of channels that do not sound.
    """
    rows = [w.samples[channel] for w in windows for channel in np.flatnonzero(w.sounding)]
    heard = score(rows)
    first = 0
    for window in windows:
        after = first + int(np.count_nonzero(window.sounding))
        yield heard.part(first, after).placed(window.sounding)
        first = after


def listen(scorer: Scorer, blocks: Iterable[FloatArray], channels: int) -> Score:
    """Score a recording that comes in blocks; the same as in one piece, in bounded memory.

    Parameters
    ----------
    scorer : Scorer
        The network.
    blocks : iterable of ndarray of float32, shape (channels, samples)
        The recording at 16 kHz.
    channels : int
        Of the recording.
    """
    began = time.perf_counter()
    listener = Listener(channels, scorer.header.windows)
    windows = (window for block in blocks for window in listener.feed(block))
    for group in in_groups(windows, lambda window: int(window.sounding.sum()), _GROUP_WINDOWS):
        for window, found in zip(group, hear(scorer.hear, group), strict=True):
            listener.take(window, found)
    if last := listener.finish():
        [found] = hear(scorer.hear, [last])
        listener.take(last, found)
    return conclude(listener.evidence(), time.perf_counter() - began)


def _evidence_of_one(duration_s: float, window: Window, found: Heard) -> Evidence:
    llr, speech, distance = found
    return Evidence(
        duration_s=duration_s,
        length=window.samples.shape[1],
        starts=np.array([window.start], dtype=np.int64),
        sounding=window.sounding[:, None],
        speech=speech[:, None],
        llr=llr[:, None],
        speech_s=(window.active & speech[:, None]).sum(axis=1) * FRAME_S,
        distance=np.where(speech, distance, np.nan),
    )
