"""What a room has to say, numbered and kept for a client that is slow or away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

KEEP_PASSING = 120
"""Events kept of a room; of a slow reader's the oldest are dropped."""

KEEP_LASTING = 4000
"""Alerts and the like kept of a room; hours of the most restless one, which the record outlives."""

Message = dict[str, Any]


@dataclass(frozen=True)
class _Kept:
    number: int
    message: Message


class Outbox:
    """Messages from the threads of a room to whichever connection reads them.

    Alerts and reports stay, events pass: each message has a number, so that a reader sees what was
    dropped, and one that comes back can say how far it had come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passing: deque[_Kept] = deque(maxlen=KEEP_PASSING)
        self._lasting: deque[_Kept] = deque(maxlen=KEEP_LASTING)
        self._number = 0
        self._ended = False
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, message: Message, *, passing: bool = False, last: bool = False) -> None:
        """Say something; from any thread.

        Parameters
        ----------
        message : dict
            Plain JSON types.
        passing : bool
            May be dropped when newer ones come.
        last : bool
            Nothing will follow.
        """
        with self._lock:
            if self._ended:
                return
            self._number += 1
            kept = _Kept(self._number, {**message, "number": self._number})
            (self._passing if passing else self._lasting).append(kept)
            self._ended = last
            self._wake()

    def read_by(self, event: asyncio.Event) -> None:
        """Have a connection woken when there is something to say; on its event loop."""
        with self._lock:
            self._reader = (asyncio.get_running_loop(), event)
            event.set()

    def after(self, number: int) -> tuple[list[Message], bool]:
        """Return what follows a message, and whether that is the end.

        A message whose forerunners are gone says how many: ``dropped``.
        """
        with self._lock:
            kept = sorted(
                (one for part in (self._passing, self._lasting) for one in part),
                key=lambda one: one.number,
            )
            ended = self._ended
        messages = []
        for one in kept:
            if one.number > number:
                dropped = one.number - number - 1
                messages.append({**one.message, "dropped": dropped} if dropped else one.message)
                number = one.number
        return messages, ended

    def _wake(self) -> None:
        if self._reader is not None:
            loop, event = self._reader
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(event.set)
