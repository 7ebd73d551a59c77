"""The thread that writes records of rooms: whoever hears has no time to wait for a disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from ..database import Database

logger = logging.getLogger(__name__)

_PAUSE_S = 0.5
"""Before another attempt, as when the database is being restarted."""

_AWAY = (OperationalError, InterfaceError, TimeoutError)
"""What passes; anything else is wrong with the record itself, and would be so again."""


class Recorder:
    """Writes what it is given, in order, however long the database is away.

    A record that cannot be written at all is logged and left out, so that it holds up no other.

    Parameters
    ----------
    database : Database
        Where to.
    on_record : callable
        Told when there may be callbacks to make.
    """

    def __init__(self, database: Database, on_record: Callable[[], None]) -> None:
        self._database = database
        self._on_record = on_record
        self._stopping = threading.Event()
        self._given_up = 0
        self._thread = ThreadPoolExecutor(1, "deepfake_audio-rooms-recorder")

    def write(
        self, record: Callable[..., None], *arguments: Any, then: Callable[[], None] | None = None
    ) -> None:
        """Have ``record(database, *arguments)`` done, and ``then`` what follows from it."""
        self._thread.submit(self._write, record, arguments, then)

    def stop(self) -> bool:
        """Write what is left, without patience; tells whether all of it was written."""
        self._stopping.set()
        self._thread.shutdown()
        return not self._given_up

    def _write(
        self,
        record: Callable[..., None],
        arguments: Sequence[Any],
        then: Callable[[], None] | None,
    ) -> None:
        while True:
            try:
                record(self._database, *arguments)
                break
            except _AWAY:
                logger.exception("a room could not be recorded; trying again")
                if self._stopping.wait(_PAUSE_S):
                    self._given_up += 1
                    return
            except Exception:
                logger.exception("a room cannot be recorded; its record is left out")
                self._given_up += 1  # whoever starts next closes the room in the database
                break
        if then is not None:
            then()
        self._on_record()
