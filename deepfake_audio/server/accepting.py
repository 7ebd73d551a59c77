"""Submissions of many clients are recorded together: one transaction, one wait for the disk.

Whoever hands one in is told when it is on the disk, and not before.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from sqlalchemy.exc import IntegrityError

from . import detections
from .database import Database, Detection
from .errors import RequestError

TOGETHER = 64
"""Most submissions in one transaction."""

_FRESH_S = 0.5
"""For how long a count of what waits is believed, while it is far from the limit, seconds."""


class Acceptor(threading.Thread):
    """The thread that records submissions; those that come while it commits are the next group.

    Parameters
    ----------
    database : Database
        Takes the records.
    on_accepted : callable
        Told after each transaction, on this thread.
    """

    def __init__(self, database: Database, on_accepted: Callable[[], None]) -> None:
        super().__init__(name="deepfake_audio-acceptor", daemon=True)
        self._database = database
        self._on_accepted = on_accepted
        self._handed_in: queue.SimpleQueue[tuple[Detection, Future[None]] | None] = (
            queue.SimpleQueue()
        )

    def accept(self, detection: Detection) -> Future[None]:
        """Record a submission; the future is done when it is on the disk, or holds the error."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # whoever hangs up has handed it in all the same
        self._handed_in.put((detection, future))
        return future

    def run(self) -> None:
        """Record until stopped."""
        over = False
        while not over:
            group = [self._handed_in.get()]
            while len(group) < TOGETHER and group[-1] is not None:
                try:
                    group.append(self._handed_in.get_nowait())
                except queue.Empty:
                    break
            over = group[-1] is None
            self._record([item for item in group if item is not None])

    def stop(self) -> None:
        """Record what was handed in, and end."""
        self._handed_in.put(None)
        if self.is_alive():
            self.join()

    def _record(self, group: list[tuple[Detection, Future[None]]]) -> None:
        if not group:
            return
        try:
            detections.record(self._database, [detection for detection, _ in group])
        except IntegrityError as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            for item in group:  # an idempotency key that is taken is the matter of its sender
                self._record([item])
            return
        except Exception as error:
            for _, future in group:
                future.set_exception(error)
            return
        for _, future in group:
            future.set_result(None)
        self._on_accepted()


class QueueRoom:
    """Whether there is room for further submissions; the queue is bounded.

    Parameters
    ----------
    database : Database
        Knows what waits, whoever accepted it.
    limit : int
        Submissions that may wait.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._lock = threading.Lock()
        self._counted_at = float("-inf")
        self._waiting = 0

    def is_plenty(self, count: int) -> bool:
        """Tell, without asking the database, that so many are sure to find room.

        Each counts as waiting from now on. Near the limit this says no, and :meth:`check` looks.
        """
        with self._lock:
            if time.monotonic() - self._counted_at > _FRESH_S:
                return False
            if self._waiting + count > self._limit // 2:
                return False
            self._waiting += count
            return True

    def check(self, count: int) -> None:
        """Turn away what would make the queue too long.

        Raises
        ------
        RequestError
            If there is no room.
        """
        with self._database.read() as session:
            waiting = detections.n_waiting(session)
        with self._lock:
            self._counted_at, self._waiting = time.monotonic(), waiting + count
        if waiting + count > self._limit:
            raise RequestError(
                f"{waiting} recordings wait already",
                hint="come again later, or add workers",
                status=429,
                code="queue_full",
                retry_after_s=2,
            )
