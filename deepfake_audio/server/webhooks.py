"""Callbacks: signed, told at least once, tried again with patience, kept when nobody listens."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from ..signatures import SIGNATURE_HEADER, sign
from . import audit, outbound, telemetry
from .database import Database, Delivery, new_id, newest, now
from .errors import NotFoundError, RequestError

logger = logging.getLogger(__name__)

DELAYS_S = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""Seconds before each further attempt; after the last one a delivery is dead."""

KEPT_DELIVERED = timedelta(days=30)
"""For how long a delivered callback can be looked up."""

TIMEOUT_S = 10.0
_PRUNED_AT_ONCE = 1000
_LEASE_S = 60
_IDLE_S = 1.0


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


def enqueue(
    session: Session,
    *,
    tenant: str,
    subject: str,
    url: str,
    event: str,
    body: dict[str, Any],
    traceparent: str | None = None,
) -> Delivery:
    """Note down a callback, in the transaction of what it tells of."""
    moment = now()
    delivery = Delivery(
        id=new_id("evt"),
        tenant=tenant,
        subject=subject,
        url=url,
        payload={},
        state=State.PENDING.value,
        attempts=0,
        next_at=moment,
        created_at=moment,
        traceparent=traceparent,
    )
    delivery.payload = {
        "id": delivery.id,
        "event": event,
        "created_at": moment.isoformat(),
        "data": body,
    }
    session.add(delivery)
    return delivery


@dataclass(frozen=True)
class _Attempt:
    id: str
    tenant: str
    subject: str
    url: str
    body: bytes
    attempts: int
    traceparent: str | None

    @property
    def origin(self) -> str:
        """How all addresses at the same target begin."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class Courier:
    """Makes callbacks, several at once: a slow target delays nobody but itself.

    Of each target there is one in hand at most, and of each tenant not more than half of what can
    be done at once.

    Parameters
    ----------
    database : Database
        Where deliveries wait.
    secret : str
        Signs them.
    allow_private : bool
        Whether private addresses may be called.
    delays_s : iterable of float
        See :data:`DELAYS_S`.
    threads : int
        Callbacks at once.
    """

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        allow_private: bool = False,
        delays_s: Iterable[float] = DELAYS_S,
        clock: Callable[[], float] = time.time,
        threads: int = 4,
    ) -> None:
        self._database = database
        self._secret = secret
        self._allow_private = allow_private
        self._delays_s = tuple(delays_s)
        self._clock = clock
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._in_hand: list[_Attempt] = []
        self._threads = [
            threading.Thread(target=self._run, name=f"deepfake_audio-courier-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Begin to deliver."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to deliver."""
        self._wanted.set()

    def stop(self) -> None:
        """Finish the callbacks in hand and end."""
        self._stopped.set()
        self._wanted.set()
        end = time.monotonic() + TIMEOUT_S + 5
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.clear()
            try:
                busy = self.step()
            except Exception:  # such as a database that is being restarted
                logger.exception("callbacks could not be made; trying again")
                busy = False
            if not busy:
                self._wanted.wait(_IDLE_S)

    def step(self) -> bool:
        """Make one callback that is due; tells whether there was any."""
        attempt = self._claim()
        if attempt is None:
            return False
        try:
            with telemetry.span(
                "callback",
                attempt.traceparent,
                subject=attempt.subject,
                delivery=attempt.id,
                attempt=attempt.attempts,
            ) as span:
                fault = self._deliver(attempt)
                if fault is not None:
                    telemetry.fail(span, fault.partition(":")[0])
            self._settle(attempt, fault)
        finally:
            with self._lock:
                self._in_hand.remove(attempt)
        return True

    def _claim(self) -> _Attempt | None:
        with self._lock:
            with self._database.write() as session:
                attempt = self._lease(session)
            if attempt is not None:
                self._in_hand.append(attempt)
            return attempt

    def _lease(self, session: Session) -> _Attempt | None:
        moment = now()
        delivery = session.scalars(
            select(Delivery)
            .where(
                Delivery.state == State.PENDING.value, Delivery.next_at <= moment, *self._passable()
            )
            .order_by(Delivery.next_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if delivery is None:
            return None
        # Another process leaves it alone for longer than an attempt can take.
        delivery.next_at = moment + timedelta(seconds=_LEASE_S)
        delivery.attempts += 1
        body = json.dumps(delivery.payload).encode()
        return _Attempt(
            delivery.id,
            delivery.tenant,
            delivery.subject,
            delivery.url,
            body,
            delivery.attempts,
            delivery.traceparent,
        )

    def _passable(self) -> list[ColumnElement[bool]]:
        """Return what must hold of the next delivery, with those in hand being what they are."""
        tenants = Counter(attempt.tenant for attempt in self._in_hand)
        most = max(1, len(self._threads) // 2)
        return [
            Delivery.tenant.not_in([tenant for tenant, n in tenants.items() if n >= most]),
            *(~Delivery.url.startswith(a.origin, autoescape=True) for a in self._in_hand),
        ]

    def _deliver(self, attempt: _Attempt) -> str | None:
        """Make one callback; returns what went wrong."""
        try:
            with outbound.exchange(
                "POST",
                attempt.url,
                allow_private=self._allow_private,
                seconds=TIMEOUT_S,
                content=attempt.body,
                headers={
                    "Content-Type": "application/json",
                    SIGNATURE_HEADER: sign(self._secret, attempt.body, int(self._clock())),
                },
            ) as answer:
                status = answer.status_code
        except (OSError, httpx.HTTPError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:500]
        return None if 200 <= status < 300 else f"HTTP status {status}"

    def _settle(self, attempt: _Attempt, fault: str | None) -> None:
        with self._database.write() as session:
            delivery = session.get_one(Delivery, attempt.id)
            delivery.last_error = fault
            if fault is None:
                delivery.state = State.DELIVERED.value
            elif attempt.attempts > len(self._delays_s):
                delivery.state = State.DEAD.value
                audit.append(
                    session,
                    actor="system",
                    kind="webhook.dead",
                    subject=delivery.subject,
                    data={"delivery": delivery.id, "error": fault},
                )
            else:
                wait_s = self._delays_s[attempt.attempts - 1]
                delivery.next_at = now() + timedelta(seconds=wait_s)


def page(
    session: Session,
    tenant: str | None,
    state: State | None,
    subject: str | None = None,
    *,
    cursor: str | None = None,
    limit: int,
) -> tuple[list[Delivery], str | None]:
    """Return a page of a tenant's deliveries, or of all, and the cursor of the next.

    The newest come first; ``subject`` is what they tell of, such as a detection.
    """
    query = select(Delivery)
    for column, value in (
        (Delivery.tenant, tenant),
        (Delivery.state, state and state.value),
        (Delivery.subject, subject),
    ):
        if value is not None:
            query = query.where(column == value)
    return newest(session, Delivery, query, cursor=cursor, limit=limit)


def retry(
    session: Session, delivery_id: str, *, tenant: str | None = None, actor: str = "cli"
) -> Delivery:
    """Try a dead delivery again, under the identifier that its receiver may know already.

    Raises
    ------
    NotFoundError
        If there is none of this identifier, or it belongs to another tenant.
    RequestError
        If it is not dead.
    """
    delivery = session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None or tenant not in (None, delivery.tenant):
        raise NotFoundError(f"no callback {delivery_id}")
    if delivery.state != State.DEAD:
        raise RequestError(
            f"the callback {delivery_id} is {delivery.state}",
            hint="only dead ones are tried again",
            status=409,
            code="conflict",
        )
    delivery.state, delivery.attempts, delivery.next_at = State.PENDING.value, 0, now()
    audit.append(
        session,
        actor=actor,
        kind="webhook.retried",
        subject=delivery.subject,
        data={"delivery": delivery.id},
    )
    return delivery


def prune(database: Database) -> int:
    """Delete callbacks that were delivered longer ago than they are kept; returns how many.

    Those that are dead stay: somebody may want to try them again.
    """
    pruned = 0
    while True:
        with database.write() as session:  # a part at a time: others write, too
            old = session.scalars(
                select(Delivery.id)
                .where(
                    Delivery.state == State.DELIVERED.value,
                    Delivery.next_at < now() - KEPT_DELIVERED,
                )
                .limit(_PRUNED_AT_ONCE)
            ).all()
            session.execute(delete(Delivery).where(Delivery.id.in_(old)))
        pruned += len(old)
        if len(old) < _PRUNED_AT_ONCE:
            return pruned


def as_dict(delivery: Delivery) -> dict[str, Any]:
    """Return what the API says of a delivery; what it tells of is told by its subject."""
    return {
        "id": delivery.id,
        "event": delivery.payload["event"],
        "subject": delivery.subject,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": delivery.created_at.isoformat(),
        "next_at": delivery.next_at.isoformat() if delivery.state == State.PENDING else None,
        "last_error": delivery.last_error,
    }
