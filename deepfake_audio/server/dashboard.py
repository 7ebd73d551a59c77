"""How the service is doing over the last days, for one tenant, in a few bounded queries.

Identifiers sort by time, so a stretch of time is a stretch of the index on tenant and identifier,
whatever the database. No report is read.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from .database import ApiKey, Detection, Review
from .reviews import FINAL, Decision

MAX_DAYS = 90
N_BINS = 10
PERCENTILES = (50, 95, 99)
MIN_FOR_DRIFT = 100
"""Scores that each of two periods must have before their difference is given a number."""

MAX_SAMPLE = 5000
"""Newest detections that latency is taken from, and newest reviews that agreement is."""


def dashboard(session: Session, tenant: str, days: int, moment: datetime) -> dict[str, Any]:
    """Return all figures of a tenant.

    Parameters
    ----------
    session : Session
        Any transaction.
    tenant : str
        Whose.
    days : int
        How many, today included; they begin at midnight UTC.
    moment : datetime
        Now.
    """
    today = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [today - timedelta(days=days - 1 - day) for day in range(-days, days)]
    start = starts[days]
    counts = _count(session, tenant, starts)
    return {
        "since": start.isoformat(),
        "until": moment.isoformat(),
        "days": _volume(counts, starts[days:], days),
        "scores": _scores(counts, days),
        "latency": _latency(session, tenant, start),
        "queue": _queue(session, tenant),
        "reviews": _reviews(session, tenant, start),
    }


@dataclass(frozen=True)
class _Count:
    """How many detections have all of this in common."""

    day: int
    status: str
    verdict: str | None
    action: str | None
    bin: int | None
    n: int


def _count(session: Session, tenant: str, starts: Sequence[datetime]) -> list[_Count]:
    """Count detections day by day, in one pass; the first day is 0."""
    edges = [edge / N_BINS for edge in range(1, N_BINS)]
    bins = case((Detection.p_synthetic.is_(None), None), else_=_step(Detection.p_synthetic, edges))
    rows = (
        select(
            _step(Detection.id, [_first_id(start) for start in starts[1:]]).label("day"),
            Detection.status,
            Detection.verdict,
            Detection.action,
            bins.label("bin"),
        )
        .where(Detection.tenant == tenant, Detection.id >= _first_id(starts[0]))
        .subquery()  # PostgreSQL groups by columns, and by no expression that has parameters
    )
    found: Sequence[Any] = session.execute(select(*rows.c, func.count()).group_by(*rows.c)).all()
    return [_Count(*row) for row in found]


def _volume(
    counts: Sequence[_Count], starts: Sequence[datetime], first: int
) -> list[dict[str, Any]]:
    """Return counts by verdict and action, day by day."""
    verdicts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    actions: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for each in counts:
        # Those that wait, and those that could not be read, have no verdict.
        verdicts[each.day][each.verdict or each.status] += each.n
        if each.action:
            actions[each.day][each.action] += each.n
    return [
        {
            "date": start.date().isoformat(),
            "total": verdicts[day].total(),
            "verdicts": dict(verdicts[day]),
            "actions": dict(actions[day]),
        }
        for day, start in enumerate(starts, first)
    ]


def _scores(counts: Sequence[_Count], first: int) -> dict[str, Any]:
    """Return the histograms of p_synthetic of this period and the one before, and their drift."""
    before, present = [0] * N_BINS, [0] * N_BINS
    for each in counts:
        if each.bin is not None:
            (before if each.day < first else present)[each.bin] += each.n
    return {
        "edges": [edge / N_BINS for edge in range(N_BINS + 1)],
        "before": before,
        "now": present,
        "stability_index": stability_index(before, present),
        "needs": MIN_FOR_DRIFT,
    }


def stability_index(before: Sequence[int], after: Sequence[int]) -> float | None:
    """Return how far two histograms lie apart: the population stability index.

    By the usual rule of thumb under 0.1 is no change to speak of, and over 0.25 a large one.
    None if either holds too few.
    """
    if min(sum(before), sum(after)) < MIN_FOR_DRIFT:
        return None
    pairs = zip(_shares(before), _shares(after), strict=True)
    return sum((b - a) * math.log(b / a) for a, b in pairs)


def _shares(counts: Sequence[int]) -> list[float]:
    # Half a count more in each bin, so that an empty one is no infinity.
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]


def _latency(session: Session, tenant: str, start: datetime) -> dict[str, Any]:
    """Return percentiles of the seconds from acceptance to outcome, of the newest detections."""
    rows = session.execute(
        select(Detection.created_at, Detection.finished_at)
        .where(
            Detection.tenant == tenant,
            Detection.id >= _first_id(start),
            Detection.finished_at.is_not(None),
        )
        .order_by(Detection.id.desc())
        .limit(MAX_SAMPLE)
    )
    seconds = sorted(
        (finished - created).total_seconds() for created, finished in rows if finished is not None
    )
    if not seconds:
        return {"count": 0}
    found: dict[str, Any] = {"count": len(seconds)}
    for share in PERCENTILES:
        found[f"p{share}_s"] = seconds[math.ceil(share / 100 * len(seconds)) - 1]
    return found


def _queue(session: Session, tenant: str) -> dict[str, Any]:
    escalated = case((Detection.review_decision == Decision.ESCALATE.value, 1), else_=0)
    waiting, urgent, oldest = session.execute(
        select(func.count(), func.coalesce(func.sum(escalated), 0), func.min(Detection.id)).where(
            Detection.tenant == tenant, Detection.review_state == "open"
        )
    ).one()
    since = session.scalar(select(Detection.created_at).where(Detection.id == oldest))
    return {
        "open": waiting,
        "escalated": int(urgent),
        "oldest": since.isoformat() if since else None,
    }


def _reviews(session: Session, tenant: str, start: datetime) -> dict[str, Any]:
    """Return who decided how much, how far people agree, and what they made of the verdicts."""
    rows = session.execute(
        select(Review.detection_id, Review.reviewer, ApiKey.name, Review.decision)
        .outerjoin(ApiKey, ApiKey.id == Review.reviewer)
        .where(Review.tenant == tenant, Review.id >= _first_id(start, "rev"))
        .order_by(Review.id.desc())
        .limit(MAX_SAMPLE)
    ).all()
    reviewers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    last_words: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for detection_id, reviewer, name, decision in rows:
        person = reviewer if name is None else name
        reviewers[person][decision] += 1
        if decision in FINAL:  # the newest comes first
            last_words[detection_id].setdefault(person, decision)
    pairs = [
        one == other
        for said in last_words.values()
        for one, other in combinations(said.values(), 2)
    ]
    return {
        "reviewers": {name: dict(reviewers[name]) for name in sorted(reviewers)},
        "pairs": len(pairs),
        "pairs_agreeing": sum(pairs),
        "by_verdict": _by_verdict(session, tenant, start),
    }


def _by_verdict(session: Session, tenant: str, start: datetime) -> dict[str, dict[str, int]]:
    """Return what became of the closed cases of the period: verdict, then decision."""
    table: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for verdict, decision, count in session.execute(
        select(Detection.verdict, Detection.review_decision, func.count())
        .where(
            Detection.tenant == tenant,
            Detection.id >= _first_id(start),
            Detection.review_state == "closed",
        )
        .group_by(Detection.verdict, Detection.review_decision)
    ):
        table[str(verdict)][str(decision)] = count
    return dict(table)


def _first_id(start: datetime, kind: str = "det") -> str:
    """Return what no identifier made since then sorts before."""
    return f"{kind}_{int(start.timestamp() * 1000):012x}"


def _step(column: Any, edges: Sequence[Any]) -> ColumnElement[int]:
    """Return how many of the rising edges, at least one, a value has reached."""
    return case(
        *((column >= edge, at) for at, edge in reversed(list(enumerate(edges, 1)))), else_=0
    )
