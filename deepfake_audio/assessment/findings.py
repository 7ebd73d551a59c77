"""Cells above their targets, and the log of what became of them.

The log is a JSON file that is only ever added to. A finding opens with the first measurement above
its target. It closes by a later one at or under the target and by nothing else: the same
measurement read again, an older file, or a target that was moved do not close it. Above its target
once more it opens again, under the number that it had.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .cells import Cell
from .config import AssessmentConfig, FindingsChoice, Plan, Targets

SCHEMA = "deepfake_audio.rectification/1"
LOG = "rectification.json"

OPEN, CLOSED, REOPENED = "open", "closed", "reopened"
GRAVE = ("audit",)
"""Measures whose findings are never less than severe."""

MUCH = 2.0
"""So many times its target is severe, if chance does not explain it; of a rate, half the way from
the target to 1 is, too."""


@dataclass(frozen=True)
class Judged:
    """A cell against its target.

    Attributes
    ----------
    cell : Cell
    target : float
    enough : bool
        Whether the rate is of enough recordings to judge by.
    """

    cell: Cell
    target: float
    enough: bool

    @property
    def above(self) -> bool:
        """Whether it is a finding."""
        return self.enough and self.cell.value > self.target

    @property
    def unproven(self) -> bool:
        """Whether it is under its target, and chance might explain that."""
        high = self.cell.high
        return self.enough and not self.above and high is not None and high > self.target

    @property
    def severity(self) -> str:
        """How grave it is: chance that might explain it makes it low, much of it high."""
        cell = self.cell
        if cell.measure in GRAVE:
            return "high"
        if cell.low is not None and cell.low <= self.target:
            return "low"
        much = MUCH * self.target
        if cell.n is not None:  # a rate, which cannot be far above a target that is not small
            much = min(much, (1 + self.target) / 2)
        return "high" if self.target and cell.value >= much else "medium"


def judge(cells: Sequence[Cell], targets: Targets) -> list[Judged]:
    """Hold cells against their targets."""
    return [
        Judged(
            cell,
            targets.of(cell.measure, cell.axis, cell.group),
            cell.n is None or cell.n >= targets.min_clips,
        )
        for cell in cells
    ]


class Log:
    """The rectification log.

    Parameters
    ----------
    path : Path
        A new file, or that of the assessments before.

    Raises
    ------
    DatasetError
        If it is no such log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[dict[str, Any]] = []
        if not path.exists():
            return
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["schema"] != SCHEMA:
                raise ValueError(f"schema {values['schema']!r}")
            self.findings = values["findings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"is no rectification log ({error})", name=path.name, hint="restore it, or move it"
            ) from error

    def update(self, judged: Sequence[Judged], config: AssessmentConfig, moment: datetime) -> None:
        """Take in what was measured now, and who is to see to it."""
        by_key = {finding["key"]: finding for finding in self.findings}
        for finding in self.findings:
            finding["measured_now"] = False
        for each in judged:
            known = by_key.get(each.cell.key)
            if known is None and not each.above:
                continue
            finding = known or self._begin(each, moment)
            finding["measured_now"] = each.enough
            if each.enough:
                _record(finding, each, moment)
        for finding in self.findings:
            finding |= _care(finding, config.findings)

    def _begin(self, each: Judged, moment: datetime) -> dict[str, Any]:
        cell = each.cell
        finding: dict[str, Any] = {
            "number": f"F{len(self.findings) + 1}",
            "key": cell.key,
            "measure": cell.measure,
            "axis": cell.axis,
            "group": cell.group,
            "opened_at": _stamp(moment),
            "state": OPEN,
            "severity": each.severity,
            "measurements": [],
        }
        self.findings.append(finding)
        return finding

    def save(self) -> dict[str, Any]:
        """Write the log, whole or not at all, and return what was written."""
        states = [finding["state"] for finding in self.findings]
        values = {
            "schema": SCHEMA,
            "summary": {
                "total": len(states),
                "open": sum(state != CLOSED for state in states),
                "closed": states.count(CLOSED),
                "high": sum(
                    finding["severity"] == "high" and finding["state"] != CLOSED
                    for finding in self.findings
                ),
            },
            "findings": self.findings,
        }
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        beginning = self.path.with_suffix(".part")
        beginning.write_text(text, encoding="utf-8")
        beginning.replace(self.path)
        return values


def _record(finding: dict[str, Any], each: Judged, moment: datetime) -> None:
    """Add a measurement to a finding, unless it is there already or older than the last."""
    cell, before = each.cell, finding["measurements"]
    last = before[-1] if before else None
    same = last is not None and (last["evidence_sha256"], last["threshold"]) == (
        cell.origin_sha256,
        cell.threshold,
    )
    older = last is not None and cell.measured_at < last["measured_at"]
    # A target that became stricter opens a finding again, without anything measured anew.
    stricter = same and each.above and finding["state"] == CLOSED
    if (same or older) and not stricter:
        return
    state = CLOSED
    if each.above:
        closed_before = any(measurement["state"] == CLOSED for measurement in before)
        state = REOPENED if closed_before else OPEN
        finding["severity"] = each.severity
    finding["state"] = state
    before.append(
        {
            "state": state,
            "recorded_at": _stamp(moment),
            "measured_at": cell.measured_at,
            "value": cell.value,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n,
            "target": each.target,
            "threshold": cell.threshold,
            "evidence": f"{cell.origin_file} {cell.origin.pointer}".rstrip(),
            "evidence_sha256": cell.origin_sha256,
        }
    )


def _care(finding: dict[str, Any], choice: FindingsChoice) -> dict[str, Any]:
    """Return who sees to a finding, how, and until when; None where nobody said."""
    plan = next((plan for plan in choice.plan if plan.cell == finding["key"]), Plan(""))
    due = plan.due
    days = choice.due_days.get(finding["severity"])
    if due is None and days is not None:
        due = date.fromisoformat(finding["opened_at"][:10]) + timedelta(days=days)
    return {
        "plan": plan.measure,
        "owner": plan.owner or choice.owner,
        "due": due.isoformat() if due else None,
    }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
