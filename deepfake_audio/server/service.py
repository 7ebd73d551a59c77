"""All parts of the service as one object with a beginning and an end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import ConfigError
from . import audit, migrations
from .accepting import Acceptor, QueueRoom
from .database import Database, Detection, now
from .engine import Engine
from .locality import LOOPBACK
from .models import Models
from .retention import Housekeeper
from .rooms.hub import Hub
from .sandbox import Sandbox
from .settings import Settings
from .store import Store
from .waiters import Waiters
from .webhooks import Courier
from .worker import Worker

_DOORMEN = 4
"""Threads that check keys."""

_FETCHERS = 8
"""Recordings that are fetched at a time."""


class Service:
    """What the routes work with.

    Parameters
    ----------
    settings : Settings
        What the operator decided.

    Attributes
    ----------
    models : Models
        The model in force and, perhaps, a candidate.
    door : ThreadPoolExecutor
        Checks keys, and does nothing else: uploads keep the threads of the event loop busy for
        as long as strangers like, and must not shut the others out.
    fetchers : ThreadPoolExecutor
        Fetches recordings that are given by URL: other people's servers may be slow.

    Raises
    ------
    ConfigError
        If the settings contradict each other, or name something that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.insecure_local and settings.host not in LOOPBACK:
            raise ConfigError(
                "without keys the service listens on this machine only",
                name="insecure_local",
                hint="use host 127.0.0.1, or make a key with `deepfake-audio keys create`",
            )
        self.settings = settings
        self.started_at = now()
        self.database = Database(settings.database)
        migrations.upgrade(self.database)
        self.store = Store(settings.storage, settings.data_dir / "incoming")
        self.models = Models(settings, self.database)
        self.sandbox = Sandbox(settings.decoders, settings.limits, settings.decode_memory_bytes)
        self.waiters = Waiters(self.database)
        self.door = ThreadPoolExecutor(_DOORMEN, "deepfake_audio-door")
        self.fetchers = ThreadPoolExecutor(_FETCHERS, "deepfake_audio-fetch")
        self.courier = (
            Courier(
                self.database,
                settings.webhook_secret,
                allow_private=settings.webhook_allow_private,
            )
            if settings.webhook_secret
            else None
        )
        self.queue_room = QueueRoom(self.database, settings.queue_limit)
        self.worker = Worker(
            self.database,
            self.store,
            self.sandbox,
            self.models,
            decoders=settings.decoders,
            scorers=settings.scorers,
            lease_s=settings.lease_s,
            audible_labels=settings.audible_labels,
            on_done=self._done,
        )
        self.acceptor = Acceptor(self.database, on_accepted=self.worker.wake)
        self.housekeeper = Housekeeper(self.database, self.store)
        self.rooms = Hub(self.database, self.models, settings, on_record=self.wake_courier)

    @property
    def engine(self) -> Engine:
        """The model and the policy in force."""
        return self.models.live

    def start(self) -> None:
        """Begin to work on what waits."""
        self._note_identity()
        self.worker.start()
        self.acceptor.start()
        self.waiters.start()
        self.housekeeper.start()
        self.rooms.start()
        if self.courier:
            self.courier.start()

    def stop(self) -> None:
        """Finish what is in hand and end."""
        self.rooms.stop()
        self.acceptor.stop()
        self.worker.stop()
        self.waiters.stop()
        self.housekeeper.stop()
        if self.courier:
            self.courier.stop()
        self.sandbox.close()
        self.door.shutdown()
        self.fetchers.shutdown()
        self.database.close()

    def _done(self, done: Sequence[Detection]) -> None:
        self.waiters.tell(done)
        self.wake_courier()

    def wake_courier(self) -> None:
        """There may be callbacks to make."""
        if self.courier:
            self.courier.wake()

    def _note_identity(self) -> None:
        """Record which model and policy decide from now on, if they are others than before."""
        identity = self.engine.identity()
        with self.database.write() as session:
            last = audit.newest(session, "service.identity")
            if last != identity:
                audit.append(
                    session,
                    actor="system",
                    kind="service.identity",
                    subject="service",
                    data=identity,
                )
