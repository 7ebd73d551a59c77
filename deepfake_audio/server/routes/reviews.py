"""People's part: the queue, their decisions, and what happened to a recording."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from .. import audit, detections, reviews
from ..database import AuditEvent
from ..errors import RequestError
from ..keys import Principal
from ..reviews import MAX_NOTE, Decision, Order
from ..service import Service
from .common import Reviewer, ServiceDep

router = APIRouter(prefix="/v1", tags=["reviews"])

MAX_BODY_BYTES = 32 * 1024
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


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": NewReview.model_json_schema()}},
    }
}


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


@router.post("/detections/{detection_id}/reviews", status_code=201, openapi_extra=_BODY)
async def review(
    detection_id: str, request: Request, service: ServiceDep, principal: Reviewer
) -> dict[str, Any]:
    """Say what you heard; returns the detection as it stands then."""
    # Read here, and not by the framework, which would take a body of any size from anybody.
    given = await _read(request)
    return await run_in_threadpool(_decide, service, principal, detection_id, given)


def _decide(
    service: Service, principal: Principal, detection_id: str, given: NewReview
) -> dict[str, Any]:
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


async def _read(request: Request) -> NewReview:
    # Only a page of ours can send this type: other sites would have to ask first, and may not.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            "the body is no JSON",
            hint="send Content-Type: application/json",
            status=415,
            code="unsupported_media_type",
        )
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(f"the body is larger than {MAX_BODY_BYTES} bytes", status=413)
    try:
        return NewReview.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RequestError(first["msg"], name=name or "body", status=422) from error
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is no JSON", status=422) from error
