"""People's part: the queue, their decisions, and what happened to a recording."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import select

from .. import audit, detections, reviews
from ..database import AuditEvent
from ..reviews import MAX_NOTE, Decision, Order
from .common import Reviewer, ServiceDep

router = APIRouter(prefix="/v1", tags=["reviews"])

_MAX_EVENTS = 200


class NewReview(BaseModel):
    """What a reviewer sends."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""

    @field_validator("note")
    @classmethod
    def _can_be_stored(cls, note: str) -> str:
        if "\0" in note or any("\ud800" <= char <= "\udfff" for char in note):
            raise ValueError("must be text")
        return note.strip()


@router.get("/reviews/queue")
def show_queue(
    service: ServiceDep,
    principal: Reviewer,
    order: Order = Order.RISK,
    cursor: Annotated[str | None, Query(max_length=160)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List the open cases that you can bring forward: escalated ones first, then by ``order``."""
    two_person = service.settings.two_person_review
    with service.database.read() as session:
        found, following = reviews.queue(
            session, principal, order, two_person=two_person, cursor=cursor, limit=limit
        )
    return {
        "detections": [detections.as_dict(detection) for detection in found],
        "next_cursor": following,
        "two_person": two_person,
    }


@router.post("/detections/{detection_id}/reviews", status_code=201)
def review(
    detection_id: str, given: NewReview, service: ServiceDep, principal: Reviewer
) -> dict[str, Any]:
    """Say what you heard; returns the detection as it stands then."""
    with service.database.write() as session:
        detection = reviews.decide(
            session,
            principal,
            detection_id,
            given.decision,
            given.note,
            two_person=service.settings.two_person_review,
        )
    return detections.as_dict(detection)


@router.get("/detections/{detection_id}/reviews")
def list_reviews(detection_id: str, service: ServiceDep, principal: Reviewer) -> dict[str, Any]:
    """List what people said of a recording, the oldest first."""
    with service.database.read() as session:
        detections.get(session, principal.tenant, detection_id)
        return {"reviews": [said.as_dict() for said in reviews.said_of(session, detection_id)]}


@router.get("/detections/{detection_id}/events")
def list_events(detection_id: str, service: ServiceDep, principal: Reviewer) -> dict[str, Any]:
    """List the newest events of the audit trail about a recording, the oldest first."""
    with service.database.read() as session:
        detections.get(session, principal.tenant, detection_id)
        found = session.scalars(
            select(AuditEvent)
            .where(AuditEvent.subject == detection_id)
            .order_by(AuditEvent.seq.desc())
            .limit(_MAX_EVENTS)
        )
        return {"events": [audit.as_dict(event) for event in reversed(found.all())]}
