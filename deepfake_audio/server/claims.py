"""What waits becomes a worker's, and comes back as a record: scored once, never lost.

A claim is a lease. Whoever holds it records the outcome, in one transaction with the audit event
that tells of it; a worker that says nothing for too long loses it to another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, inspect, or_, select, update
from sqlalchemy.orm import Session

from ..errors import DeepfakeAudioError
from ..report import Report
from . import audit, webhooks
from .database import Base, Database, Detection, ShadowScore, new_id, now
from .detections import SYSTEM, as_dict
from .policy import Decision

MAX_ATTEMPTS = 3
"""A recording that was begun so often and never finished is given up."""

_KINDS = {"done": "detection.scored", "failed": "detection.failed"}


@dataclass(frozen=True)
class Outcome:
    """What became of a claimed recording: a report and a decision, or an error."""

    detection: Detection
    identity: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None
    decision: Decision | None = None
    error: DeepfakeAudioError | None = None


def claim(database: Database, count: int, lease_s: float) -> list[Detection]:
    """Take up to ``count`` submissions, the oldest first, for ``lease_s`` seconds.

    Also takes those whose worker has said nothing for longer than its lease.
    """
    moment = now()
    free = or_(
        Detection.status == "queued",
        (Detection.status == "processing") & (Detection.claimed_until < moment),
    )
    with database.write() as session:
        taken = session.scalars(
            select(Detection)
            .where(free)
            .order_by(Detection.id)
            .limit(count)
            .with_for_update(skip_locked=True)
        ).all()
        token = new_id("claim")
        for detection in taken:
            detection.status = "processing"
            detection.claim = token
            detection.claimed_until = moment + timedelta(seconds=lease_s)
            detection.attempts += 1
        return list(taken)


def renew(database: Database, claims: Sequence[str], lease_s: float) -> None:
    """Tell that the worker of these claims is alive."""
    if not claims:
        return
    with database.write() as session:
        # Rows that are just being recorded need no renewal.
        held = session.scalars(
            select(Detection.id)
            .where(Detection.claim.in_(claims), Detection.status == "processing")
            .order_by(Detection.id)
            .with_for_update(skip_locked=True)
        ).all()
        session.execute(
            update(Detection)
            .where(Detection.id.in_(held))
            .values(claimed_until=now() + timedelta(seconds=lease_s))
        )


def release(database: Database, claimed: Sequence[Detection], *, counts: bool = False) -> None:
    """Give back what was claimed, as when a worker stops.

    Parameters
    ----------
    database : Database
        Where it waits.
    claimed : sequence of Detection
        As :func:`claim` gave them.
    counts : bool
        Whether it was an attempt, of which there are :data:`MAX_ATTEMPTS`.
    """
    if not claimed:
        return
    with database.write() as session:
        for detection in claimed:
            session.execute(
                update(Detection)
                .where(Detection.id == detection.id, Detection.claim == detection.claim)
                .values(
                    status="queued",
                    claim=None,
                    claimed_until=None,
                    attempts=Detection.attempts - (0 if counts else 1),
                )
            )


def finish(database: Database, outcomes: Sequence[Outcome]) -> list[Detection]:
    """Record outcomes, all in one transaction; returns the records of those that counted.

    An outcome whose claim has passed to another worker does not count: that one records it.
    """
    moment = now()
    with database.write() as session:
        # In order of identifiers, as all who lock several rows do: no two wait for each other.
        found = session.execute(
            select(Detection.id, Detection.claim)
            .where(
                Detection.id.in_([outcome.detection.id for outcome in outcomes]),
                Detection.status == "processing",
            )
            .order_by(Detection.id)
            .with_for_update()
        )
        held = {(row.id, row.claim) for row in found}
        counted = {
            outcome.detection.id: outcome
            for outcome in outcomes
            if (outcome.detection.id, outcome.detection.claim) in held
        }
        values = {key: _as_record(counted[key], moment) for key in sorted(counted)}
        _write(session, values)
        done = {key: _finished(counted[key].detection, values[key]) for key in values}
        audit.append_all(session, [_event(counted[key], values[key]) for key in values])
        for detection in done.values():
            _call_back(session, detection)
    return list(done.values())


def _write(session: Session, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Set columns of rows given by identifier; one statement for all that set the same columns."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for key, row in values.items():
        by_columns[tuple(row)].append({**row, "key": key})
    table = Base.metadata.tables[Detection.__tablename__]
    for columns, rows in by_columns.items():
        session.connection().execute(
            update(table)
            .where(table.c.id == bindparam("key"))
            .values({column: bindparam(column) for column in columns}),
            rows,
        )


def _finished(detection: Detection, values: Mapping[str, Any]) -> Detection:
    """Return a claimed detection as it stands in the record once these values are set."""
    columns = inspect(Detection).column_attrs.keys()
    return Detection(**{key: getattr(detection, key) for key in columns} | dict(values))


def shadow(database: Database, live_sha256: str, outcomes: Sequence[Outcome]) -> None:
    """Keep what a candidate model said of recordings that the live one has decided on."""
    with database.write() as session:
        for outcome in outcomes:
            report, decision = outcome.report, outcome.decision
            if report is None or decision is None:
                continue
            session.merge(
                ShadowScore(
                    detection_id=outcome.detection.id,
                    model_sha256=report.model.sha256,
                    live_sha256=live_sha256,
                    llr_synthetic=report.llr_synthetic,
                    p_synthetic=report.p_synthetic,
                    verdict=report.verdict.value,
                    action=decision.action.value,
                )
            )


def _as_record(outcome: Outcome, moment: datetime) -> dict[str, Any]:
    """Return the columns that an outcome sets."""
    values: dict[str, Any] = {
        "finished_at": moment,
        "claim": None,
        "claimed_until": None,
        "decided_by": outcome.identity,
    }
    if outcome.error is not None:
        error = outcome.error
        return {
            **values,
            "status": "failed",
            "error": {"code": error.code, "message": error.message, "hint": error.hint},
        }
    assert outcome.report is not None
    assert outcome.decision is not None
    report = outcome.report
    return {
        **values,
        "status": "done",
        "report": report.to_dict(),
        "verdict": report.verdict.value,
        "p_synthetic": report.p_synthetic,
        "novelty": report.novelty,
        "action": outcome.decision.action.value,
        "review_state": "open" if outcome.decision.needs_review else None,
    }


def _event(outcome: Outcome, values: Mapping[str, Any]) -> audit.Event:
    """Return the audit event of an outcome."""
    detection = outcome.detection
    data: dict[str, Any] = {"input_sha256": detection.sha256, **outcome.identity}
    if outcome.error is not None:
        data["error"] = outcome.error.code
    else:
        data |= {key: values[key] for key in ("verdict", "p_synthetic", "action")}
        data["report_sha256"] = audit.fingerprint(values["report"])
    return audit.Event(SYSTEM, _KINDS[values["status"]], detection.id, data)


def _call_back(session: Session, done: Detection) -> None:
    """Enqueue the callback of a detection that is done, if one is wanted."""
    if done.callback_url:
        webhooks.enqueue(
            session,
            tenant=done.tenant,
            subject=done.id,
            url=done.callback_url,
            event=_KINDS[done.status],
            body=as_dict(done),
            traceparent=done.traceparent,
        )
