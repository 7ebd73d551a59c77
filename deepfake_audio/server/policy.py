"""The policy of a platform: which probability leads to which action, surface by surface.

A typed TOML file, versioned; its hash stands beside every decision made by it::

    version = "2026-11"
    dry_run = false                   # true: actions are recorded and not carried out

    [surfaces.upload]
    operating_point = "balanced"      # of the model: what a verdict means
    label_from = "uncertain"          # a probability, the threshold of an operating point, or
                                      # "uncertain": authentic_below of the operating point
    review_from = 0.95
    block_from = 0.999
    inconclusive = "pass"             # what becomes of recordings without a verdict

    [surfaces.live]
    review_from = "precision"
    alert_windows = 3                 # so many of the last ...
    alert_of = 5                      # ... so many events must reach review_from or block_from
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .._files import read_toml
from ..config import Policy as OperatingPoint
from ..errors import ConfigError
from ..report import Report, Verdict

Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Probability | str
"""A probability; the name of an operating point of the model, whose threshold it means; or
``uncertain``, the lower end of the abstain band of the surface's operating point."""

_UNCERTAIN = "uncertain"


class Surface(StrEnum):
    """Where a recording comes from."""

    LIVE = "live"
    MESSAGE = "message"
    UPLOAD = "upload"


class Action(StrEnum):
    """What is to be done, from the mildest to the strictest."""

    PASS = "pass"
    LABEL = "label"  # mark as suspected synthetic
    REVIEW = "review"
    BLOCK = "block"


class SurfacePolicy(BaseModel):
    """The rules of one surface; see the module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operating_point: str = "balanced"
    label_from: Threshold | None = None
    review_from: Threshold | None = "balanced"
    block_from: Threshold | None = None
    novelty_review_from: Probability | None = None
    inconclusive: Literal["pass", "label", "review", "block"] = "pass"
    alert_windows: Annotated[int, Field(ge=1, le=600)] = 3
    alert_of: Annotated[int, Field(ge=1, le=600)] = 5

    @model_validator(mode="after")
    def _alert_is_possible(self) -> Self:
        if self.alert_windows > self.alert_of:
            raise ValueError("alert_windows must not exceed alert_of")
        return self


class PolicyFile(BaseModel):
    """All surfaces; one that is not named has the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    dry_run: bool = False
    surfaces: Mapping[Surface, SurfacePolicy] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read a policy file; the defaults without one.

        Raises
        ------
        ConfigError
            If it cannot be read, is no TOML, or holds something unknown.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{where}: {first['msg']}", name=str(path)) from error

    @property
    def sha256(self) -> str:
        """Of what the file says, whatever its layout."""
        said = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class Decision:
    """What is to be done with a recording.

    Attributes
    ----------
    action : Action
        By the rules.
    dry_run : bool
        Whether it is only recorded.
    """

    action: Action
    dry_run: bool

    @property
    def needs_review(self) -> bool:
        """Whether people are to look at it."""
        return self.action in (Action.REVIEW, Action.BLOCK) and not self.dry_run


class Rules:
    """A policy file for one model: names of operating points resolved, ready to decide.

    Parameters
    ----------
    file : PolicyFile
        What the platform wants.
    operating_points : mapping
        Of the model, by name.

    Raises
    ------
    ConfigError
        If the model has no operating point of a name in the file.
    """

    def __init__(self, file: PolicyFile, operating_points: Mapping[str, OperatingPoint]) -> None:
        self.file = file
        self.sha256 = file.sha256
        self.surfaces = {
            surface: file.surfaces.get(surface, SurfacePolicy()) for surface in Surface
        }
        self._points = operating_points
        self._ladders = {
            surface: self._ladder(surface, policy) for surface, policy in self.surfaces.items()
        }
        self.operating_points = {
            surface: self._point(policy.operating_point, surface)
            for surface, policy in self.surfaces.items()
        }

    def _point(self, name: str, surface: Surface) -> OperatingPoint:
        if name not in self._points:
            raise ConfigError(
                f"the model has no operating point {name!r}",
                name=f"surfaces.{surface}",
                hint=f"it has {', '.join(self._points)}",
            )
        return self._points[name]

    def _ladder(self, surface: Surface, policy: SurfacePolicy) -> list[tuple[float, Action]]:
        """Return thresholds and actions, the strictest action and so the highest one first."""
        ladder = []
        for action, threshold in (
            (Action.BLOCK, policy.block_from),
            (Action.REVIEW, policy.review_from),
            (Action.LABEL, policy.label_from),
        ):
            if threshold == _UNCERTAIN:
                threshold = self._point(policy.operating_point, surface).authentic_below
            elif isinstance(threshold, str):
                threshold = self._point(threshold, surface).threshold
            if threshold is not None:
                ladder.append((threshold, action))
        if ladder != sorted(ladder, key=lambda step: -step[0]):
            raise ConfigError(
                "a stricter action has a lower threshold than a milder one",
                name=f"surfaces.{surface}",
                hint="let label_from <= review_from <= block_from",
            )
        return ladder

    def decide(self, surface: Surface, report: Report) -> Decision:
        """Say what is to be done with a recording.

        Parameters
        ----------
        surface : Surface
            Where it comes from.
        report : Report
            What was heard.
        """
        policy = self.surfaces[surface]
        if report.verdict is Verdict.INCONCLUSIVE or report.p_synthetic is None:
            return self._decision(Action(policy.inconclusive))
        action = self.action_at(surface, report.p_synthetic)
        strange = policy.novelty_review_from
        if strange is not None and report.novelty is not None and report.novelty >= strange:
            action = max(action, Action.REVIEW, key=list(Action).index)
        # Some seconds in a row that reach the threshold are a matter for people, whatever the
        # rest of the recording sounds like.
        if "mixed_segments" in report.warnings and policy.review_from is not None:
            action = max(action, Action.REVIEW, key=list(Action).index)
        return self._decision(action)

    def action_at(self, surface: Surface, p_synthetic: float) -> Action:
        """Return the strictest action whose threshold a probability reaches."""
        reached = (action for from_p, action in self._ladders[surface] if p_synthetic >= from_p)
        return next(reached, Action.PASS)

    def _decision(self, action: Action) -> Decision:
        return Decision(action, self.file.dry_run)

    def identity(self) -> dict[str, Any]:
        """Return what stands beside each decision: version and hash."""
        return {
            "version": self.file.version,
            "sha256": self.sha256,
            "dry_run": self.file.dry_run,
        }
