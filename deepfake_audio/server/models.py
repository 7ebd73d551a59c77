"""Two models at once: the one whose decisions count, and a candidate that only listens.

The candidate scores what the live model has scored, after it and in its shadow. What both said is
kept side by side; :func:`comparison` sets it against what people decided. Promoting swaps the two
without a restart, and promoting again swaps them back.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..checkpoint import load_checkpoint
from . import audit
from .database import Database, Detection, ServiceState, ShadowScore, now
from .engine import Engine
from .errors import RequestError
from .policy import PolicyFile
from .settings import Settings

logger = logging.getLogger(__name__)

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
        self._lock = threading.Lock()
        self.live = Engine(load_checkpoint(settings.model), policy, settings.device)
        self.candidate = (
            Engine(load_checkpoint(settings.candidate_model), policy, settings.device)
            if settings.candidate_model
            else None
        )
        configured = self.live
        self.refresh()
        if self.live is not configured:
            logger.warning(
                "%s is live, because it was promoted, and not %s, which the settings name as model",
                self.live.model.name,
                configured.model.name,
            )

    def both(self) -> tuple[Engine, Engine | None]:
        """Return the live model and the candidate as of one moment."""
        with self._lock:
            return self.live, self.candidate

    def refresh(self) -> None:
        """Follow a promotion that another process, or this one before its restart, has made."""
        with self._lock, self._database.read() as session:
            self._follow(session.get(ServiceState, _LIVE))

    def promote(self, actor: str, sha256: str | None = None) -> None:
        """Let the candidate decide from now on, and the present model listen.

        Parameters
        ----------
        actor : str
            Who wants it.
        sha256 : str, optional
            Of the model that is to decide. Whoever names it promotes no other by mistake, such
            as the one that somebody else has just taken back.

        Raises
        ------
        RequestError
            If there is no candidate, it is another than the one named, or somebody else promoted
            at the same time.
        """
        with self._lock:
            try:
                with self._database.write() as session:
                    promoted = self._promote(session, actor, sha256)
            except IntegrityError as error:  # both were the first ever
                raise _conflict("another promotion came first") from error
            # Only now is it certain.
            self._put(promoted)

    def _promote(self, session: Session, actor: str, sha256: str | None) -> Engine:
        # What other processes did meanwhile counts, and they wait for this.
        self._follow(session.get(ServiceState, _LIVE, with_for_update=True))
        if self.candidate is None:
            raise _conflict("there is no candidate", hint="set candidate_model")
        promoted = self.candidate.model.sha256
        if sha256 not in (None, promoted):
            raise _conflict("this model is not the candidate", hint="see GET /v1/models")
        session.merge(ServiceState(key=_LIVE, value={"sha256": promoted}, changed_at=now()))
        audit.append(
            session,
            actor=actor,
            kind="model.promoted",
            subject=promoted,
            data={
                "from": self.live.identity()["model"],
                "to": self.candidate.identity()["model"],
            },
        )
        return self.candidate

    def _follow(self, state: ServiceState | None) -> None:
        """Make that model live which the database names; one that is not here changes nothing."""
        for engine in (self.live, self.candidate):
            if engine and state is not None and engine.model.sha256 == state.value["sha256"]:
                self._put(engine)
                break

    def _put(self, live: Engine) -> None:
        if live is not self.live:
            self.live, self.candidate = live, self.live


def _conflict(message: str, hint: str | None = None) -> RequestError:
    return RequestError(message, hint=hint, status=409, code="conflict")


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


def comparison(session: Session, tenant: str | None, live: str, candidate: str) -> Compared:
    """Compare two models, by their hashes, on what both have heard of a tenant, or of all."""

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

    query = (
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
        .where(ShadowScore.model_sha256 == candidate, ShadowScore.live_sha256 == live)
    )
    if tenant is not None:
        query = query.where(Detection.tenant == tenant)
    row = session.execute(query).one()
    return Compared(*map(int, row))
