"""All rooms of a process, heard by one thread in shared batches.

Chunks come in by a queue, windows that are complete wait in the order in which they became so, and
as many as fill the batches are scored together: one when little is going on, full batches when
much is. When more falls due than can be heard in time, windows that are for the moment only are
left out, the oldest first; those that make up the closing report never are.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import DeepfakeAudioError
from ...listening import Window, hear
from ...scoring import CPU_BATCH_WINDOWS, Scorer
from ...streaming import StreamPool
from ...windows import BoolArray, FloatArray
from ..database import Database, new_id
from ..engine import Engine
from ..errors import RequestError
from ..models import Models
from ..policy import Surface
from ..settings import Settings
from . import lifelines, records
from .protocol import Frame, Join, Leave, error_message
from .records import Ending
from .room import Opening, Room, RoomLimits, Speaker, TooFastError

logger = logging.getLogger(__name__)

TICK_S = 0.02
"""What comes within so many seconds is looked at together."""

MAX_BACKLOG = 512
"""Windows that may wait, a quarter of a megabyte each; beyond it, chunks wait for them."""

MAX_PENDING_BYTES = 2 * 1024**2
"""Chunks of one room that may wait; beyond it, nothing more is read from its connection."""

STOP_S = 60.0
"""For all rooms to end when the service stops."""

_LANE_ROWS = 4  # fewer windows than this are not worth a thread of their own
_TEND_S = 0.1
_PAUSE_S = 0.5
_BURST_S = 60.0
_LEARN = 0.1  # weight of the newest measurement

T = TypeVar("T")
Found = tuple[FloatArray, BoolArray]


@dataclass
class _Due:
    """A window that waits to be scored; ``left_out`` others of its speaker were, before it."""

    room: Room
    speaker: Speaker
    window: Window
    received_at: float  # the chunk that completed it
    left_out: int = 0

    @property
    def rows(self) -> int:
        return int(np.count_nonzero(self.window.sounding))


class Hub:
    """Opens rooms, hears them, ends them.

    Parameters
    ----------
    database : Database
        Where rooms are recorded.
    models : Models
        The live one is what new rooms begin with.
    settings : Settings
        How many rooms, and what one may cost.
    on_record : callable
        Told when there may be callbacks to make.
    """

    def __init__(
        self,
        database: Database,
        models: Models,
        settings: Settings,
        *,
        on_record: Callable[[], None],
    ) -> None:
        self._database = database
        self._models = models
        self._settings = settings
        self._on_record = on_record
        self._limits = RoomLimits(
            settings.max_speakers,
            settings.max_room_speed,
            # A client that comes back has so much to catch up with.
            max(_BURST_S, 2 * settings.resume_s),
        )
        self._lock = threading.Lock()
        self._rooms: dict[str, Room] = {}
        self._pools: WeakKeyDictionary[Engine, StreamPool] = WeakKeyDictionary()
        self._inbox: deque[Callable[[], None]] = deque()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._backlog: deque[_Due] = deque()
        self._closing: deque[Room] = deque()
        self._cost_s = 0.0  # of a window and what comes with it, seconds, as of late
        self._tended_at = 0.0
        self._unrecorded = 0
        self._folder = settings.data_dir / "rooms"
        self._lanes = settings.scorers
        self._scorers = ThreadPoolExecutor(self._lanes, "deepfake_audio-rooms-scorer")
        self._recorder = ThreadPoolExecutor(1, "deepfake_audio-rooms-recorder")
        self._thread = threading.Thread(target=self._run, name="deepfake_audio-rooms", daemon=True)
        self._lifeline: lifelines.Lifeline | None = None

    def start(self) -> None:
        """Close what dead processes left open, and begin to listen."""
        for mark in lifelines.dead(self._folder):
            records.interrupt(self._database, mark)
            lifelines.bury(self._folder, mark)
        settings = self._settings
        records.interrupt_stale(self._database, settings.max_room_s + settings.resume_s + 3600)
        self._lifeline = lifelines.Lifeline(self._folder)
        self._thread.start()

    def stop(self) -> None:
        """End all rooms with their reports."""
        with self._lock:  # no room opens from here on
            self._stopping.set()
        self._post(self._end_all)
        if self._thread.is_alive():
            self._thread.join(STOP_S)
            self._unrecorded += self._thread.is_alive()
        self._recorder.shutdown()
        self._scorers.shutdown()
        # Rooms that could not be recorded are left to whoever starts next.
        if self._lifeline is not None and not self._unrecorded:
            self._lifeline.release()

    # For connections, on their event loop or a thread beside it.

    def open(self, opening: Opening) -> Room:
        """Open a room and record it.

        Raises
        ------
        RequestError
            If there are too many, or the service stops.
        """
        with self._lock:
            if self._stopping.is_set() or self._lifeline is None:
                raise RequestError("the service stops", status=503, code="unavailable")
            n_open = sum(room.closing is None for room in self._rooms.values())
            if n_open >= self._settings.max_rooms:
                raise RequestError(
                    f"{n_open} rooms are open already",
                    hint="come again later, or raise max_rooms",
                    status=503,
                    code="too_many_rooms",
                )
            engine = self._models.live
            if engine not in self._pools:
                self._pools[engine] = StreamPool(engine.scorer, engine.judges[Surface.LIVE])
            room_id = f"{new_id('room')}_{self._lifeline.mark}"
            room = Room(room_id, opening, engine, self._pools[engine], self._limits)
            self._rooms[room.id] = room
        try:
            records.opened(self._database, room.id, opening, engine.identity())
        except BaseException:
            with self._lock:
                del self._rooms[room.id]
            raise
        return room

    def find(self, room_id: str) -> Room | None:
        """Return a room of this process that is open, or was a moment ago."""
        with self._lock:
            return self._rooms.get(room_id)

    def is_full(self, room: Room) -> bool:
        """Tell whether a room has so much waiting that its connection should wait, too."""
        return room.received_bytes - room.heard_bytes > MAX_PENDING_BYTES

    def take(self, room: Room, frame: Frame) -> None:
        """Hear a chunk."""
        room.received_bytes += len(frame.payload)
        self._post(partial(self._take, room, frame, time.monotonic()))

    def join(self, room: Room, message: Join) -> None:
        """Begin to hear a speaker."""
        self._post(partial(self._told, room, room.join, message))

    def leave(self, room: Room, message: Leave) -> None:
        """End a speaker."""
        self._post(partial(self._told, room, self._leave_by_id, room, message.id))

    def end(self, room: Room, reason: str) -> None:
        """End a room, once all that came before has been heard."""
        self._post(partial(self._end, room, reason))

    async def expected(self, room: Room) -> dict[str, int | None]:
        """Return the next number of each speaker, once all that came before has been heard."""
        future: Future[dict[str, int | None]] = Future()
        self._post(partial(_answer, future, room.expected))
        return await asyncio.wrap_future(future)

    def _post(self, task: Callable[[], None]) -> None:
        self._inbox.append(task)
        self._wanted.set()

    # On the thread of the hub.

    def _run(self) -> None:
        self._warm_up()
        while not (self._stopping.is_set() and self._is_done()):
            if not (self._inbox or self._backlog or self._closing):
                self._wanted.wait(_TEND_S)
                time.sleep(TICK_S)
            self._wanted.clear()
            try:
                self._turn()
            except Exception:
                logger.exception("the rooms could not go on; trying again")
                time.sleep(TICK_S)

    def _turn(self) -> None:
        began = time.perf_counter()
        # All that has come before anything is heard: only then is it known what can be in time.
        for _ in range(len(self._inbox)):
            if len(self._backlog) >= MAX_BACKLOG:
                break
            self._inbox.popleft()()
        if rows := self._hear():
            cost_s = (time.perf_counter() - began) / rows
            self._cost_s += _LEARN * (cost_s - self._cost_s) if self._cost_s else cost_s
        if self._closing:
            self._close(self._closing.popleft())
        self._tend()

    def _is_done(self) -> bool:
        with self._lock:
            open_rooms = any(room.closing is None for room in self._rooms.values())
        return not (open_rooms or self._inbox or self._closing)

    def _warm_up(self) -> None:
        """Have the network ready before somebody waits for it: kernels are made when first used."""
        scorer = self._models.live.scorer
        length = round(scorer.header.windows.window_s * 16_000)
        for count in (1, 2, 4, CPU_BATCH_WINDOWS):
            scorer.hear([np.zeros(length, np.float32)] * count)

    def _told(self, room: Room, function: Callable[..., object], *arguments: Any) -> None:
        """Do something for a room; tell it what is wrong with that."""
        if room.closing is not None:
            return
        try:
            function(*arguments)
        except TooFastError as error:
            room.outbox.put(error_message(error, fatal=True))
            self._end(room, error.code)
        except DeepfakeAudioError as error:
            room.outbox.put(error_message(error), passing=True)

    def _take(self, room: Room, frame: Frame, received_at: float) -> None:
        room.heard_bytes += len(frame.payload)
        self._told(room, self._take_in, room, frame, received_at)

    def _take_in(self, room: Room, frame: Frame, received_at: float) -> None:
        speaker = room.speaker(frame.speaker)
        self._backlog.extend(
            _Due(room, speaker, window, received_at) for window in speaker.take(frame)
        )

    def _leave_by_id(self, room: Room, speaker_id: int) -> None:
        self._leave(room, room.speaker(speaker_id))

    def _leave(self, room: Room, speaker: Speaker) -> None:
        left = [due for due in self._backlog if due.speaker is speaker]
        if left:
            self._backlog = deque(due for due in self._backlog if due.speaker is not speaker)
            self._score(left)
        room.leave(speaker)

    def _end(self, room: Room, reason: str) -> None:
        if room.closing is None:
            room.closing = reason
            self._closing.append(room)

    def _end_all(self) -> None:
        for room in self._all():
            self._end(room, "service_stopped")

    def _close(self, room: Room) -> None:
        for speaker in list(room.speakers.values()):
            self._leave(room, speaker)
        ending = Ending(
            room.closing or "stopped", room.reports, room.verdict().value, room.action().value
        )
        self._record(
            records.closed, room.id, room.opening, ending, then=partial(_say_closed, room, ending)
        )

    def _tend(self) -> None:
        """End what has waited or lasted too long, and forget what ended some time ago."""
        moment = time.monotonic()
        if moment - self._tended_at < _TEND_S:
            return
        self._tended_at = moment
        settings = self._settings
        for room in self._all():
            away_since = room.away_since
            if room.closing is None:
                if moment - room.opened_at > settings.max_room_s:
                    self._end(room, "max_duration")
                elif away_since is not None and moment - away_since > settings.resume_s:
                    self._end(room, "disconnected")
            elif room.closed_at is not None and moment - room.closed_at > settings.resume_s:
                with self._lock:
                    del self._rooms[room.id]

    def _all(self) -> list[Room]:
        with self._lock:
            return list(self._rooms.values())

    def _hear(self) -> int:
        """Score what has waited longest, as much as fills the batches; returns how much."""
        self._leave_out()
        batch: list[_Due] = []
        rows = 0
        while self._backlog and rows < self._lanes * CPU_BATCH_WINDOWS:
            batch.append(self._backlog.popleft())
            rows += batch[-1].rows
        self._score(batch)
        return rows

    def _leave_out(self) -> None:
        """Leave out windows for the moment that would be late, for the others not to be."""
        soonest = time.monotonic() - self._settings.max_event_delay_s
        ahead = 0
        kept: deque[_Due] = deque()
        for due in self._backlog:
            done_at = soonest + (ahead + due.rows) * self._cost_s
            if done_at > due.received_at and due.rows and not due.window.counts:
                due.speaker.left_out += due.left_out + 1
            else:
                ahead += due.rows
                due.left_out += due.speaker.left_out
                due.speaker.left_out = 0
                kept.append(due)
        self._backlog = kept

    def _score(self, batch: Sequence[_Due]) -> None:
        """Score windows, in the order in which each stream gave them, and tell of them."""
        for scorer, group in groupby(batch, lambda due: due.room.engine.scorer):
            dues = list(group)
            for due, (llr, speech) in zip(dues, self._found(scorer, dues), strict=True):
                event = due.speaker.stream.settle(due.window, llr, speech)
                alert = due.room.hear(due.speaker, event, due.left_out) if event else None
                if alert:
                    self._record(records.alerted, due.room.id, due.room.opening, alert)

    def _found(self, scorer: Scorer, dues: Sequence[_Due]) -> list[Found]:
        rows = sum(due.rows for due in dues)
        lanes = min(self._lanes, max(rows // _LANE_ROWS, 1))
        size = -(-len(dues) // lanes)
        parts = [[due.window for due in dues[at : at + size]] for at in range(0, len(dues), size)]
        if len(parts) == 1:
            return _hear_safely(scorer, parts[0])
        heard = self._scorers.map(partial(_hear_safely, scorer), parts)
        return [found for part in heard for found in part]

    def _record(
        self,
        write: Callable[..., None],
        *arguments: Any,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Write a record on the thread for that: whoever hears has no time to wait for a disk."""
        self._recorder.submit(self._write, write, arguments, then)

    def _write(
        self,
        write: Callable[..., None],
        arguments: Sequence[Any],
        then: Callable[[], None] | None,
    ) -> None:
        while True:
            try:
                write(self._database, *arguments)
                break
            except Exception:
                logger.exception("a room could not be recorded; trying again")
                if self._stopping.wait(_PAUSE_S):
                    self._unrecorded += 1
                    return
        if then is not None:
            then()
        self._on_record()


def _hear_safely(scorer: Scorer, windows: Sequence[Window]) -> list[Found]:
    """Score windows; should that fail, one by one, so that one cannot hurt others."""
    try:
        return list(hear(scorer, windows))
    except Exception:
        if len(windows) > 1:
            return [found for window in windows for found in _hear_safely(scorer, [window])]
        logger.exception("a window of a room could not be scored")
        silent = windows[0].sounding.shape
        return [(np.zeros(silent), np.zeros(silent, np.bool_))]


def _answer(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _say_closed(room: Room, ending: Ending) -> None:
    room.outbox.put(
        {
            "type": "closed",
            "stream": room.id,
            "reason": ending.reason,
            "verdict": ending.verdict,
            "action": ending.action,
        },
        last=True,
    )
    room.closed_at = time.monotonic()
