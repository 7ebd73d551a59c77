"""Callbacks of a tenant: which are on their way, which nobody took, and once more, please."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from .. import webhooks
from ..webhooks import State
from .common import Admin, ServiceDep

router = APIRouter(prefix="/v1/callbacks", tags=["callbacks"])


@router.get("")
def list_callbacks(
    service: ServiceDep,
    principal: Admin,
    state: State | None = None,
    subject: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List callbacks, the newest first; ``state=dead`` are those that were given up."""
    with service.database.read() as session:
        found, following = webhooks.page(
            session, principal.tenant, state, subject, cursor=cursor, limit=limit
        )
    return {
        "callbacks": [webhooks.as_dict(delivery) for delivery in found],
        "next_cursor": following,
    }


@router.post("/{callback_id}/retry", status_code=202)
def retry(callback_id: str, service: ServiceDep, principal: Admin) -> dict[str, Any]:
    """Try one that was given up again, from the beginning and under the same identifier."""
    with service.database.write() as session:
        delivery = webhooks.retry(session, callback_id, tenant=principal.tenant, actor=principal.id)
    service.wake_courier()
    return webhooks.as_dict(delivery)
