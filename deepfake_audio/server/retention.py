"""Audio goes when its time is over; the record of the decision stays."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import select

from . import detections
from .database import Database, Detection, now
from .detections import SYSTEM, WAITING
from .store import Store

logger = logging.getLogger(__name__)

INTERVAL_S = 600.0
_PAGE = 500


def sweep(database: Database, store: Store) -> int:
    """Delete the audio of all detections whose retention has ended; returns how many."""
    deleted = 0
    while True:
        with database.read() as session:
            due = session.execute(
                select(Detection.id, Detection.tenant)
                .where(
                    Detection.retain_until < now(),
                    Detection.audio_key.is_not(None),
                    Detection.status.not_in(WAITING),
                )
                .limit(_PAGE)
            ).all()
        if not due:
            return deleted
        for detection_id, tenant in due:
            detections.delete_audio(
                database, store, tenant, detection_id, actor=SYSTEM, why="retention"
            )
            deleted += 1


class Housekeeper(threading.Thread):
    """The thread that keeps to the retention, and sweeps up after interrupted uploads."""

    def __init__(self, database: Database, store: Store) -> None:
        super().__init__(name="deepfake_audio-housekeeper", daemon=True)
        self._database = database
        self._store = store
        self._stopped = threading.Event()

    def run(self) -> None:
        """Tidy up until stopped."""
        while True:
            try:
                sweep(self._database, self._store)
                self._store.sweep(time.time())
            except Exception:
                logger.exception("the retention could not be kept; trying again")
            if self._stopped.wait(INTERVAL_S):
                return

    def stop(self) -> None:
        """Finish what is in hand and end."""
        self._stopped.set()
        if self.is_alive():
            self.join()
