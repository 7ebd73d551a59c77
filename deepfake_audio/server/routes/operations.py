"""Is it alive, is it ready, how is it doing, and who am I: for operators and their machines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import func, select, text

from .. import audit, detections
from ..database import Delivery, Detection, now
from ..keys import Scope
from ..rooms import records
from .common import Operator, ReaderOrOperator, ServiceDep

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(service: ServiceDep) -> dict[str, str]:
    """Say that the database answers, too."""
    with service.database.read() as session:
        session.execute(text("SELECT 1"))
    return {"status": "ok"}


@router.get("/v1/me")
def me(service: ServiceDep, principal: ReaderOrOperator) -> dict[str, Any]:
    """Say whose key this is, and which model and policy are in force."""
    return {
        "id": principal.id,
        "name": principal.name,
        "tenant": principal.tenant,
        "scopes": [scope.value for scope in Scope if principal.may(scope)],
        "decided_by": service.engine.identity(),
    }


@router.get("/v1/audit/head")
def audit_head(service: ServiceDep, principal: Operator) -> dict[str, Any]:
    """Return the newest link of the audit chain, to be kept somewhere else."""
    with service.database.read() as session:
        head = audit.current_head(session)
    return {"seq": head.seq, "hash": head.hash, "at": now().isoformat()}


@router.get("/metrics")
def metrics(service: ServiceDep, principal: Operator) -> Response:
    """Return counts for Prometheus, read from the record and so the same on every worker."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    by_state = Gauge(
        "deepfake_audio_detections",
        "Detections in the record",
        ["status", "verdict", "action"],
        registry=registry,
    )
    waiting = Gauge("deepfake_audio_waiting", "Submissions not yet scored", registry=registry)
    callbacks = Gauge("deepfake_audio_callbacks", "Callbacks", ["state"], registry=registry)
    live = Gauge("deepfake_audio_rooms", "Live rooms that are open", registry=registry)
    with service.database.read() as session:
        live.set(records.n_open(session))
        for status, verdict, action, count in session.execute(
            select(Detection.status, Detection.verdict, Detection.action, func.count()).group_by(
                Detection.status, Detection.verdict, Detection.action
            )
        ):
            by_state.labels(status, verdict or "", action or "").set(count)
        for state, count in session.execute(
            select(Delivery.state, func.count()).group_by(Delivery.state)
        ):
            callbacks.labels(state).set(count)
        waiting.set(detections.n_waiting(session))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")
