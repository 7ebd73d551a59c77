"""Submissions: accepted once, found again, their audio deleted when its time is over.

Everything that happens to one is in the same transaction as the audit event that tells of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import audit, telemetry
from .database import Database, Detection, new_id, newest, now
from .errors import NotFoundError, RequestError
from .store import Store

MAX_DEPTH = 32
"""Of a submission's metadata."""

WAITING = ("queued", "processing")

SYSTEM = "system"


@dataclass(frozen=True)
class Submission:
    """What a client hands in.

    Attributes
    ----------
    tenant, actor : str
        Whose it is, and which key brought it.
    path : Path
        The finished upload.
    sha256, n_bytes : str, int
        Of its content.
    name : str
        What the client calls it.
    surface : str
        Where it comes from.
    details : dict
        Metadata of the client.
    retention_days : float
        How long the audio is kept.
    callback_url, idempotency_key, batch_id : str, optional
        As in the API.
    id : str
        Of the detection that comes of it.
    traceparent : str, optional
        Of the request, see :mod:`.telemetry`; taken from where the submission is made.
    """

    tenant: str
    actor: str
    path: Path
    sha256: str
    n_bytes: int
    name: str
    surface: str
    details: dict[str, Any]
    retention_days: float
    callback_url: str | None = None
    idempotency_key: str | None = None
    batch_id: str | None = None
    id: str = field(default_factory=lambda: new_id("det"))
    traceparent: str | None = field(default_factory=telemetry.current)


def known(database: Database, submission: Submission) -> Detection | None:
    """Return what an idempotency key stands for already.

    Raises
    ------
    RequestError
        If it was used for another recording.
    """
    if submission.idempotency_key is None:
        return None
    with database.read() as session:
        found = session.execute(
            select(Detection).where(
                Detection.tenant == submission.tenant,
                Detection.idempotency_key == submission.idempotency_key,
            )
        ).scalar_one_or_none()
    if found is not None and found.sha256 != submission.sha256:
        raise RequestError(
            "this idempotency key was used for another recording",
            hint="use a new key for each recording",
            status=422,
            code="idempotency_conflict",
        )
    return found


def keep(store: Store, submission: Submission) -> Detection:
    """Put the audio of a submission in its place; returns the record that is yet to be made.

    The audio first: a record without audio would be a loss, audio without a record is litter,
    which is swept up later.
    """
    detection = _detection(store, submission)
    assert detection.audio_key is not None
    store.keep(submission.path, detection.audio_key)
    return detection


def record(database: Database, accepted: Sequence[Detection]) -> None:
    """Record submissions whose audio is in its place, and the events that tell of them.

    All of them, or none.

    Raises
    ------
    IntegrityError
        If one has an idempotency key that is taken.
    """
    with database.write() as session:
        session.add_all(accepted)
        audit.append_all(session, [_submitted(detection) for detection in accepted])


def _detection(store: Store, submission: Submission) -> Detection:
    """Return the record of a submission that is about to be accepted."""
    moment = now()
    return Detection(
        id=submission.id,
        tenant=submission.tenant,
        submitted_by=submission.actor,
        created_at=moment,
        idempotency_key=submission.idempotency_key,
        batch_id=submission.batch_id,
        surface=submission.surface,
        name=submission.name,
        sha256=submission.sha256,
        n_bytes=submission.n_bytes,
        details=submission.details,
        callback_url=submission.callback_url,
        audio_key=store.key(submission.tenant, submission.id),
        retain_until=moment + timedelta(days=submission.retention_days),
        status="queued",
        attempts=0,
        traceparent=submission.traceparent,
    )


def _submitted(detection: Detection) -> audit.Event:
    """Return the event that tells of a submission."""
    return audit.Event(
        actor=detection.submitted_by,
        kind="detection.submitted",
        subject=detection.id,
        data={
            "tenant": detection.tenant,
            "sha256": detection.sha256,
            "bytes": detection.n_bytes,
            "surface": detection.surface,
        },
    )


def n_waiting(session: Session) -> int:
    """Return how many submissions wait to be scored, whoever's they are."""
    counted = session.scalar(
        select(func.count()).select_from(Detection).where(Detection.status.in_(WAITING))
    )
    return counted or 0


def get(session: Session, tenant: str, detection_id: str, *, lock: bool = False) -> Detection:
    """Return a tenant's detection, kept from others until the transaction ends if asked for.

    Raises
    ------
    NotFoundError
        If there is none of this identifier, or it belongs to another tenant.
    """
    detection = session.get(Detection, detection_id, with_for_update=lock or None)
    if detection is None or detection.tenant != tenant:
        raise NotFoundError(f"no detection {detection_id}")
    return detection


@dataclass(frozen=True)
class Filter:
    """Which detections to list; None does not matter."""

    status: str | None = None
    verdict: str | None = None
    action: str | None = None
    surface: str | None = None
    review: str | None = None
    batch_id: str | None = None
    sha256: str | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, tenant: str, wanted: Filter, *, cursor: str | None, limit: int
) -> tuple[list[Detection], str | None]:
    """Return a page of a tenant's detections, the newest first, and the cursor of the next."""
    query = select(Detection).where(Detection.tenant == tenant)
    for column, value in (
        (Detection.status, wanted.status),
        (Detection.verdict, wanted.verdict),
        (Detection.action, wanted.action),
        (Detection.surface, wanted.surface),
        (Detection.review_state, wanted.review),
        (Detection.batch_id, wanted.batch_id),
        (Detection.sha256, wanted.sha256),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.search:
        query = query.where(Detection.name.icontains(wanted.search, autoescape=True))
    if wanted.since:
        query = query.where(Detection.created_at >= wanted.since)
    if wanted.until:
        query = query.where(Detection.created_at < wanted.until)
    return newest(session, Detection, query, cursor=cursor, limit=limit)


def delete_audio(
    database: Database, store: Store, tenant: str, detection_id: str, *, actor: str, why: str
) -> Detection:
    """Delete the audio of a detection and keep its record.

    Raises
    ------
    NotFoundError
        As for :func:`get`.
    RequestError
        If it waits to be scored.
    """
    with database.write() as session:
        detection = get(session, tenant, detection_id, lock=True)
        if detection.status in WAITING:
            raise RequestError(
                "it waits to be scored", hint="delete it afterwards", status=409, code="conflict"
            )
        key = detection.audio_key
        if key is None:
            return detection
        # Before the commit: should it fail, the record still says where the audio is. And before
        # the event: whoever appends one keeps all others from it.
        store.delete(key)
        detection.audio_key = None
        audit.append(
            session,
            actor=actor,
            kind="audio.deleted",
            subject=detection.id,
            data={"input_sha256": detection.sha256, "why": why},
        )
    return detection


def as_dict(detection: Detection) -> dict[str, Any]:
    """Return what the API says of a detection."""

    def moment(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    return {
        "id": detection.id,
        "status": detection.status,
        "created_at": moment(detection.created_at),
        "finished_at": moment(detection.finished_at),
        "surface": detection.surface,
        "name": detection.name,
        "sha256": detection.sha256,
        "bytes": detection.n_bytes,
        "batch_id": detection.batch_id,
        "metadata": detection.details,
        "action": detection.action,
        "dry_run": bool(((detection.decided_by or {}).get("policy") or {}).get("dry_run")),
        "decided_by": detection.decided_by,
        "review": {"state": detection.review_state, "decision": detection.review_decision},
        "report": detection.report,
        "error": detection.error,
        "audio": {
            "available": detection.audio_key is not None,
            "retained_until": moment(detection.retain_until),
        },
    }


def canonical_details(text: str, max_bytes: int) -> dict[str, Any]:
    """Return the metadata of a submission.

    Raises
    ------
    RequestError
        If it is too large or no JSON object.
    """
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise RequestError(
            f"metadata is larger than {max_bytes} bytes", name="metadata", status=413
        )
    try:
        details = json.loads(text)
        # Whatever no answer could hold must not get in: lone surrogates, NaN, numbers without end.
        json.dumps(details, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestError(
            "metadata is no JSON", name="metadata", hint="give an object", status=422
        ) from error
    if not isinstance(details, dict):
        raise RequestError(
            "metadata is no JSON object",
            name="metadata",
            hint="give an object",
            status=422,
        )
    if "\\u0000" in text or _depth(details) > MAX_DEPTH:
        raise RequestError(
            f"metadata is nested deeper than {MAX_DEPTH}, or holds a NUL",
            name="metadata",
            status=422,
        )
    return details


def _depth(value: Any) -> int:
    """Return how deeply something is nested, level by level, so without recursion."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for one in level
            if isinstance(one, (dict, list))
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return depth
