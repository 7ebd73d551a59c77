"""Rates of groups belong to the threshold that they were measured at, and to no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_audio.assessment.cells import Cell, Note, evaluation_cells
from deepfake_audio.assessment.evidence import Evidence
from deepfake_audio.config import Policy
from deepfake_audio.evaluation import evaluate_scores

from . import demo

LOW, HIGH = Policy("recall", 0.3, 0.2), Policy("balanced", 0.7, 0.2)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("asked", [LOW, HIGH])
def test_groups_are_judged_where_they_were_measured(
    asked: Policy, older: bool, tmp_path: Path
) -> None:
    table = demo.scores(HIGH, missed=0.25, seed=7)
    # Newer files say so; older ones took `balanced`, wherever it stood.
    measured = HIGH if older else LOW
    order = [measured, HIGH if measured is LOW else LOW]
    values = json.loads(evaluate_scores(table, order, n_bootstrap=0).to_json())
    if older:
        del values["settings"]["breakdown_threshold"]
        values["policies"].reverse()
    (tmp_path / "metrics.json").write_text(json.dumps(values))
    evidence = Evidence(tmp_path, tmp_path / "out")
    source = evidence.add("metrics.json", "deepfake-audio evaluate")
    found = list(evaluation_cells(evidence, source, asked.threshold))
    groups = [
        cell
        for cell in found
        if isinstance(cell, Cell) and cell.axis in ("family", "language", "channel")
    ]
    notes = [note for note in found if isinstance(note, Note)]
    assert bool(groups) is (asked is measured)
    assert bool(notes) is (asked is not measured)
