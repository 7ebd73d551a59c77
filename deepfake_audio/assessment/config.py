"""What is assessed, by which evidence, and what is aimed at: a typed TOML file."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from .._files import read_toml
from ..errors import ConfigError
from .tables import build

TEMPLATES = ("cn2018", "eu_ai_act_50", "neutral")
LANGUAGES = ("en", "zh")
SEVERITIES = ("high", "medium", "low")

Text = str | dict[str, str]
"""Words of the operator: the same in all reports, or by language."""


@dataclass(frozen=True)
class Scope:
    """What the operator says of the service; what is left out is shown as missing."""

    operator: Text | None = None
    service: Text | None = None
    function: Text | None = None
    deployment: Text | None = None
    location: Text | None = None
    users: Text | None = None
    licences: Text | None = None
    contact: Text | None = None


@dataclass(frozen=True)
class ModelChoice:
    """The model in service, and where it is operated.

    Attributes
    ----------
    name : str
        Released model, or a checkpoint file.
    operating_point : str
        Of the model; gives the threshold unless that is set.
    threshold : float or None
        On ``p_synthetic``.
    same_as : dict of str to str
        Other models whose measurements hold for this one, as evidence names them
        (``default 1.2.0 (9eb02271)``), and why.
    data_sheet : str or None
        File; the card beside the model by default.
    """

    name: str = "default"
    operating_point: str = "balanced"
    threshold: float | None = None
    same_as: dict[str, str] = field(default_factory=dict)
    data_sheet: str | None = None


@dataclass(frozen=True)
class ServiceChoice:
    """The service: its settings file, its policy file, and a head of its audit trail.

    Attributes
    ----------
    settings : str or None
        TOML file of ``deepfake-audio serve --config``; without it nothing is said of a service.
    policy : str or None
        That of the settings by default.
    audit_head : str or None
        File with what ``deepfake-audio audit head`` printed earlier and was kept elsewhere.
    """

    settings: str | None = None
    policy: str | None = None
    audit_head: str | None = None


@dataclass(frozen=True)
class EvidenceFile:
    """A file of measurements, and the command that made it."""

    file: str
    command: str | None = None


@dataclass(frozen=True)
class ScoreFile:
    """A score table as ``evaluate --out`` writes it, and what is known of its clips.

    Attributes
    ----------
    file : str
        CSV with ``id``, ``label``, ``llr_synthetic``; it may hold any of the columns below.
    command : str or None
        Made it.
    model : str or None
        Whose scores they are, as evidence names models: ``default 1.2.1 (0123abcd)``.
    metadata : str or None
        CSV with ``id`` and any of ``family``, ``language``, ``codec``, ``noise``, ``surface``,
        ``channel``, ``duration_s``.
    metadata_command : str or None
        Made that.
    duration_edges_s : tuple of float
        Ends of the bins of ``duration_s``.
    """

    file: str
    command: str | None = None
    model: str | None = None
    metadata: str | None = None
    metadata_command: str | None = None
    duration_edges_s: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Reports:
    """Files of reports: of before, and of now; and the command that makes such files."""

    reference: tuple[str, ...] = ()
    current: tuple[str, ...] = ()
    command: str | None = None


@dataclass(frozen=True)
class Run:
    """What is to be measured by the assessment itself.

    Attributes
    ----------
    data : tuple of str
        Labelled clips; empty: nothing is run, and files are read alone.
    split : str or None
    limit : int or None
        Only so many clips.
    conditions : tuple of str
        As for ``deepfake-audio robustness --condition``; empty: no robustness.
    """

    data: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Targets:
    """The most that is accepted of each measure; rates in [0, 1].

    Attributes
    ----------
    false_positive, miss : float
        Genuine clips flagged, synthetic clips not flagged, at the operating threshold.
    abstention, failure : float
        Recordings without a verdict either way; recordings that could not be scored.
    disagreement : float
        Reviewed recordings on which people contradicted the verdict.
    latency_p95_s : float
        Seconds from the submission to the decision, 95th percentile.
    drift : int
        Comparisons that may have shifted.
    audit : int
        Faults in the audit trail.
    min_clips : int
        A rate over fewer clips is shown, and judges nothing.
    cells : dict of str to float
        Targets of single cells or of groups of them, by ``measure/axis/group`` or the start of it.
    """

    false_positive: float = 0.05
    miss: float = 0.5
    abstention: float = 0.5
    failure: float = 0.02
    disagreement: float = 0.1
    latency_p95_s: float = 60.0
    drift: int = 0
    audit: int = 0
    min_clips: int = 20
    cells: dict[str, float] = field(default_factory=dict)

    def of(self, measure: str, axis: str, group: str) -> float:
        """Return the target of a cell: the most special one that is set."""
        for key in (f"{measure}/{axis}/{group}", f"{measure}/{axis}"):
            if key in self.cells:
                return self.cells[key]
        return float(getattr(self, measure))


@dataclass(frozen=True)
class Plan:
    """What is to be done about a finding, by whom, until when."""

    cell: str
    measure: Text | None = None
    owner: str | None = None
    due: datetime.date | None = None


@dataclass(frozen=True)
class FindingsChoice:
    """Who answers for findings, how soon, and where their log is kept.

    Attributes
    ----------
    log : str or None
        ``rectification.json`` in the folder of the report by default.
    owner : str or None
        Of findings that no plan names.
    due_days : dict of str to int
        By severity.
    plan : tuple of Plan
    """

    log: str | None = None
    owner: str | None = None
    due_days: dict[str, int] = field(default_factory=dict)
    plan: tuple[Plan, ...] = ()


@dataclass(frozen=True)
class Conclusion:
    """What the operator concludes, and who signs."""

    text: Text | None = None
    other: Text | None = None
    assessor: str | None = None
    approver: str | None = None


@dataclass(frozen=True)
class AssessmentConfig:
    """The whole file; paths in it start at its folder.

    Attributes
    ----------
    template : str
        One of :data:`TEMPLATES`.
    languages : tuple of str
        Of :data:`LANGUAGES`.
    pdf_font : str or None
        TrueType file with Chinese characters, embedded in the Chinese PDF; without it the reader's
        own Song typeface is used.
    controls : dict of str to Text
        Measures that nothing here can measure, as the operator describes them, by topic.
    root : Path
        Folder of the file.
    """

    template: str = "neutral"
    languages: tuple[str, ...] = LANGUAGES
    pdf_font: str | None = None
    scope: Scope = field(default_factory=Scope)
    model: ModelChoice = field(default_factory=ModelChoice)
    service: ServiceChoice = field(default_factory=ServiceChoice)
    controls: dict[str, Text] = field(default_factory=dict)
    evaluations: tuple[EvidenceFile, ...] = ()
    robustness: tuple[EvidenceFile, ...] = ()
    scores: tuple[ScoreFile, ...] = ()
    drills: tuple[EvidenceFile, ...] = ()
    monitors: tuple[EvidenceFile, ...] = ()
    reports: Reports = field(default_factory=Reports)
    run: Run = field(default_factory=Run)
    targets: Targets = field(default_factory=Targets)
    findings: FindingsChoice = field(default_factory=FindingsChoice)
    conclusion: Conclusion = field(default_factory=Conclusion)
    root: Path = Path()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        ConfigError
            If it cannot be read, or a key is unknown or its value not usable; names the key.
        """
        values = read_toml(path)
        if "root" in values:
            raise ConfigError("is no key of an assessment", name="root")
        config = dataclasses.replace(build(cls, values, ""), root=path.parent)
        config._check()
        return config

    def _check(self) -> None:
        _one_of("template", self.template, TEMPLATES)
        if not self.languages:
            raise ConfigError("names no language", name="languages")
        for language in self.languages:
            _one_of("languages", language, LANGUAGES)
        if self.model.threshold is not None and not 0 <= self.model.threshold <= 1:
            raise ConfigError("must lie in [0, 1]", name="model.threshold")
        targets = dataclasses.asdict(self.targets)
        own = targets.pop("cells")
        for name, value in (targets | {f"cells.{key}": at for key, at in own.items()}).items():
            if value < 0:
                raise ConfigError("must not be negative", name=f"targets.{name}")
        for key in own:
            known = tuple(targets)
            _one_of(f"targets.cells.{key}", key.partition("/")[0], known)
            if "/" not in key:
                raise ConfigError("needs measure/axis or more", name=f"targets.cells.{key}")
        for severity in self.findings.due_days:
            _one_of("findings.due_days", severity, SEVERITIES)
        for score in self.scores:
            if list(score.duration_edges_s) != sorted(set(score.duration_edges_s)):
                raise ConfigError("must rise", name="scores.duration_edges_s")
        if bool(self.reports.reference) != bool(self.reports.current):
            raise ConfigError(
                "needs reference and current", name="reports", hint="name files for both"
            )
        if self.run.conditions and not self.run.data:
            raise ConfigError("needs run.data", name="run.conditions")

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the folder as plain JSON types."""
        values = dataclasses.asdict(self)
        del values["root"]
        return dict(_plain(values))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"unknown: {value!r}", name=name, hint=f"use {', '.join(known)}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime.date) else value
