"""All rooms of a process, heard by one thread in shared batches.

Connections put what clients say into one queue; the thread of the hub takes it out, in order, has
complete windows scored, and puts what was heard into the outboxes of the rooms. Streams belong to
that thread alone, the disk to the recorder's, and the event loop waits for neither.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ...errors import DeepfakeAudioError
from ...streaming import StreamPool
from ..database import Database, new_id
from ..engine import Engine
from ..errors import RequestError
from ..models import Models
from ..policy import Surface
from ..settings import Settings
from . import lifelines, records
from .apart import can_be_apart
from .backlog import Backlog, Due, Told, warm_up
from .protocol import Frame, Join, Leave, error_message
from .recorder import Recorder
from .records import Ending
from .room import Opening, Room, RoomLimits, Speaker, TooFastError

logger = logging.getLogger(__name__)

TICK_S = 0.02
"""What comes within so many seconds is looked at together."""

MAX_BACKLOG = 512
"""Windows that may wait, a quarter of a megabyte each; beyond it, chunks wait for them."""

MAX_PENDING_BYTES = 2 * 1024**2
"""Chunks of one room that may wait; beyond it, nothing more is read from its connection."""

OVERLOADED = 3.0
"""So many times too late is what no further room is opened for."""

STOP_S = 60.0
"""For all rooms to end when the service stops."""

_TEND_S = 0.1
_BURST_S = 60.0

T = TypeVar("T")


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
        self._heard: deque[Sequence[Due]] = deque()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        scored_apart = settings.rooms_apart and can_be_apart(models.live.scorer)
        self._backlog = Backlog(
            settings.scorers,
            settings.max_event_delay_s,
            self._scored,
            settings.models if scored_apart else (),
        )
        self._recorder = Recorder(database, on_record)
        self._closing: deque[Room] = deque()
        self._tended_at = 0.0
        self._folder = settings.data_dir / "rooms"
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
        all_ended = not self._thread.is_alive()
        all_written = self._recorder.stop()
        self._backlog.close()
        # Rooms that could not be recorded are left to whoever starts next.
        if self._lifeline is not None and all_ended and all_written:
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
            # What is left then is reports alone, and even they come late: no more of it.
            if self._backlog.delay_s > OVERLOADED * self._settings.max_event_delay_s:
                raise RequestError(
                    f"{n_open} rooms are more than this machine can hear in time",
                    hint="come again later, or add machines",
                    status=503,
                    code="overloaded",
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
        self._post(partial(self._told, room, self._join, room, message))

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

    def _scored(self, dues: Sequence[Due]) -> None:
        """Have told what a lane has heard."""
        self._heard.append(dues)
        self._wanted.set()

    # On the thread of the hub.

    def _run(self) -> None:
        warm_up(self._models.live.scorer)
        self._backlog.start()
        while not (self._stopping.is_set() and self._is_done()):
            if not self._closing:
                self._wanted.wait(_TEND_S)
                time.sleep(TICK_S)
            self._wanted.clear()
            try:
                self._turn()
            except Exception:
                logger.exception("the rooms could not go on; trying again")
                time.sleep(TICK_S)

    def _turn(self) -> None:
        while self._heard:
            self._tell(self._backlog.settle(self._heard.popleft()))
        for _ in range(len(self._inbox)):
            if len(self._backlog) >= MAX_BACKLOG:
                break
            self._inbox.popleft()()
        if self._closing:
            self._close(self._closing.popleft())
        self._tend()

    def _is_done(self) -> bool:
        with self._lock:
            open_rooms = any(room.closing is None for room in self._rooms.values())
        return not (open_rooms or self._inbox or self._closing)

    def _told(self, room: Room, function: Callable[..., object], *arguments: Any) -> None:
        """Do something for a room; tell it what is wrong with that."""
        try:
            function(*arguments)
        except TooFastError as error:
            room.outbox.put(error_message(error, fatal=True))
            self._end(room, error.code)
        except DeepfakeAudioError as error:
            room.outbox.put(error_message(error), passing=True)
        except Exception:
            logger.exception("unforeseen: a message to a room")
            fault = RequestError("something went wrong here", code="internal_error")
            room.outbox.put(error_message(fault), passing=True)

    def _take(self, room: Room, frame: Frame, received_at: float) -> None:
        room.heard_bytes += len(frame.payload)
        self._told(room, self._take_in, room, frame, received_at)

    def _take_in(self, room: Room, frame: Frame, received_at: float) -> None:
        if room.closing is not None:  # it has ended, and the client does not know yet
            return
        speaker = room.speaker(frame.speaker)
        self._backlog.add(Due(room, speaker, window, received_at) for window in speaker.take(frame))

    def _join(self, room: Room, message: Join) -> None:
        if room.closing is None:
            room.join(message)

    def _leave_by_id(self, room: Room, speaker_id: int) -> None:
        if room.closing is None:
            self._leave(room, room.speaker(speaker_id))

    def _leave(self, room: Room, speaker: Speaker) -> None:
        self._tell(self._backlog.rest(speaker))
        room.leave(speaker)

    def _tell(self, told: Iterable[Told]) -> None:
        """Tell rooms what was heard."""
        for due, event in told:
            room = due.room
            if alert := room.hear(due.speaker, event, due.left_out):
                self._recorder.write(records.alerted, room.id, room.opening, alert)

    def _end(self, room: Room, reason: str) -> None:
        if room.closing is None:
            room.closing = reason
            self._closing.append(room)

    def _end_all(self) -> None:
        for room in self._all():
            self._end(room, "service_stopped")

    def _close(self, room: Room) -> None:
        for speaker in list(room.speakers.values()):
            self._told(room, self._leave, room, speaker)
        ending = Ending(
            room.closing or "stopped", room.reports, room.verdict().value, room.action().value
        )
        self._recorder.write(
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
