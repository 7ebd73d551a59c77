"""Callbacks: signed, told at least once, tried again with patience, kept when nobody listens.

The signature is ``HMAC-SHA256(secret, "{timestamp}.{body}")`` in ``Deepfake-Audio-Signature:
t=…,v1=…``; receivers recompute it, refuse timestamps older than some minutes, and remember the
delivery's identifier. :func:`verify` does the first two.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, outbound
from .database import Database, Delivery, new_id, now
from .errors import NotFoundError

SIGNATURE_HEADER = "Deepfake-Audio-Signature"

DELAYS_S = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""Seconds before each further attempt; after the last one a delivery is dead."""

TIMEOUT_S = 10.0
TOLERANCE_S = 300.0
"""How old a signature may be."""

_LEASE_S = 60
_IDLE_S = 1.0


def enqueue(
    session: Session, *, tenant: str, subject: str, url: str, event: str, body: dict[str, Any]
) -> Delivery:
    """Note down a callback, in the transaction of what it tells of."""
    moment = now()
    delivery = Delivery(
        id=new_id("evt"),
        tenant=tenant,
        subject=subject,
        url=url,
        payload={},
        state="pending",
        attempts=0,
        next_at=moment,
        created_at=moment,
    )
    delivery.payload = {
        "id": delivery.id,
        "event": event,
        "created_at": moment.isoformat(),
        "data": body,
    }
    session.add(delivery)
    return delivery


def sign(secret: str, body: bytes, timestamp: int) -> str:
    """Return the value of the signature header."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={digest.hexdigest()}"


def verify(secret: str, body: bytes, header: str, *, now_s: float | None = None) -> bool:
    """Tell whether a callback is ours and fresh; for receivers.

    Parameters
    ----------
    secret : str
        Shared with the service.
    body : bytes
        As it was received, to the byte.
    header : str
        Value of :data:`SIGNATURE_HEADER`.
    now_s : float, optional
        The present moment, seconds since the epoch.
    """
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stated = parts.get("t", "")
    if not stated.isdecimal() or len(stated) > 12:
        return False
    age_s = abs((time.time() if now_s is None else now_s) - int(stated))
    genuine = hmac.compare_digest(sign(secret, body, int(stated)).encode(), header.encode())
    return genuine and age_s <= TOLERANCE_S


@dataclass(frozen=True)
class _Attempt:
    id: str
    url: str
    body: bytes
    attempts: int


class Courier(threading.Thread):
    """The thread that makes callbacks.

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
    """

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        allow_private: bool = False,
        delays_s: Iterable[float] = DELAYS_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="deepfake_audio-courier", daemon=True)
        self._database = database
        self._secret = secret
        self._allow_private = allow_private
        self._delays_s = tuple(delays_s)
        self._clock = clock
        self._wanted = threading.Event()
        self._stopped = threading.Event()

    def wake(self) -> None:
        """There may be something to deliver."""
        self._wanted.set()

    def stop(self) -> None:
        """Finish the callback in hand and end."""
        self._stopped.set()
        self._wanted.set()
        if self.is_alive():
            self.join(TIMEOUT_S + 5)

    def run(self) -> None:
        """Deliver until stopped."""
        while not self._stopped.is_set():
            self._wanted.clear()
            try:
                busy = self.step()
            except Exception:  # such as a database that is being restarted
                busy = False
            if not busy:
                self._wanted.wait(_IDLE_S)

    def step(self) -> bool:
        """Make the callbacks that are due; tells whether there were any."""
        due = self._claim()
        for attempt in due:
            if self._stopped.is_set():
                break
            self._settle(attempt, self._deliver(attempt))
        return bool(due)

    def _claim(self) -> list[_Attempt]:
        moment = now()
        with self._database.write() as session:
            due = session.scalars(
                select(Delivery)
                .where(Delivery.state == "pending", Delivery.next_at <= moment)
                .order_by(Delivery.next_at)
                .limit(5)
                .with_for_update(skip_locked=True)
            ).all()
            for delivery in due:
                # Another courier leaves it alone for as long as an attempt can take.
                delivery.next_at = moment + timedelta(seconds=_LEASE_S)
                delivery.attempts += 1
            return [_Attempt(d.id, d.url, json.dumps(d.payload).encode(), d.attempts) for d in due]

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
                delivery.state = "delivered"
            elif attempt.attempts > len(self._delays_s):
                delivery.state = "dead"
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


def retry(session: Session, tenant: str, delivery_id: str) -> Delivery:
    """Try a dead delivery again.

    Raises
    ------
    NotFoundError
        If there is none of this identifier.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None or delivery.tenant != tenant or delivery.state != "dead":
        raise NotFoundError(f"no dead delivery {delivery_id}")
    delivery.state, delivery.attempts, delivery.next_at = "pending", 0, now()
    return delivery
