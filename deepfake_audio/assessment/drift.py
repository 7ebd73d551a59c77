"""Reports of a deployment: what has shifted since before, and how often there was no verdict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..evaluation.monitoring import monitor
from ..evaluation.report_files import FAILED, ReportRow, read_reports
from ..report import Verdict
from .cells import Cell, amount, rate
from .config import Reports, ScoreFile
from .evidence import Evidence, Source
from .scored import duration_bins

SCHEMA = "deepfake_audio.monitoring/1"

_UNDECIDED = (Verdict.UNCERTAIN, Verdict.INCONCLUSIVE)


def drift_facts(reports: Reports, root: Path) -> dict[str, Any]:
    """Compare the current reports with those of before, and count the current ones.

    Parameters
    ----------
    reports : Reports
        Files or folders of both.
    root : Path
        Where their paths start.
    """
    # Recordings to listen to are for the people in service; names have no place in a report.
    found = monitor(
        read_reports(root / path for path in reports.reference),
        read_reports(root / path for path in reports.current),
        sample=0,
    )
    facts: dict[str, Any] = json.loads(found.to_json())
    current = read_reports(root / path for path in reports.current)
    return facts | {"counted": _counted(current)}


def _counted(rows: Iterable[ReportRow]) -> dict[str, dict[str, int]]:
    """Count verdicts of the current reports, overall and by length."""
    bins = list(duration_bins(ScoreFile("").duration_edges_s))
    counts: dict[str, Counter[str]] = {"all": Counter(), **{name: Counter() for name, *_ in bins}}
    for row in rows:
        names = ["all"]
        if row.duration_s is not None:
            names += [name for name, low, high in bins if low <= row.duration_s < high]
        for name in names:
            counts[name]["total"] += row.verdict != FAILED
            counts[name]["failed"] += row.verdict == FAILED
            counts[name]["undecided"] += row.verdict in _UNDECIDED
    return {name: dict(count) for name, count in counts.items() if count}


def drift_cells(evidence: Evidence, source: Source) -> Iterator[Cell]:
    """Make the cells of a comparison, as ``deepfake-audio monitor --json`` writes it too."""
    values = evidence.read(source.ref)
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise DatasetError(f"is no {SCHEMA} file", name=source.path, hint="check `monitors`")
    shifted = sum(shift["shifted"] for shift in values["shifts"])
    yield amount(("drift", "overall", "reports"), shifted, source.ref / "shifts", source)
    for name, count in values.get("counted", {}).items():
        where = ("overall", "reports") if name == "all" else ("duration", name)
        place = source.ref / "counted" / name / "undecided"
        if count["total"]:
            yield rate(("abstention", *where), count["undecided"], count["total"], place, source)
