"""Windows that wait to be scored, in the order in which they became complete.

Threads of their own, the lanes, take a few at a time whenever they are free: one when little is
going on, full batches when much is. When more falls due than can be heard in time, windows that
are for the moment only are left out; those that make up the closing report never are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np

from ...listening import Window, hear
from ...scoring import Heard, Scorer
from ...streaming import StreamEvent
from ...windows import FloatArray
from .apart import Apart
from .room import Room, Speaker

logger = logging.getLogger(__name__)

BATCH_ROWS = 8
"""At most so many at a time in a lane: more are no cheaper, and all would wait for the last."""

_LEARN = 0.1  # weight of the newest measurement


@dataclass(eq=False)
class Due:
    """A window that waits, or is being scored; ``left_out`` others of its speaker were, before."""

    room: Room
    speaker: Speaker
    window: Window
    received_at: float  # the chunk that completed it
    left_out: int = 0
    heard: Future[Heard] = field(default_factory=Future)

    @property
    def rows(self) -> int:
        """What it costs: channels that sound."""
        return int(np.count_nonzero(self.window.sounding))


Told = tuple[Due, StreamEvent]


class Backlog:
    """The queue of windows, and the lanes that score them.

    Parameters
    ----------
    lanes : int
        Batches scored at a time.
    max_delay_s : float
        Events later than this are not worth having.
    on_heard : callable
        Told by a lane of the windows it has scored, for :meth:`settle`.
    models : sequence of str
        Each lane has a process of its own that loads these, see :mod:`.apart`; none without.

    Attributes
    ----------
    delay_s : float
        How long the oldest window has waited, as of the last batch.
    """

    def __init__(
        self,
        lanes: int,
        max_delay_s: float,
        on_heard: Callable[[Sequence[Due]], None],
        models: Sequence[str] = (),
    ) -> None:
        self.delay_s = 0.0
        self._max_delay_s = max_delay_s
        self._on_heard = on_heard
        self._models = models
        self._waiting: deque[Due] = deque()
        # Of each speaker in order, whichever lane is done first.
        self._underway: defaultdict[Speaker, deque[Due]] = defaultdict(deque)
        self._changed = threading.Condition()
        self._closed = False
        self._cost_s = 0.0  # of a row in a lane, seconds, as of late
        self._free = lanes
        self._lanes = [
            threading.Thread(target=self._run, name=f"deepfake_audio-rooms-{number}", daemon=True)
            for number in range(lanes)
        ]

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Begin to score."""
        for lane in self._lanes:
            lane.start()

    def close(self) -> None:
        """End the lanes; what still waits is not scored."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            if lane.ident is not None:
                lane.join()

    # For the thread that streams belong to.

    def add(self, dues: Iterable[Due]) -> None:
        """Have windows wait."""
        for due in dues:
            with self._changed:
                due.left_out, due.speaker.left_out = due.speaker.left_out, 0
                self._waiting.append(due)
                self._changed.notify()

    def settle(self, dues: Iterable[Due]) -> Iterator[Told]:
        """Give what was heard of the speakers of these windows, of each in order."""
        for speaker in dict.fromkeys(due.speaker for due in dues):
            while due := self._done(speaker):
                yield from _settle(due)

    def rest(self, speaker: Speaker) -> Iterator[Told]:
        """Score all that waits of a speaker here and now; give that, after what is under way."""
        with self._changed:
            self._leave_out()
            waiting = [due for due in self._waiting if due.speaker is speaker]
            self._waiting = deque(due for due in self._waiting if due.speaker is not speaker)
            underway = self._underway.pop(speaker, deque())
        _score(waiting)
        for due in (*underway, *waiting):
            yield from _settle(due)

    # For the lanes.

    def _run(self) -> None:
        apart = Apart(self._models) if self._models else None
        while batch := self._next():
            began = time.perf_counter()
            _score(batch, apart)
            self._learn(batch, time.perf_counter() - began)
            self._on_heard(batch)
        if apart is not None:
            apart.close()

    def _next(self) -> list[Due]:
        """Wait for windows and take some; none once it is closed."""
        with self._changed:
            while not self._closed:
                if batch := self._take():
                    self._free -= 1
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[Due]:
        """Take those that have waited longest: a lane's share, if it makes a whole batch."""
        self._leave_out()
        oldest = self._waiting[0].received_at if self._waiting else None
        self.delay_s = 0.0 if oldest is None else time.monotonic() - oldest
        enough = _whole_batch(sum(due.rows for due in self._waiting), self._free)
        batch: list[Due] = []
        rows = 0
        while self._waiting and (rows + self._waiting[0].rows <= enough or not batch):
            due = self._waiting.popleft()
            self._underway[due.speaker].append(due)
            batch.append(due)
            rows += due.rows
        return batch

    def _leave_out(self) -> None:
        """Leave out windows for the moment that would be late, for the others not to be."""
        soonest = time.monotonic() - self._max_delay_s
        ahead = 0
        kept: deque[Due] = deque()
        since_kept: Counter[Speaker] = Counter()
        for due in self._waiting:
            # Those ahead are shared by the lanes; those of its own batch it waits for as well.
            work = ahead / len(self._lanes) + min(ahead + due.rows, BATCH_ROWS)
            is_late = soonest + work * self._cost_s > due.received_at
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

    def _learn(self, batch: Sequence[Due], elapsed_s: float) -> None:
        """Note how long a batch took."""
        with self._changed:
            self._free += 1
            if rows := sum(due.rows for due in batch):
                cost_s = elapsed_s / rows
                self._cost_s += _LEARN * (cost_s - self._cost_s) if self._cost_s else cost_s

    def _done(self, speaker: Speaker) -> Due | None:
        """Take the first of a speaker's windows under way, if it has been scored."""
        with self._changed:
            underway = self._underway.get(speaker)
            if not underway or not underway[0].heard.done():
                return None
            due = underway.popleft()
            if not underway:
                del self._underway[speaker]
            return due


def warm_up(scorer: Scorer) -> None:
    """Have a network ready before somebody waits for it: kernels are made when first used."""
    length = round(scorer.header.windows.window_s * 16_000)
    count = 1
    while count <= BATCH_ROWS:
        scorer.hear([np.zeros(length, np.float32)] * count)
        count *= 2


def _whole_batch(rows: int, lanes: int) -> int:
    """Return how many of so many rows a lane takes, if so many lanes are free.

    What is no power of two is scored in several batches, of which the smallest cost half as much
    again for each row; so the rest goes with those that come meanwhile.
    """
    share = min(-(-rows // max(lanes, 1)), BATCH_ROWS)
    return 1 << (share.bit_length() - 1) if share else 0


def _score(dues: Sequence[Due], apart: Apart | None = None) -> None:
    """Score windows, each by the model of its room."""

    def model(due: Due) -> int:
        return id(due.room.engine)

    # Rooms of an earlier model may be among them.
    for _, group in groupby(sorted(dues, key=model), model):
        together = list(group)
        engine = together[0].room.engine
        score = partial(apart.hear, engine) if apart else engine.scorer.hear
        found = _hear_safely(score, [due.window for due in together])
        for due, heard in zip(together, found, strict=True):
            due.heard.set_result(heard)


def _hear_safely(
    score: Callable[[Sequence[FloatArray]], Heard], windows: Sequence[Window]
) -> list[Heard]:
    """Score windows; should that fail, one by one, so that one cannot hurt others."""
    try:
        return list(hear(score, windows))
    except Exception:
        if len(windows) > 1:
            return [found for window in windows for found in _hear_safely(score, [window])]
        logger.exception("a window of a room could not be scored")
        nothing = Heard(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0))
        return [nothing.placed(np.zeros_like(windows[0].sounding))]


def _settle(due: Due) -> Iterator[Told]:
    """Take what was heard in a window into its stream."""
    if event := due.speaker.stream.settle(due.window, due.heard.result()):
        yield due, event
