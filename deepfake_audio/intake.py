"""Chunks of a live stream as they come in: checked, put in order, brought to 16 kHz."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

from ._blocks import as_float32
from ._checks import MAX_PEAK, check_rate
from .config import SAMPLE_RATE_HZ, Limits
from .errors import InvalidSamplesError, LimitExceededError
from .jitter import Arrivals, JitterBuffer, Piece
from .quality import SampleMeter
from .windows import FloatArray

_GATHERED_BYTES = 36 * 1024
"""Chunks that complete no window are looked at together, up to so many bytes of them."""

_ARRAY_BYTES = 128  # of an array itself, beside what it holds


class Sound(NamedTuple):
    """What comes next at 16 kHz, (channels, samples); ``lost`` if silence stands for it."""

    samples: FloatArray
    lost: bool = False


class Intake:
    """Takes the chunks of one stream.

    Parameters
    ----------
    sample_rate_hz, channels : int
        Of the chunks.
    name : str
        What errors call the stream.
    patience_s : float
        How much later sound may wait for a missing chunk, seconds.
    limits : Limits
        Which sample rates, and how many channels, are taken.

    Attributes
    ----------
    meter : SampleMeter
        What was seen in the samples as they came.
    taken : int
        Samples handed on so far, at the rate of the chunks.

    Raises
    ------
    LimitExceededError
        If the rate or the number of channels is out of range.
    """

    def __init__(
        self, sample_rate_hz: int, channels: int, *, name: str, patience_s: float, limits: Limits
    ) -> None:
        check_rate(sample_rate_hz, limits, name, "give the rate of the chunks in hertz")
        if not 1 <= channels <= limits.max_channels:
            raise LimitExceededError(
                f"{channels} channels are not between 1 and {limits.max_channels}",
                name=name,
                hint="open one stream a speaker",
            )
        self.sample_rate_hz = sample_rate_hz
        self.channels = channels
        self.meter = SampleMeter()
        self.taken = 0
        self._name = name
        self._jitter = JitterBuffer(sample_rate_hz, patience_s=patience_s)
        self._resampler = (
            None
            if sample_rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, channels)
        )
        self._gathered: list[npt.NDArray[Any]] = []
        self._n_gathered = 0  # samples
        self._gathered_bytes = 0

    @property
    def arrivals(self) -> Arrivals:
        """What became of the chunks so far."""
        return dataclasses.replace(self._jitter.arrivals)

    @property
    def expected(self) -> int | None:
        """Number of the chunk that comes next, where chunks are numbered; None before the first."""
        return self._jitter.expected

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that is in order and was not handed on; without what a gap holds up."""
        return self._n_gathered / self.sample_rate_hz

    @property
    def n_bytes(self) -> int:
        """Memory held between chunks, bytes; without the resampler and what a gap holds up."""
        return self._gathered_bytes

    def put(
        self,
        samples: npt.NDArray[Any],
        *,
        sequence: int | None,
        time_s: float | None,
        wanted: Callable[[], int],
    ) -> Iterator[Sound]:
        """Take in a chunk as it is iterated; see :meth:`deepfake_audio.streaming.Stream.push`.

        Parameters
        ----------
        wanted : callable
            Says how many samples at 16 kHz are of use, counted from what was handed on last: fewer
            are looked at later. Whoever sends a tenth of a second at a time then costs little more
            than who sends seconds.

        Yields
        ------
        Sound
            To be used up before the next is asked for.

        Raises
        ------
        InvalidSamplesError
            If the shape, the type or the scale is wrong; nothing of the chunk is taken in.
        ValueError
            If ``sequence`` and ``time_s`` are mixed.
        """
        chunk = self._checked(samples)
        for piece in self._jitter.put(chunk, sequence=sequence, time_s=time_s):
            yield from self._gather(piece, wanted)

    def end(self, wanted: Callable[[], int]) -> Iterator[Sound]:
        """Hand on everything that was still held; as for :meth:`put`."""
        for piece in self._jitter.flush():
            yield from self._gather(piece, wanted)
        yield from self._take_gathered()
        if self._resampler:
            none = np.empty((0, self.channels), np.float32)
            yield Sound(self._resampler.resample_chunk(none, last=True).T)

    def _gather(self, piece: Piece, wanted: Callable[[], int]) -> Iterator[Sound]:
        samples = piece.samples
        if samples is None:
            yield from self._take_gathered()
            yield self._take(np.zeros((self.channels, piece.n_lost), np.float32), lost=True)
            return
        if self._gathered and self._gathered[0].dtype != samples.dtype:
            yield from self._take_gathered()
        self._gathered.append(samples)
        self._n_gathered += samples.shape[1]
        self._gathered_bytes += samples.nbytes + _ARRAY_BYTES
        enough = wanted() * self.sample_rate_hz / SAMPLE_RATE_HZ
        if self._n_gathered >= enough or self._gathered_bytes >= _GATHERED_BYTES:
            yield from self._take_gathered()

    def _take_gathered(self) -> Iterator[Sound]:
        if self._gathered:
            block = np.concatenate(self._gathered, axis=1)
            self._gathered.clear()
            self._n_gathered = self._gathered_bytes = 0
            yield self._take(self.meter.update(as_float32(block.T)).T)

    def _take(self, samples: FloatArray, *, lost: bool = False) -> Sound:
        """Bring what comes next to 16 kHz."""
        self.taken += samples.shape[1]
        if self._resampler:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples.T)).T
        return Sound(samples, lost)

    def _checked(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a copy of a chunk, shape (channels, samples): float32, or integers as they are."""
        array = np.atleast_2d(np.array(samples))
        wide = array.dtype.kind not in "fiu" or (
            array.dtype.kind != "f" and array.dtype.itemsize > 4
        )
        if array.ndim != 2 or array.shape[0] != self.channels or wide:
            raise InvalidSamplesError(
                f"a chunk of shape {np.shape(samples)} and type {array.dtype}",
                name=self._name,
                hint=f"give ({self.channels}, samples) as floats, or integers of up to 32 bits",
            )
        if array.dtype.kind != "f":
            return array
        chunk: FloatArray = as_float32(array)
        if (peak := _peak(chunk)) > MAX_PEAK:
            raise InvalidSamplesError(
                f"samples reach {peak:.3g} times full scale",
                name=self._name,
                hint="divide integers kept as floats by 32768, or scale to [-1, 1]",
            )
        return chunk


def _peak(chunk: FloatArray) -> float:
    """Return the largest magnitude among samples that are numbers; others are zeroed later."""
    peak = float(np.abs(chunk).max(initial=0.0))
    return peak if np.isfinite(peak) else float(np.abs(chunk[np.isfinite(chunk)]).max(initial=0.0))
