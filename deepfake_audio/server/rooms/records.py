"""What stays of a room: its record, and the audit events that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from .. import audit, webhooks
from ..database import Database, Room, newest, now
from ..errors import NotFoundError
from .room import Opening

SYSTEM = "system"


@dataclass(frozen=True)
class Ending:
    """How a room ended.

    Attributes
    ----------
    reason : str
        Why.
    reports : mapping
        By speaker.
    verdict, action : str
        The gravest and the strictest.
    """

    reason: str
    reports: Mapping[str, Any]
    verdict: str
    action: str


def opened(
    database: Database, room_id: str, opening: Opening, identity: dict[str, Any]
) -> datetime:
    """Record that a room was opened; returns when."""
    moment = now()
    with database.write() as session:
        session.add(
            Room(
                id=room_id,
                tenant=opening.tenant,
                opened_by=opening.actor,
                name=opening.name,
                details=opening.details,
                opened_at=moment,
                decided_by=identity,
            )
        )
        audit.append(
            session,
            actor=opening.actor,
            kind="room.opened",
            subject=room_id,
            data={"tenant": opening.tenant, **identity},
        )
    return moment


def alerted(database: Database, room_id: str, opening: Opening, alert: dict[str, Any]) -> None:
    """Record an alert."""
    with database.write() as session:
        room = session.get_one(Room, room_id)
        room.alerted_at = room.alerted_at or now()
        told = {key: value for key, value in alert.items() if key != "type"}
        audit.append(session, actor=SYSTEM, kind="room.alert", subject=room_id, data=told)
        _call_back(session, room, opening, "room.alert", {"alert": told, **as_dict(room)})


def closed(database: Database, room_id: str, opening: Opening, ending: Ending) -> None:
    """Record how a room ended."""
    with database.write() as session:
        room = session.get_one(Room, room_id)
        room.closed_at = now()
        room.reports = dict(ending.reports)
        room.verdict, room.action = ending.verdict, ending.action
        audit.append(
            session,
            actor=SYSTEM,
            kind="room.closed",
            subject=room_id,
            data={
                "reason": ending.reason,
                "verdict": ending.verdict,
                "action": ending.action,
                "reports_sha256": audit.fingerprint(room.reports),
            },
        )
        _call_back(session, room, opening, "room.closed", as_dict(room))


def interrupt(database: Database, mark: str) -> int:
    """Close the rooms of a process that ended without doing so; returns how many."""
    return _interrupt(database, Room.id.endswith(f"_{mark}", autoescape=True))


def interrupt_stale(database: Database, older_s: float) -> int:
    """Close rooms that are older than rooms can get, wherever their process was."""
    return _interrupt(database, Room.opened_at < now() - timedelta(seconds=older_s))


def _interrupt(database: Database, which: ColumnElement[bool]) -> int:
    with database.write() as session:
        left = session.scalars(
            select(Room).where(Room.closed_at.is_(None), which).with_for_update()
        ).all()
        for room in left:
            room.closed_at = now()
            audit.append(
                session,
                actor=SYSTEM,
                kind="room.closed",
                subject=room.id,
                data={"reason": "interrupted"},
            )
        return len(left)


def _call_back(
    session: Session, room: Room, opening: Opening, event: str, body: dict[str, Any]
) -> None:
    if opening.callback_url:
        webhooks.enqueue(
            session,
            tenant=room.tenant,
            subject=room.id,
            url=opening.callback_url,
            event=event,
            body=body,
        )


def get(session: Session, tenant: str, room_id: str) -> Room:
    """Return a tenant's room.

    Raises
    ------
    NotFoundError
        If there is none of this identifier, or it belongs to another tenant.
    """
    room = session.get(Room, room_id)
    if room is None or room.tenant != tenant:
        raise NotFoundError(f"no stream {room_id}")
    return room


def n_open(session: Session) -> int:
    """Return how many rooms are open, whoever's they are."""
    counted = session.scalar(select(func.count()).select_from(Room).where(Room.closed_at.is_(None)))
    return counted or 0


_STATES: dict[str, ColumnElement[bool]] = {
    "open": Room.closed_at.is_(None),
    "closed": Room.closed_at.is_not(None) & Room.verdict.is_not(None),
    "interrupted": Room.closed_at.is_not(None) & Room.verdict.is_(None),
}


@dataclass(frozen=True)
class Filter:
    """Which rooms to list; None does not matter."""

    status: str | None = None
    verdict: str | None = None
    action: str | None = None
    alerted: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, tenant: str, wanted: Filter, *, cursor: str | None, limit: int
) -> tuple[list[Room], str | None]:
    """Return a page of a tenant's rooms, the newest first, and the cursor of the next."""
    query = select(Room).where(Room.tenant == tenant)
    if wanted.status:
        query = query.where(_STATES[wanted.status])
    if wanted.verdict:
        query = query.where(Room.verdict == wanted.verdict)
    if wanted.action:
        query = query.where(Room.action == wanted.action)
    if wanted.alerted is not None:
        query = query.where(Room.alerted_at.is_not(None) == wanted.alerted)
    if wanted.since:
        query = query.where(Room.opened_at >= wanted.since)
    if wanted.until:
        query = query.where(Room.opened_at < wanted.until)
    return newest(session, Room, query, cursor=cursor, limit=limit)


def as_dict(room: Room, *, with_reports: bool = True) -> dict[str, Any]:
    """Return what the API says of a room."""

    def moment(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    ended = "interrupted" if room.verdict is None else "closed"
    said: dict[str, Any] = {
        "id": room.id,
        "status": "open" if room.closed_at is None else ended,
        "name": room.name,
        "metadata": room.details,
        "opened_at": moment(room.opened_at),
        "closed_at": moment(room.closed_at),
        "alerted_at": moment(room.alerted_at),
        "verdict": room.verdict,
        "action": room.action,
        "decided_by": room.decided_by,
    }
    return {**said, "reports": room.reports} if with_reports else said
