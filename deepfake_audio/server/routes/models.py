"""Which model decides, which one listens, how they compare, and how they change places."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter

from ..keys import Principal, Scope
from ..models import comparison
from ..service import Service
from .common import Operator, ReaderOrOperator, ServiceDep

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def show(service: ServiceDep, principal: ReaderOrOperator) -> dict[str, Any]:
    """Return the live model and the candidate, and what both said of the same recordings.

    Of a tenant's own, or of all tenants' if an operator asks, who decides for all of them.
    """
    return _state(service, principal)


@router.post("/promote")
def promote(service: ServiceDep, principal: Operator, sha256: str | None = None) -> dict[str, Any]:
    """Let the candidate decide from now on, if it is the one named; once more to take it back."""
    service.models.promote(principal.id, sha256)
    return _state(service, principal)


def _state(service: Service, principal: Principal) -> dict[str, Any]:
    live, candidate = service.models.both()
    if candidate is None:
        return {"live": live.identity(), "candidate": None, "comparison": None}
    tenant = None if principal.may(Scope.OPERATOR) else principal.tenant
    with service.database.read() as session:
        found = comparison(session, tenant, live.model.sha256, candidate.model.sha256)
    return {
        "live": live.identity(),
        "candidate": candidate.identity(),
        "comparison": dataclasses.asdict(found),
    }
