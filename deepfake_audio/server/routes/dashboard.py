"""Figures for the review page: ``/v1/dashboard``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ..dashboard import MAX_DAYS, dashboard
from ..database import now
from .common import Reviewer, ServiceDep

router = APIRouter(prefix="/v1", tags=["reviews"])


@router.get("/dashboard")
def show_dashboard(
    service: ServiceDep,
    principal: Reviewer,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS)] = 7,
) -> dict[str, Any]:
    """Return volume, scores and their drift, latency, the queue and reviewers' agreement."""
    with service.database.read() as session:
        return dashboard(session, principal.tenant, days, now())
