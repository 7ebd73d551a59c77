"""The audit trail: events that are only ever appended, each bound to the last by its hash.

Whoever changes, adds, removes or reorders a row breaks the chain at that row, which
:func:`verify` finds. Removing the newest rows together with their head leaves a shorter chain
that is whole: keep a head (``deepfake-audio audit head``) somewhere else and hand it to
``verify``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from .database import AuditEvent, AuditHead, now

GENESIS = "0" * 64
"""What the first event is bound to."""

_PAGE = 1000

_HASHED = ("seq", "at", "actor", "kind", "subject", "data", "previous")


@dataclass(frozen=True)
class Event:
    """Something that is to be told of.

    Attributes
    ----------
    actor : str
        Who did it: a key, a reviewer, or ``system``.
    kind : str
        What was done, as in ``detection.scored``.
    subject : str
        What it was done to.
    data : mapping
        JSON; holds what is needed to explain the event later, and no audio.
    """

    actor: str
    kind: str
    subject: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """The newest event of a chain: its number, 0 if there is none, and its hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what ``str`` gives.

        Raises
        ------
        ValueError
            If it is not ``NUMBER:HASH``.
        """
        number, _, digest = text.strip().partition(":")
        if not number.isdigit() or len(digest) != len(GENESIS):
            raise ValueError(f"not a head of an audit chain: {text!r}")
        return cls(int(number), digest)


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    events : int
        Events that were read.
    head : Head
        The newest one that is sound.
    fault : str or None
        What is wrong, and at which event; None if the chain is whole.
    """

    events: int
    head: Head
    fault: str | None

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return self.fault is None


def append(
    session: Session, *, actor: str, kind: str, subject: str, data: Mapping[str, Any]
) -> Head:
    """Append one event: :func:`append_all` with one element."""
    return append_all(session, [Event(actor, kind, subject, data)])


def append_all(session: Session, told: Sequence[Event]) -> Head:
    """Append events, in the transaction of the changes that they tell of.

    Parameters
    ----------
    session : Session
        A writing transaction; others that append wait until it ends.
    told : sequence of Event
        In order.
    """
    session.flush()
    # Plain statements: a service under load spends more on objects of the ORM than on the rows.
    head = session.execute(select(AuditHead.seq, AuditHead.hash).with_for_update()).one_or_none()
    if head is None:  # put there by the first migration; an emptied table is itself a finding
        session.execute(insert(AuditHead).values(id=1, seq=0, hash=GENESIS))
    last = Head(0, GENESIS) if head is None else Head(head.seq, head.hash)
    rows = []
    for event in told:
        row = {
            "seq": last.seq + 1,
            "at": now().isoformat(timespec="microseconds"),
            "actor": event.actor,
            "kind": event.kind,
            "subject": event.subject,
            "data": _canonical(event.data),
            "previous": last.hash,
        }
        last = Head(last.seq + 1, _digest(row))
        rows.append({**row, "hash": last.hash})
    if rows:
        session.execute(insert(AuditEvent), rows)
        session.execute(update(AuditHead).values(seq=last.seq, hash=last.hash))
    return last


def current_head(session: Session) -> Head:
    """Return the newest event as the database states it."""
    head = session.execute(select(AuditHead.seq, AuditHead.hash)).one_or_none()
    return Head(0, GENESIS) if head is None else Head(head.seq, head.hash)


def newest(session: Session, kind: str) -> Any:
    """Return the data of the newest event of a kind; None if there is none."""
    text = session.scalar(
        select(AuditEvent.data)
        .where(AuditEvent.kind == kind)
        .order_by(AuditEvent.seq.desc())
        .limit(1)
    )
    return None if text is None else json.loads(text)


def verify(session: Session, *, expected: Head | None = None) -> Verification:
    """Read the whole chain and say where it is broken, if it is.

    Parameters
    ----------
    session : Session
        Any transaction.
    expected : Head, optional
        A head that was kept elsewhere: the chain must still hold that event.
    """
    # What is appended while this reads is not looked at.
    stated = current_head(session)
    last = Head(0, GENESIS)
    seen = expected is None or expected.seq == 0
    for event in events(session):
        if event.seq > stated.seq and _follows(session, stated):
            break
        if event.seq != last.seq + 1:
            return Verification(last.seq, last, f"event {last.seq + 1} is missing")
        if event.previous != last.hash:
            return Verification(last.seq, last, f"event {event.seq} does not follow its forerunner")
        if event.hash != _digest(_hashed(event)):
            return Verification(last.seq, last, f"event {event.seq} was changed")
        last = Head(event.seq, event.hash)
        if expected is not None and event.seq == expected.seq:
            if event.hash != expected.hash:
                return Verification(last.seq, last, f"event {event.seq} is not the one expected")
            seen = True
    if stated != last:
        return Verification(
            last.seq, last, f"the chain ends at event {last.seq}, its head says {stated.seq}"
        )
    if not seen and expected is not None:
        return Verification(last.seq, last, f"event {expected.seq}, which was expected, is missing")
    return Verification(last.seq, last, None)


def _follows(session: Session, stated: Head) -> bool:
    """Tell whether the head has moved on since: then there may be events after it."""
    session.expire_all()
    return current_head(session).seq > stated.seq


def events(session: Session, *, after: int = 0) -> Iterator[AuditEvent]:
    """Yield events in order, a page at a time in memory."""
    while page := session.scalars(
        select(AuditEvent).where(AuditEvent.seq > after).order_by(AuditEvent.seq).limit(_PAGE)
    ).all():
        yield from page
        after = page[-1].seq
        session.expunge_all()


def as_dict(event: AuditEvent) -> dict[str, Any]:
    """Return an event as plain JSON types; its hash can be computed again from them."""
    return {**_hashed(event), "data": json.loads(event.data), "hash": event.hash}


def fingerprint(data: Any) -> str:
    """Return the SHA-256 of something as canonical JSON, for an event to stand for it."""
    return hashlib.sha256(_canonical(data).encode("ascii")).hexdigest()


def _hashed(event: AuditEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _HASHED}


def _canonical(data: Any) -> str:
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _digest(hashed: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(hashed).encode("ascii")).hexdigest()
