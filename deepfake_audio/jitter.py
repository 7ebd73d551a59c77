"""Chunks from a network, back in order: what is late waits a little, what is lost is told.

Chunks are placed by a running number or by the time of their first sample; without either they
are taken as they come.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy.typing as npt

Samples = npt.NDArray[Any]

TOLERANCE_S = 0.02
"""Timestamps this far off are taken for inexact rather than for a gap."""


class Piece(NamedTuple):
    """What comes next: samples of shape (channels, samples), or so many that were lost."""

    samples: Samples | None
    n_lost: int = 0


@dataclass
class Arrivals:
    """What became of the chunks so far.

    Attributes
    ----------
    received, reordered, late, lost : int
        Chunks that came; those of them that came before an earlier one and waited; those that
        came too late, or twice, and were thrown away; gaps that were given up on.
    lost_s : float
        Seconds that silence stands for.
    """

    received: int = 0
    reordered: int = 0
    late: int = 0
    lost: int = 0
    lost_s: float = 0.0


@dataclass(order=True)
class _Waiting:
    place: int
    arrival: int
    samples: Samples = field(compare=False)


class JitterBuffer:
    """Puts chunks in order.

    Parameters
    ----------
    sample_rate_hz : int
        Of the chunks.
    patience_s : float, default 0.5
        How much later sound may wait for a missing chunk before that is given up.
    max_gap_s : float, default 30
        Longest silence put in for what was lost; the rest of the gap is cut out.
    """

    def __init__(
        self, sample_rate_hz: int, *, patience_s: float = 0.5, max_gap_s: float = 30.0
    ) -> None:
        self.arrivals = Arrivals()
        self._rate = sample_rate_hz
        self._patience = round(patience_s * sample_rate_hz)
        self._max_gap = round(max_gap_s * sample_rate_hz)
        self._tolerance = round(TOLERANCE_S * sample_rate_hz)
        self._by_number: bool | None = None
        self._next = 0  # number of the next chunk, or position of the next sample
        self._waiting: list[_Waiting] = []
        self._least = -(-sample_rate_hz // 1000)  # however empty, so that they cannot pile up
        self._n_waiting = 0  # samples, a chunk for at least a millisecond
        self._count = itertools.count()

    @property
    def expected(self) -> int | None:
        """Running number of the chunk that comes next; None before there was any."""
        return self._next if self._by_number else None

    def put(
        self, samples: Samples, *, sequence: int | None = None, time_s: float | None = None
    ) -> Iterator[Piece]:
        """Take a chunk of shape (channels, samples); give what is now in order.

        Parameters
        ----------
        sequence : int, optional
            Running number of the chunk; the first one sets the beginning.
        time_s : float, optional
            When its first sample was taken, in seconds; the first chunk sets the beginning.

        Raises
        ------
        ValueError
            If both are given, or not always the same one.
        """
        if sequence is not None and time_s is not None:
            raise ValueError("give sequence or time_s, not both")
        self.arrivals.received += 1
        if sequence is None and time_s is None:
            if self._by_number is not None:
                raise ValueError("chunks were placed before: give sequence or time_s always")
            yield Piece(samples)
            return
        place = sequence if sequence is not None else round((time_s or 0.0) * self._rate)
        by_number = sequence is not None
        if self._by_number is None:
            self._by_number, self._next = by_number, place
        elif self._by_number != by_number:
            raise ValueError("place all chunks of a stream by sequence, or all by time_s")
        if self._is_past(place, samples.shape[1]):
            self.arrivals.late += 1
            return
        if by_number and place == self._next and not self._waiting:  # as nearly always
            self._next += 1
            yield Piece(samples)
            return
        self._n_waiting += max(samples.shape[1], self._least)
        heapq.heappush(self._waiting, _Waiting(place, next(self._count), samples))
        if self._gap():
            self.arrivals.reordered += 1
        yield from self._release(self._patience)

    def flush(self) -> Iterator[Piece]:
        """Give all that waits: nothing more will come."""
        yield from self._release(0)

    def _release(self, patience: int) -> Iterator[Piece]:
        while self._waiting:
            gap = self._gap()
            if gap > 0 and self._n_waiting <= patience:
                return
            chunk = heapq.heappop(self._waiting)
            length = chunk.samples.shape[1]
            self._n_waiting -= max(length, self._least)
            if self._is_past(chunk.place, length):  # a duplicate of one that waited, too
                self.arrivals.late += 1
                continue
            if gap > 0:
                n_lost = min(gap * length if self._by_number else gap, self._max_gap)
                self.arrivals.lost += gap if self._by_number else 1
                self.arrivals.lost_s += n_lost / self._rate
                yield Piece(None, n_lost)
            self._next = chunk.place + (1 if self._by_number else length)
            yield Piece(chunk.samples)

    def _gap(self) -> int:
        """Return how much is missing before the first that waits: chunks or samples."""
        gap = self._waiting[0].place - self._next
        return gap if self._by_number or gap > self._tolerance else 0

    def _is_past(self, place: int, length: int) -> bool:
        if self._by_number:
            return place < self._next
        return place + length <= self._next or place < self._next - self._tolerance
