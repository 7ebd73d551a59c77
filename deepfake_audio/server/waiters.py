"""Requests that wait for a recording to be done, whoever does it.

The worker of this process tells at once. What other processes do is looked up in the record, for
all requests together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import select

from .database import Database, Detection
from .detections import WAITING

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often to look into the record, seconds."""

_AT_A_TIME = 500

_Told = tuple["asyncio.Future[Detection]", Detection]


class Waiters(threading.Thread):
    """Futures of detections, and the thread that looks into the record for them."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="deepfake_audio-waiters", daemon=True)
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[str, list[asyncio.Future[Detection]]] = defaultdict(list)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        before: set[str] = set()
        while not self._stopped.wait(LOOK_S):
            with self._lock:
                present = set(self._waiting)
            try:
                self._look(sorted(before & present))  # the others have only just come
            except Exception:
                logger.exception("nobody knows what other processes have done; trying again")
            before = present

    def _look(self, identifiers: Sequence[str]) -> None:
        for start in range(0, len(identifiers), _AT_A_TIME):
            with self._database.read() as session:
                done = session.scalars(
                    select(Detection).where(
                        Detection.id.in_(identifiers[start : start + _AT_A_TIME]),
                        Detection.status.not_in(WAITING),
                    )
                ).all()
            self.tell(done)

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self.is_alive():
            self.join()

    def tell(self, done: Sequence[Detection]) -> None:
        """Hand these to whoever waits for them; from any thread."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Told]] = defaultdict(list)
        with self._lock:
            for detection in done:
                for future in self._waiting.pop(detection.id, []):
                    by_loop[future.get_loop()].append((future, detection))
        for loop, told in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_resolve, told)

    @contextlib.contextmanager
    def waiting(self, identifier: str) -> Iterator[asyncio.Future[Detection]]:
        """Lend what will hold a detection once it is done; on an event loop."""
        future: asyncio.Future[Detection] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[identifier].append(future)
        try:
            yield future
        finally:
            with self._lock:
                left = self._waiting.get(identifier, [])
                if future in left:
                    left.remove(future)
                if not left:
                    self._waiting.pop(identifier, None)


def _resolve(told: Sequence[_Told]) -> None:
    for future, detection in told:
        if not future.done():
            future.set_result(detection)
