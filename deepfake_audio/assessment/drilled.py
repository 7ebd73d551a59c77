"""Error rates of a hazard drill, counted from its scores at the threshold in force.

A drill is no sample of what a service hears: its cells have an axis of their own and never take
the place of those of an evaluation.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._files import remedy_of
from ..drill import AXES, PROTOCOL, SCHEMA, SCORES, groups_of
from ..errors import DatasetError
from ..evaluation.table import ScoreTable
from .cells import DRILL, Cell, rate
from .config import EvidenceFile
from .evidence import Evidence, Source


def add_drill(evidence: Evidence, given: EvidenceFile) -> tuple[Source, Source]:
    """Take in the protocol of a drill, and the scores beside it.

    Parameters
    ----------
    evidence : Evidence
    given : EvidenceFile
        The protocol; it knows its command itself.

    Raises
    ------
    DatasetError
        If it is no protocol, or the scores are not those that it tells of.
    """
    try:
        values = json.loads((evidence.root / given.file).read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']!r}")
        command, said = str(values["about"]["command"]), values["files"][SCORES]
    except OSError as error:
        raise DatasetError(
            f"cannot be read ({error.strerror})", name=given.file, hint=remedy_of(error)
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"is no protocol of a drill ({error})", name=given.file,
            hint=f"give the {PROTOCOL} that `deepfake-audio drill` wrote",
        ) from error  # fmt: skip
    command = given.command or command
    protocol = evidence.add(given.file, command)
    scores = evidence.add(str(Path(given.file).parent / SCORES), command)
    if scores.sha256 != said:
        raise DatasetError(
            f"was changed since the drill that {given.file} tells of", name=scores.path,
            hint="drill again",
        )  # fmt: skip
    return protocol, scores


def drill_cells(evidence: Evidence, scores: Source, threshold: float) -> Iterator[Cell]:
    """Count errors in the scores of a drill, by attack, condition and surface.

    Parameters
    ----------
    evidence : Evidence
    scores : Source
    threshold : float
        On ``p_synthetic``.
    """
    path = evidence.root / scores.path
    table = ScoreTable.read_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    counts: dict[tuple[str, str], dict[str, list[bool]]] = {}
    flagged = (table.p_synthetic >= threshold).tolist()
    for row, is_flagged, is_scored in zip(rows, flagged, table.has_score.tolist(), strict=True):
        if not is_scored:
            continue
        genuine = row["label"] == "bonafide"
        measure = "false_positive" if genuine else "miss"
        for name in groups_of(row):
            wrong = counts.setdefault(name, {}).setdefault(measure, [])
            wrong.append(is_flagged == genuine)
    for axis, group in sorted(counts, key=lambda name: AXES.index(name[0])):
        for measure, wrong in counts[axis, group].items():
            key = (measure, DRILL, f"{axis}={group}")
            yield rate(key, sum(wrong), len(wrong), scores.ref, scores, threshold)
