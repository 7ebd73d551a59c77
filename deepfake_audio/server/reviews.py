"""What people say of a recording, and when that settles it.

A case is *open* until it is decided, and then *closed*. ``genuine``, ``synthetic`` and ``unsure``
are final, ``escalate`` asks for somebody else:

- The first final decision closes a case. Under the two-person rule it takes two people who agree;
  two who do not escalate it.
- An escalated case is closed by a final decision of somebody who has not spoken on it yet. Without
  the two-person rule an ``admin`` may close it in any case.
- A closed case is reopened by ``escalate``, and by nothing else.

A person is whoever has a key of a name: a rotated key is still the same person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select
from sqlalchemy.orm import Session

from . import audit, detections, webhooks
from .database import ApiKey, Detection, Review, new_id, now
from .errors import RequestError
from .keys import Principal, Scope

MAX_NOTE = 2000
"""Characters of a note."""


class Decision(StrEnum):
    """What a reviewer may say."""

    GENUINE = "genuine"
    SYNTHETIC = "synthetic"
    UNSURE = "unsure"
    ESCALATE = "escalate"


FINAL = (Decision.GENUINE, Decision.SYNTHETIC, Decision.UNSURE)


class Order(StrEnum):
    """How the queue is sorted, after what was escalated, which comes first.

    ``risk``: the most probably synthetic first; ``novelty``: the least like anything the model
    knows first; ``oldest``: whoever has waited longest first. Equals: the oldest first.
    """

    RISK = "risk"
    NOVELTY = "novelty"
    OLDEST = "oldest"


@dataclass(frozen=True)
class Said:
    """A decision of a person, as it is shown."""

    id: str
    reviewer_id: str
    reviewer: str
    decision: str
    note: str
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return it as the API does."""
        return {
            "id": self.id,
            "reviewer": {"id": self.reviewer_id, "name": self.reviewer},
            "decision": self.decision,
            "note": self.note,
            "created_at": self.created_at.isoformat(),
        }


def decide(
    session: Session,
    principal: Principal,
    detection_id: str,
    decision: Decision,
    note: str,
    *,
    two_person: bool,
) -> Detection:
    """Record what a person says of a recording, and close its case if that settles it.

    Parameters
    ----------
    session : Session
        A writing transaction.
    principal : Principal
        Who says it.
    detection_id : str
        Of a recording that was scored, whatever the policy made of it.
    decision : Decision
        What they say.
    note : str
        Why.
    two_person : bool
        Whether two people have to agree.

    Raises
    ------
    NotFoundError
        As for :func:`detections.get`.
    RequestError
        If it was not scored, is closed, or needs somebody else.
    """
    # Locked: of two reviewers who answer at once, the second one sees the first.
    session.execute(select(Detection.id).where(Detection.id == detection_id).with_for_update())
    detection = detections.get(session, principal.tenant, detection_id)
    if detection.status != "done":
        raise _conflict("it was not scored", "only recordings with a report can be reviewed")
    before = (detection.review_state, detection.review_decision)
    state, settled = _outcome(
        detection, decision, principal, said_of(session, detection_id), two_person=two_person
    )
    review = Review(
        id=new_id("rev"),
        detection_id=detection.id,
        tenant=detection.tenant,
        reviewer=principal.id,
        decision=decision.value,
        note=note,
        created_at=now(),
    )
    session.add(review)
    detection.review_state, detection.review_decision = state, settled
    audit.append(
        session,
        actor=principal.id,
        kind="review.decided",
        subject=detection.id,
        data={
            "review": review.id,
            "reviewer": principal.name,
            "decision": decision.value,
            # The trail is for ever, and a note may speak of people.
            "note_sha256": audit.fingerprint(note) if note else None,
            "verdict": detection.verdict,
            "before": list(before),
            "after": [state, settled],
        },
    )
    if state == "closed" and detection.callback_url:
        webhooks.enqueue(
            session,
            tenant=detection.tenant,
            subject=detection.id,
            url=detection.callback_url,
            event="review.closed",
            body=detections.as_dict(detection),
            traceparent=detection.traceparent,
        )
    return detection


def _outcome(
    detection: Detection,
    decision: Decision,
    principal: Principal,
    said: list[Said],
    *,
    two_person: bool,
) -> tuple[str, str | None]:
    """Return state and decision of the case once this was said; see the module for the rules."""
    if decision is Decision.ESCALATE:
        return "open", decision.value
    if detection.review_state == "closed":
        raise _conflict(
            f"it is closed as {detection.review_decision}", "decide 'escalate' to reopen it"
        )
    others = [each for each in said if not _is_by(each, principal)]
    if detection.review_decision == Decision.ESCALATE:
        has_spoken = len(others) < len(said)
        if has_spoken and not _may_overrule(principal, two_person=two_person):
            raise _conflict("it is escalated", "somebody who has not spoken on it must decide")
        return "closed", decision.value
    if not two_person:
        return "closed", decision.value
    if not others:  # the first of two, or the same person with another mind
        return "open", None
    agreed = others[-1].decision == decision
    return ("closed", decision.value) if agreed else ("open", Decision.ESCALATE.value)


def _is_by(said: Said, principal: Principal) -> bool:
    return principal.id == said.reviewer_id or principal.name == said.reviewer


def _may_overrule(principal: Principal, *, two_person: bool) -> bool:
    return principal.may(Scope.ADMIN) and not two_person


def _conflict(message: str, hint: str) -> RequestError:
    return RequestError(message, hint=hint, status=409, code="conflict")


def said_of(session: Session, detection_id: str) -> list[Said]:
    """Return what was said of a recording, the oldest first."""
    rows = session.execute(
        select(Review, ApiKey.name)
        .outerjoin(ApiKey, ApiKey.id == Review.reviewer)
        .where(Review.detection_id == detection_id)
        .order_by(Review.id)
    )
    return [
        Said(
            review.id,
            review.reviewer,
            # With --insecure-local there is no key to have a name.
            review.reviewer if name is None else name,
            review.decision,
            review.note,
            review.created_at,
        )
        for review, name in rows
    ]


def queue(
    session: Session,
    principal: Principal,
    order: Order,
    *,
    two_person: bool,
    cursor: str | None,
    limit: int,
) -> tuple[list[Detection], str | None]:
    """Return a page of the open cases that a person can bring forward, and the next cursor.

    Raises
    ------
    RequestError
        If the cursor is none of ours.
    """
    urgent: ColumnElement[int] = case(
        (Detection.review_decision == Decision.ESCALATE.value, 1), else_=0
    )
    rank: ColumnElement[float] = {
        Order.RISK: func.coalesce(Detection.p_synthetic, -1.0),
        Order.NOVELTY: func.coalesce(Detection.novelty, -1.0),
        Order.OLDEST: literal(0.0),
    }[order]
    # By their labels below: PostgreSQL sorts by no bare constant.
    first, second = urgent.label("urgent"), rank.label("rank")
    query = select(Detection, first, second).where(
        Detection.tenant == principal.tenant, Detection.review_state == "open"
    )
    if not _may_overrule(principal, two_person=two_person):
        query = query.where(~_spoken_by(principal))
    if cursor:
        last_urgent, last_rank, last_id = _read_cursor(cursor)
        query = query.where(
            or_(
                urgent < last_urgent,
                and_(urgent == last_urgent, rank < last_rank),
                and_(urgent == last_urgent, rank == last_rank, Detection.id > last_id),
            )
        )
    rows = session.execute(
        query.order_by(first.desc(), second.desc(), Detection.id).limit(limit + 1)
    ).all()
    found = [row[0] for row in rows[:limit]]
    if len(rows) <= limit:
        return found, None
    last, was_urgent, was_rank = rows[limit - 1]
    return found, f"{was_urgent}:{was_rank!r}:{last.id}"


def _spoken_by(principal: Principal) -> ColumnElement[bool]:
    return (
        select(Review.id)
        .outerjoin(ApiKey, ApiKey.id == Review.reviewer)
        .where(
            Review.detection_id == Detection.id,
            or_(
                Review.reviewer == principal.id,
                and_(ApiKey.tenant == principal.tenant, ApiKey.name == principal.name),
            ),
        )
        .exists()
    )


def _read_cursor(text: str) -> tuple[int, float, str]:
    try:
        urgent, rank, last = text.split(":")
        return ("0", "1").index(urgent), float(rank), last
    except ValueError as error:
        raise RequestError("not a cursor", name="cursor", status=422) from error
