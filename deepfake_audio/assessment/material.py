"""Everything that an assessment rests on, gathered once and written down before a word is said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ConfigError, DatasetError
from ..evaluation.report_files import report_files
from . import running
from .cells import Cell, Note, evaluation_cells, latest, robustness_cells
from .config import AssessmentConfig, ScoreFile
from .drift import drift_cells, drift_facts
from .drilled import add_drill, drill_cells
from .evidence import Evidence, Ref, Source
from .findings import LOG, Judged, Log, judge
from .gaps import Found, Gap, find_gaps
from .scored import score_cells, trade_off
from .service import service_cells, service_facts
from .subject import Subject, load_subject

CELLS_SCHEMA = "deepfake_audio.assessed_cells/1"


@dataclass(frozen=True)
class Material:
    """What was found.

    Attributes
    ----------
    config : AssessmentConfig
    subject : Subject
        The model.
    evidence : Evidence
        All sources.
    given, about, model, cells, log : Source
        The configuration, the run, the model, all cells, and the rectification log.
    service, drift, data_sheet : Source or None
    trade_off : Source or None
        Error rates by threshold, of the last score table.
    robustness, drills : tuple of Source
        In the order in which they were given.
    judged : tuple of Judged
        All cells, in the order of the source ``cells``.
    findings : dict
        What the log holds.
    gaps : tuple of Gap
        What is missing.
    """

    config: AssessmentConfig
    subject: Subject
    evidence: Evidence
    given: Source
    about: Source
    model: Source
    cells: Source
    log: Source
    service: Source | None
    drift: Source | None
    data_sheet: Source | None
    trade_off: Source | None
    robustness: tuple[Source, ...]
    drills: tuple[Source, ...]
    judged: tuple[Judged, ...]
    findings: dict[str, Any]
    gaps: tuple[Gap, ...]

    def place(self, judged: Judged) -> Ref:
        """Return where a cell lies."""
        return self.cells.ref / "cells" / self.judged.index(judged)

    def read(self, ref: Ref) -> Any:
        """Return what lies at a place."""
        return self.evidence.read(ref)


def gather(config: AssessmentConfig, name: str, out: Path, moment: datetime) -> Material:
    """Read and measure all there is, judge it, and bring the log up to date.

    Parameters
    ----------
    config : AssessmentConfig
    name : str
        Of its file.
    out : Path
        Folder of the report.
    moment : datetime
        Of the assessment.
    """
    command = f"deepfake-audio assess --config {name} --out {out.name or '.'}"
    evidence = Evidence(config.root, out)
    # May hold words that people sign for, and no secrets: it is kept as it is.
    toml = evidence.add(name, None)
    given = evidence.make("configuration.json", config.to_dict(), command, [toml])
    stamp = moment.astimezone(UTC).isoformat(timespec="seconds")
    about = evidence.make(
        "run.json", {"assessed_at": stamp, "version": __version__, "command": command}, command
    )
    subject = load_subject(config.model, config.root)
    model = evidence.make("model.json", subject.facts, command, [toml])
    sheet = subject.data_sheet
    data_sheet = None
    if sheet:
        # Where models lie on this machine is nobody's matter.
        shown = config.model.data_sheet or f"models/{subject.identity.name}/{sheet.name}"
        data_sheet = evidence.add(os.path.relpath(sheet, config.root), shown=shown)
    reader = _Reader(config, subject, evidence, command)
    reader.read()
    cells = latest(reader.cells)
    judged = tuple(judge(cells, config.targets))
    found = Found(
        cells=cells,
        notes=reader.notes,
        service=None if reader.service is None else evidence.read(reader.service.ref),
        robustness=bool(reader.robustness),
        drill=bool(reader.drills),
        data_sheet=data_sheet is not None,
        sources=tuple(evidence.sources.values()),
    )
    gaps = tuple(find_gaps(config, found))
    table = evidence.make("cells.json", _written(judged, gaps), command, reader.used)
    log, findings = _log(config, evidence, judged, command, table, moment)
    return Material(
        config, subject, evidence, given, about, model, table, log,
        reader.service, reader.drift, data_sheet, reader.trade_off, tuple(reader.robustness),
        tuple(reader.drills), judged, findings, gaps,
    )  # fmt: skip


class _Reader:
    """Turns what the configuration names into sources and cells."""

    def __init__(
        self, config: AssessmentConfig, subject: Subject, evidence: Evidence, command: str
    ) -> None:
        self.config, self.subject, self.evidence = config, subject, evidence
        self.command = command
        self.cells: list[Cell] = []
        self.notes: list[Note] = []
        self.used: list[Source] = []
        self.robustness: list[Source] = []
        self.drills: list[Source] = []
        self.service: Source | None = None
        self.drift: Source | None = None
        self.trade_off: Source | None = None

    def read(self) -> None:
        """Read everything, what is most exact last: it counts where two say the same."""
        config, evidence, point = self.config, self.evidence, self.subject.point
        for each in config.evaluations:
            source = evidence.add(each.file, each.command)
            if self._is_about_the_model(source):
                self._take(source, evaluation_cells(evidence, source, point.threshold))
        for each in config.robustness:
            source = evidence.add(each.file, each.command)
            if self._is_about_the_model(source):
                self.robustness.append(source)
                self._take(source, robustness_cells(evidence, source, point.threshold))
        for score in config.scores:
            sources = [evidence.add(score.file, score.command)]
            sources += (
                [evidence.add(score.metadata, score.metadata_command)] if score.metadata else []
            )
            if self._is_of_the_model(sources[0], score.model):
                self._score(score, sources)
        for each in config.drills:
            protocol, scores = add_drill(evidence, each)
            if self._is_about_the_model(protocol):
                self.drills.append(protocol)
                self.used.append(protocol)
                self._take(scores, drill_cells(evidence, scores, point.threshold))
        measured = running.run(config.run, config.model, evidence)
        if measured.scores:
            assert measured.scores.copy is not None
            file = os.path.relpath(evidence.out / measured.scores.copy, evidence.root)
            self._score(ScoreFile(file), [measured.scores])
        if measured.robustness:
            self.robustness.append(measured.robustness)
            found = robustness_cells(evidence, measured.robustness, point.threshold)
            self._take(measured.robustness, found)
        self._read_service()
        self._read_drift()

    def _score(self, score: ScoreFile, sources: list[Source]) -> None:
        point = self.subject.point
        found = score_cells(
            self.evidence, score, tuple(sources), point.threshold, point.authentic_below
        )
        self.used += sources[1:]
        self._take(sources[0], found)
        if curve := trade_off(self.evidence, score):
            moment = datetime.fromisoformat(sources[0].modified_at)
            self.trade_off = self.evidence.make(
                "trade_off.json", curve, self.command, sources[:1], moment=moment
            )

    def _read_service(self) -> None:
        choice = self.config.service
        if choice.settings is None:
            return
        # Settings may hold secrets: their hash stands for them.
        made_from = [self.evidence.add(choice.settings, copy=False)]
        made_from += [self.evidence.add(choice.policy)] if choice.policy else []
        made_from += [self.evidence.add(choice.audit_head)] if choice.audit_head else []
        facts = service_facts(choice, self.config.root)
        self.service = self.evidence.make("service.json", facts, self.command, made_from)
        self._take(self.service, service_cells(facts, self.service))
        for model in facts["detections"]["models"]:
            if not self._is_known(model):
                self.notes.append(Note(self.service, "service_model", model))

    def _read_drift(self) -> None:
        config, evidence = self.config, self.evidence
        for each in config.monitors:
            self.drift = evidence.add(each.file, each.command)
            self._take(self.drift, drift_cells(evidence, self.drift))
        if config.reports.reference:
            reference, current = (
                [source for path in paths for source in self._reports(path)]
                for paths in (config.reports.reference, config.reports.current)
            )
            facts = drift_facts(config.reports, config.root)
            # Reports of last year read today are no new measurement.
            moment = datetime.fromisoformat(max(source.modified_at for source in current))
            self.drift = evidence.make(
                "drift.json", facts, self.command, [*reference, *current], moment=moment
            )
            self._take(self.drift, drift_cells(evidence, self.drift))

    def _reports(self, path: str) -> Iterator[Source]:
        """Take in files of reports, which hold the names of recordings: by their hashes."""
        for file in report_files(self.config.root / path):
            shown = path if file == self.config.root / path else f"{path.rstrip('/')}/{file.name}"
            yield self.evidence.add(shown, self.config.reports.command, copy=False)

    def _take(self, source: Source, found: Iterator[Cell | Note] | Iterator[Cell]) -> None:
        self.used.append(source)
        try:
            for each in found:
                if isinstance(each, Note):
                    self.notes.append(each)
                else:
                    self.cells.append(each)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise DatasetError(
                f"is not what its command writes ({type(error).__name__}: {error})",
                name=source.path,
                hint="make it again",
            ) from error

    def _is_about_the_model(self, source: Source) -> bool:
        values = self.evidence.read(source.ref)
        about = values.get("about", {}) if isinstance(values, dict) else {}
        return self._is_of_the_model(source, about.get("model"))

    def _is_of_the_model(self, source: Source, said: str | None) -> bool:
        if said is None:
            self.notes.append(Note(source, "model_unsaid", ""))
        elif not self._is_known(said):
            self.notes.append(Note(source, "other_model", str(said)))
            return False
        return True

    def _is_known(self, model: str) -> bool:
        return model in (str(self.subject.identity), *self.config.model.same_as)


def _written(judged: Sequence[Judged], gaps: Sequence[Gap]) -> dict[str, Any]:
    """Return all cells with their targets, and what is missing."""
    return {
        "schema": CELLS_SCHEMA,
        "summary": {
            "judged": sum(each.enough for each in judged),
            "above": sum(each.above for each in judged),
            "few": sum(not each.enough for each in judged),
            "missing": len(gaps),
        },
        "cells": [
            {**each.cell.to_dict(), "target": each.target, "judged": each.enough,
             "above": each.above, "unproven": each.unproven}
            for each in judged
        ],
        "gaps": [gap.to_dict() for gap in gaps],
    }  # fmt: skip


def _log(
    config: AssessmentConfig,
    evidence: Evidence,
    judged: Sequence[Judged],
    command: str,
    cells: Source,
    moment: datetime,
) -> tuple[Source, dict[str, Any]]:
    """Bring the rectification log up to date; returns it as a source, and what it holds."""
    named = config.findings.log
    path = config.root / named if named else evidence.out / LOG
    log = Log(path)
    log.update(judged, config, moment.astimezone(UTC))
    try:
        findings = log.save()
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name="findings.log") from error
    if named:
        return evidence.add(named, command), findings
    return evidence.made(path, command, [cells], copy=False), findings
