"""Live rooms: ``WS /v1/streams`` to speak in, ``GET /v1/streams`` to look them up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, WebSocket

from ...report import Verdict
from ..policy import Action
from ..rooms import records
from ..rooms.connection import Connection
from ..rooms.records import Filter
from .common import Reader, ServiceDep

router = APIRouter(prefix="/v1", tags=["streams"])


@router.websocket("/streams")
async def talk(websocket: WebSocket) -> None:
    """Open a room, or come back to one; see ``docs/live-rooms.md``."""
    await Connection(websocket, websocket.app.state.service).serve()


@router.get("/streams")
def list_rooms(
    service: ServiceDep,
    principal: Reader,
    status: Literal["open", "closed", "interrupted"] | None = None,
    verdict: Verdict | None = None,
    action: Action | None = None,
    alerted: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List rooms without their reports, the newest first; ``next_cursor`` leads on."""
    wanted = Filter(status, verdict, action, alerted, since, until)
    with service.database.read() as session:
        found, following = records.page(
            session, principal.tenant, wanted, cursor=cursor, limit=limit
        )
        return {
            "streams": [records.as_dict(room, with_reports=False) for room in found],
            "next_cursor": following,
        }


@router.get("/streams/{stream_id}")
def show(stream_id: str, service: ServiceDep, principal: Reader) -> dict[str, Any]:
    """Return a room with its reports, by speaker."""
    with service.database.read() as session:
        return records.as_dict(records.get(session, principal.tenant, stream_id))
