"""Two models at once: the one whose decisions count, and a candidate that only listens.

The candidate scores what the live model has scored, after it and in its shadow. What both said is
kept side by side; :func:`comparison` sets it against what people decided. Promoting swaps the two
without a restart, and promoting again swaps them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from ..checkpoint import load_checkpoint
from . import audit
from .database import Database, Detection, ServiceState, ShadowScore, now
from .engine import Engine
from .errors import RequestError
from .policy import PolicyFile
from .settings import Settings

_LIVE = "live_model"


class Models:
    """The live model and the candidate.

    Parameters
    ----------
    settings : Settings
        Names both, and the policy that both are put under.
    database : Database
        Remembers which of them is live.

    Attributes
    ----------
    live : Engine
        Decides.
    candidate : Engine or None
        Listens.

    Raises
    ------
    CheckpointError, ConfigError, DeviceError
        As for :class:`~deepfake_audio.server.engine.Engine`.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        policy = PolicyFile.load(settings.policy_file)
        self._database = database
        self.live = Engine(load_checkpoint(settings.model), policy, settings.device)
        self.candidate = (
            Engine(load_checkpoint(settings.candidate_model), policy, settings.device)
            if settings.candidate_model
            else None
        )
        self.refresh()

    def refresh(self) -> None:
        """Follow a promotion that another process, or this one before its restart, has made."""
        if self.candidate is None:
            return
        with self._database.read() as session:
            state = session.get(ServiceState, _LIVE)
        if state is not None and state.value["sha256"] == self.candidate.model.sha256:
            self.live, self.candidate = self.candidate, self.live

    def promote(self, actor: str) -> None:
        """Let the candidate decide from now on, and the present model listen.

        Raises
        ------
        RequestError
            If there is no candidate.
        """
        if self.candidate is None:
            raise RequestError(
                "there is no candidate", hint="set candidate_model", status=409, code="conflict"
            )
        with self._database.write() as session:
            session.merge(
                ServiceState(
                    key=_LIVE, value={"sha256": self.candidate.model.sha256}, changed_at=now()
                )
            )
            audit.append(
                session,
                actor=actor,
                kind="model.promoted",
                subject=self.candidate.model.sha256,
                data={
                    "from": self.live.identity()["model"],
                    "to": self.candidate.identity()["model"],
                },
            )
        self.live, self.candidate = self.candidate, self.live


@dataclass(frozen=True)
class Compared:
    """What two models said of the same recordings.

    Attributes
    ----------
    clips : int
        Scored by both.
    same_action : int
        Of these, led to the same action.
    reviewed : int
        Of these, decided by people.
    live_right, candidate_right : int
        Reviewed ones that each model put on the right side of its threshold; what it calls
        uncertain or inconclusive is not right.
    """

    clips: int
    same_action: int
    reviewed: int
    live_right: int
    candidate_right: int


def comparison(session: Session, tenant: str, live: str, candidate: str) -> Compared:
    """Compare two models, given by their hashes, on what both have heard of a tenant."""

    def right(verdict: Any) -> Any:
        pairs = (("genuine", "likely_authentic"), ("synthetic", "likely_synthetic"))
        return func.coalesce(
            func.sum(
                case(
                    *(
                        ((Detection.review_decision == decided) & (verdict == said), 1)
                        for decided, said in pairs
                    ),
                    else_=0,
                )
            ),
            0,
        )

    row = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((Detection.action == ShadowScore.action, 1), else_=0)), 0),
            func.coalesce(
                func.sum(
                    case((Detection.review_decision.in_(("genuine", "synthetic")), 1), else_=0)
                ),
                0,
            ),
            right(Detection.verdict),
            right(ShadowScore.verdict),
        )
        .join(ShadowScore, ShadowScore.detection_id == Detection.id)
        .where(
            Detection.tenant == tenant,
            ShadowScore.model_sha256 == candidate,
            ShadowScore.live_sha256 == live,
        )
    ).one()
    return Compared(*map(int, row))
