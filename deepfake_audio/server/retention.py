"""Audio and delivered callbacks go when their time is over; the record of the decision stays."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from sqlalchemy import select

from . import detections, webhooks
from .database import Database, Detection, ServiceState, new_id, now
from .detections import SYSTEM, WAITING
from .store import Store

logger = logging.getLogger(__name__)

INTERVAL_S = 600.0
ORPHAN_AGE = timedelta(hours=1)
"""Younger audio may belong to a submission that is just being recorded."""

_IDENTITY = "identity"
_PAGE = 500


def sweep(database: Database, store: Store) -> int:
    """Delete the audio of all detections whose retention has ended; returns how many."""
    deleted, last = 0, ""
    while True:
        with database.read() as session:
            due = session.execute(
                select(Detection.id, Detection.tenant)
                .where(
                    Detection.retain_until < now(),
                    Detection.audio_key.is_not(None),
                    Detection.status.not_in(WAITING),
                    Detection.id > last,
                )
                .order_by(Detection.id)
                .limit(_PAGE)
            ).all()
        if not due:
            return deleted
        for detection_id, tenant in due:
            last = detection_id
            try:
                detections.delete_audio(
                    database, store, tenant, detection_id, actor=SYSTEM, why="retention"
                )
                deleted += 1
            except Exception:  # one that cannot be deleted must not keep the others
                logger.exception("the audio of %s could not be deleted", detection_id)


def sweep_orphans(database: Database, store: Store) -> int:
    """Delete audio that no record speaks of; returns how many files.

    A service that is killed between taking a recording in and recording it leaves one behind.
    Nothing is deleted in a store that is not marked as this database's: a service that was
    started over the wrong one would take everything for left behind.
    """
    deleted = 0
    if not store.belongs_to(_identity(database)):
        logger.warning("the store is not marked as this database's; nothing in it is swept up")
        return 0
    before = new_id("det", now() - ORPHAN_AGE)
    for keys in batched(store.keys(), _PAGE):
        named = {key.rpartition("/")[2]: key for key in keys}
        old = [name for name in named if name.startswith("det_") and name < before]
        with database.read() as session:
            known = set(session.scalars(select(Detection.id).where(Detection.id.in_(old))))
        for name in set(old) - known:
            store.delete(named[name])
            deleted += 1
    return deleted


def _identity(database: Database) -> str:
    """Return what tells this database from all others; made when first asked for."""
    with database.write() as session:
        state = session.get(ServiceState, _IDENTITY)
        if state is None:
            state = ServiceState(key=_IDENTITY, value={"id": new_id("db")}, changed_at=now())
            session.add(state)
        return str(state.value["id"])


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of up to ``size`` items."""
    waiting = iter(items)
    while batch := list(itertools.islice(waiting, size)):
        yield batch


class Housekeeper(threading.Thread):
    """The thread that keeps to the retention, and sweeps up after interrupted uploads."""

    def __init__(self, database: Database, store: Store) -> None:
        super().__init__(name="deepfake_audio-housekeeper", daemon=True)
        self._database = database
        self._store = store
        self._stopped = threading.Event()

    def run(self) -> None:
        """Tidy up until stopped."""
        begun = False
        while True:
            try:
                webhooks.prune(self._database)
                sweep(self._database, self._store)
                if not begun:  # a whole store is much to look through
                    sweep_orphans(self._database, self._store)
                    begun = True
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
