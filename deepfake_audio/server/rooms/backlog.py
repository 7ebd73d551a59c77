"""Windows that wait to be scored, in the order in which they became complete.

As many as fill the batches are taken together: one when little is going on, full batches when much
is. When more falls due than can be heard in time, windows that are for the moment only are left
out; those that make up the closing report never are.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from ...listening import Window, hear
from ...scoring import CPU_BATCH_WINDOWS, Heard, Scorer
from ...streaming import StreamEvent
from .room import Room, Speaker

logger = logging.getLogger(__name__)

_LANE_ROWS = 4  # fewer windows than this are not worth a thread of their own
_LEARN = 0.1  # weight of the newest measurement


@dataclass
class Due:
    """A window that waits; ``left_out`` others of its speaker were, before it."""

    room: Room
    speaker: Speaker
    window: Window
    received_at: float  # the chunk that completed it
    left_out: int = 0

    @property
    def rows(self) -> int:
        """What it costs: channels that sound."""
        return int(np.count_nonzero(self.window.sounding))


class Backlog:
    """The queue of windows, and the threads that score them.

    Parameters
    ----------
    lanes : int
        Batches scored at a time.
    max_delay_s : float
        Events later than this are not worth having.

    Attributes
    ----------
    delay_s : float
        How long the oldest window has waited.
    """

    def __init__(self, lanes: int, max_delay_s: float) -> None:
        self.delay_s = 0.0
        self._lanes = lanes
        self._max_delay_s = max_delay_s
        self._waiting: deque[Due] = deque()
        self._scorers = ThreadPoolExecutor(lanes, "deepfake_audio-rooms-scorer")
        self._cost_s = 0.0  # of a row and all that comes with it, seconds, as of late

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, dues: Iterable[Due]) -> None:
        """Have windows wait."""
        for due in dues:
            due.left_out, due.speaker.left_out = due.speaker.left_out, 0
            self._waiting.append(due)

    def next(self) -> list[Due]:
        """Take those that have waited longest, as many as make whole batches."""
        self._leave_out()
        oldest = self._waiting[0].received_at if self._waiting else None
        self.delay_s = 0.0 if oldest is None else time.monotonic() - oldest
        enough = _whole_batches(sum(due.rows for due in self._waiting), self._lanes)
        batch: list[Due] = []
        rows = 0
        while self._waiting and (rows + self._waiting[0].rows <= enough or not batch):
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        return batch

    def of(self, speaker: Speaker) -> list[Due]:
        """Take all those of a speaker."""
        found = [due for due in self._waiting if due.speaker is speaker]
        if found:
            self._waiting = deque(due for due in self._waiting if due.speaker is not speaker)
        return found

    def learn(self, batch: Sequence[Due], elapsed_s: float) -> None:
        """Note how long the last turn took."""
        if rows := sum(due.rows for due in batch):
            cost_s = elapsed_s / rows
            self._cost_s += _LEARN * (cost_s - self._cost_s) if self._cost_s else cost_s

    def hear(self, batch: Sequence[Due]) -> Iterator[tuple[Due, StreamEvent]]:
        """Score windows; give what is heard, of each stream in order."""

        def model(due: Due) -> int:
            return id(due.room.engine)

        # Rooms of an earlier model may be among them; the order within a stream stays.
        for _, group in groupby(sorted(batch, key=model), model):
            dues = list(group)
            scorer = dues[0].room.engine.scorer
            for due, found in zip(dues, self._found(scorer, dues), strict=True):
                if event := due.speaker.stream.settle(due.window, found):
                    yield due, event

    def close(self) -> None:
        """End the threads."""
        self._scorers.shutdown()

    def _leave_out(self) -> None:
        """Leave out windows for the moment that would be late, for the others not to be."""
        soonest = time.monotonic() - self._max_delay_s
        ahead = 0
        kept: deque[Due] = deque()
        since_kept: Counter[Speaker] = Counter()
        for due in self._waiting:
            is_late = soonest + (ahead + due.rows) * self._cost_s > due.received_at
            if is_late and due.rows and not due.window.counts:
                since_kept[due.speaker] += due.left_out + 1
            else:
                ahead += due.rows
                due.left_out += since_kept.pop(due.speaker, 0)
                kept.append(due)
        self._waiting = kept
        # What comes next tells of those that none of these tells of.
        for speaker, count in since_kept.items():
            speaker.left_out += count

    def _found(self, scorer: Scorer, dues: Sequence[Due]) -> list[Heard]:
        parts = _shares(dues, _lanes_for(sum(due.rows for due in dues), self._lanes))
        if len(parts) == 1:
            return _hear_safely(scorer, parts[0])
        heard = self._scorers.map(partial(_hear_safely, scorer), parts)
        return [found for part in heard for found in part]


def _lanes_for(rows: int, lanes: int) -> int:
    return min(lanes, max(rows // _LANE_ROWS, 1))


def _whole_batches(rows: int, lanes: int) -> int:
    """Return how many of so many rows to score now; the rest goes with those that come meanwhile.

    What is no power of two is scored in several batches, of which the smallest cost half as much
    again for each row.
    """
    used = _lanes_for(rows, lanes)
    each = min(rows // used, CPU_BATCH_WINDOWS)
    return used * (1 << (each.bit_length() - 1)) if each else 0


def _shares(dues: Sequence[Due], lanes: int) -> list[list[Window]]:
    """Share windows out to lanes, about as many rows to each."""
    share = sum(due.rows for due in dues) / lanes
    parts: list[list[Window]] = [[]]
    rows = 0
    for due in dues:
        if rows >= share * len(parts) and parts[-1] and len(parts) < lanes:
            parts.append([])
        parts[-1].append(due.window)
        rows += due.rows
    return parts


def warm_up(scorer: Scorer) -> None:
    """Have a network ready before somebody waits for it: kernels are made when first used."""
    length = round(scorer.header.windows.window_s * 16_000)
    for count in (1, 2, 4, CPU_BATCH_WINDOWS):
        scorer.hear([np.zeros(length, np.float32)] * count)


def _hear_safely(scorer: Scorer, windows: Sequence[Window]) -> list[Heard]:
    """Score windows; should that fail, one by one, so that one cannot hurt others."""
    try:
        return list(hear(scorer, windows))
    except Exception:
        if len(windows) > 1:
            return [found for window in windows for found in _hear_safely(scorer, [window])]
        logger.exception("a window of a room could not be scored")
        nothing = Heard(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0))
        return [nothing.placed(np.zeros_like(windows[0].sounding))]
