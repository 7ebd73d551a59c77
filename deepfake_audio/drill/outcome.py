"""What a drill has shown: scores, a protocol of how they came about, and a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..augment.sets import MANIFEST, save_table
from ..errors import ConfigError, DatasetError
from ..evaluation.table import ScoreTable, score_table_from_reports
from ..report import Report
from .asking import Answer
from .engines import Skipped
from .given import OWN
from .making import AS_MADE, SPLICE, Plan, Recording, RedTeamSet

SCHEMA = "deepfake_audio.drill/1"
PROTOCOL = "drill.json"
SCORES = "scores.csv"

AXES = ("family", "system", "condition", "surface")
"""By what a drill is counted."""

_ADDED = ("codec", "noise", "surface", "duration_s", "version", "original", "action", "threshold")
_PASS = "pass"


@dataclass(frozen=True)
class Heard:
    """A recording, and what was said about it."""

    recording: Recording
    answer: Answer

    @property
    def report(self) -> Report | None:
        """The report, if it was scored."""
        report = self.answer.report
        return report if isinstance(report, Report) and report.p_synthetic is not None else None

    @property
    def flagged(self) -> bool:
        """Whether its probability reaches the threshold of the operating point."""
        report = self.report
        if report is None or report.p_synthetic is None:
            return False
        return report.p_synthetic >= report.policy.threshold

    @property
    def acted_on(self) -> bool:
        """Whether the policy did more than let it pass."""
        return self.answer.action not in ("", _PASS)


@dataclass(frozen=True)
class Row:
    """Counts of one group of scored recordings.

    Attributes
    ----------
    axis, group : str
    synthetic, found, synthetic_acted_on : int
    genuine, flagged, genuine_acted_on : int
    """

    axis: str
    group: str
    synthetic: int
    found: int
    synthetic_acted_on: int
    genuine: int
    flagged: int
    genuine_acted_on: int


def groups_of(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield axis and group of each group that a row of a score table belongs to.

    Attacks are told apart over recordings that went through nothing, and conditions over those
    that are synthetic as a whole: each is a matter of its own.
    """
    if row["version"] == AS_MADE and row["family"]:
        yield "family", row["family"]
    if row["family"] != SPLICE:
        if row["version"] == AS_MADE and row["system"]:
            yield "system", row["system"]
        yield "condition", row["version"]
    yield "surface", row["surface"]


def count(heard: Sequence[Heard]) -> list[Row]:
    """Count by attack, by condition and by surface."""
    groups: dict[tuple[str, str], list[Heard]] = {}
    for each in heard:
        if each.report is not None:
            for name in groups_of(each.recording.row()):
                groups.setdefault(name, []).append(each)
    ordered = sorted(groups, key=lambda name: AXES.index(name[0]))
    return [_row(*name, groups[name]) for name in ordered]


def _row(axis: str, group: str, heard: Sequence[Heard]) -> Row:
    synthetic = [each for each in heard if each.recording.clip.is_synthetic]
    genuine = [each for each in heard if not each.recording.clip.is_synthetic]
    return Row(axis, group, *_counts(synthetic), *_counts(genuine))


def _counts(heard: Sequence[Heard]) -> tuple[int, int, int]:
    flagged = sum(each.flagged for each in heard)
    return len(heard), flagged, sum(each.acted_on for each in heard)


def table(rows: Sequence[Row]) -> str:
    """Return counts as text for people."""
    acted_on = any(row.synthetic_acted_on or row.genuine_acted_on for row in rows)
    header = ["", "synthetic", "found", "genuine", "flagged"]
    header += ["synthetic acted on", "genuine acted on"] if acted_on else []
    lines = [header]
    for row in rows:
        line = [
            f"{row.axis} {row.group}",
            *_share(row.synthetic, row.found),
            *_share(row.genuine, row.flagged),
        ]
        if acted_on:
            line += [str(row.synthetic_acted_on), str(row.genuine_acted_on)]
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _share(n: int, k: int) -> tuple[str, str]:
    return (str(n), f"{k} ({100 * k / n:.0f} %)") if n else ("-", "-")


def write_scores(path: Path, heard: Sequence[Heard]) -> None:
    """Write the table of scores, with all that is known of each recording."""
    rows = [each.recording.row() for each in heard]
    scores = score_table_from_reports(rows, [each.answer.report for each in heard])
    columns = {name: getattr(scores, name).tolist() for name in ScoreTable.columns()}

    def lines() -> Iterator[dict[str, Any]]:
        for i, (row, each) in enumerate(zip(rows, heard, strict=True)):
            report = each.answer.report
            said = {name: values[i] for name, values in columns.items()}
            yield {
                **{name: "" if value != value else value for name, value in said.items()},
                **{name: row[name] for name in _ADDED if name in row},
                "action": each.answer.action,
                "threshold": report.policy.threshold if isinstance(report, Report) else "",
            }

    save_table(path, (*ScoreTable.columns(), *_ADDED), lines())


def write_protocol(
    made: RedTeamSet,
    heard: Sequence[Heard],
    plan: Plan,
    skipped: Sequence[Skipped] = (),
    *,
    command: str,
    deployment: str,
) -> dict[str, Any]:
    """Write scores and protocol beside the set, and return what the protocol says.

    Parameters
    ----------
    made : RedTeamSet
    heard : sequence of Heard
        All of it, in order.
    plan : Plan
        What it was made of.
    skipped : sequence of Skipped
        What was not even tried.
    command : str
        Does all of this again.
    deployment : str
        Who was asked.

    Raises
    ------
    DatasetError
        If nothing was scored, or not all by one model.
    """
    reports = [each.answer.report for each in heard if isinstance(each.answer.report, Report)]
    models = {str(report.model) for report in reports}
    if len(models) != 1:
        raise DatasetError(
            f"were scored by {len(models)} models", name="recordings of the drill",
            hint="promote no model while a drill runs" if models else "see what the service says",
        )  # fmt: skip
    try:
        write_scores(made.folder / SCORES, heard)
        protocol = {
            "schema": SCHEMA,
            "about": _about(heard, plan, models.pop(), command, deployment),
            "counts": _totals(made, heard),
            "tools": _tools(made, plan),
            "skipped": [asdict(each) for each in (*skipped, *made.skipped)],
            "rows": [asdict(row) for row in count(heard)],
            "commands": made.commands,
            "files": _files(made),
        }
        text = json.dumps(protocol, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (made.folder / PROTOCOL).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(made.folder)) from error
    return protocol


def _about(
    heard: Sequence[Heard], plan: Plan, model: str, command: str, deployment: str
) -> dict[str, Any]:
    policies = [each.answer.policy for each in heard if each.answer.policy]
    thresholds = {
        each.recording.surface: each.report.policy.threshold for each in heard if each.report
    }
    return {
        "model": model,
        "seed": plan.seed,
        "command": command,
        "deployment": deployment,
        "policy": dict(policies[0]) if policies else None,
        "thresholds": thresholds,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }


def _totals(made: RedTeamSet, heard: Sequence[Heard]) -> dict[str, int]:
    scored = [each for each in heard if each.report]
    genuine = [each for each in made.recordings if not each.clip.is_synthetic]
    return {
        "genuine": sum(not each.recording.clip.is_synthetic for each in scored),
        "synthetic": sum(each.recording.clip.is_synthetic for each in scored),
        "genuine_originals": sum(each.version == AS_MADE for each in genuine),
        "without_score": len(heard) - len(scored),
    }


def _tools(made: RedTeamSet, plan: Plan) -> list[dict[str, Any]]:
    engines = [(each.name, each.version, "tts") for each in plan.engines]
    vocoders = [(name, __version__, "vocoder") for name in plan.vocoders]
    own = [(name, "", OWN) for name in made.own_systems]
    return [
        {"name": name, "version": version, "kind": kind, "recordings": _number(made, name)}
        for name, version, kind in (*engines, *vocoders, *own)
    ]


def _number(made: RedTeamSet, system: str) -> int:
    """Count what a system made: a splice names whose stretch it holds, and is none of these."""
    return sum(
        each.clip.system == system and each.version == AS_MADE and each.clip.family != SPLICE
        for each in made.recordings
    )


def _files(made: RedTeamSet) -> dict[str, str]:
    """Return the hash of each file, by its path."""
    paths = [each.clip.path for each in made.recordings]
    paths += [made.folder / MANIFEST, made.folder / SCORES]
    return {
        path.relative_to(made.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }
