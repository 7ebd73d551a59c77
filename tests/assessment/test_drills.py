"""A hazard that a drill shows becomes a finding, and closes when a later drill is under target."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepfake_audio.assessment import AssessmentConfig, assess
from deepfake_audio.assessment.material import gather
from deepfake_audio.cli.tools import app
from deepfake_audio.errors import DatasetError

from . import demo
from .test_report import check_every_number

pytest.importorskip("av")

KEY = "miss/drill/system=lpc"
CONFIG = """
[model]
name = "unittest"
threshold = {threshold}
[[drills]]
file = "{folder}/drill.json"
[targets]
min_clips = 2
"""


def drill(out: Path, seed: int) -> list[float]:
    """Drill the untrained model with one vocoder; returns what it says of the copies."""
    few = ["--clips", "2", "--vocoder", "lpc", "--condition", "a-law", "--engine", "piper"]
    arguments = ["drill", "--out", str(out), "--seed", str(seed), "--model", "unittest", *few]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row["p_synthetic"]) for row in rows if row["system"] == "lpc"]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("drills")
    scores = drill(folder / "first", 1) + drill(folder / "second", 2)
    demo.make_later(folder / "second" / "scores.csv", 60)
    return folder, scores


def judged(folder: Path, out: Path, threshold: float, name: str) -> dict[str, Any]:
    config = folder / "assessment.toml"
    config.write_text(CONFIG.format(threshold=repr(threshold), folder=name))
    out.mkdir(exist_ok=True)
    material = gather(AssessmentConfig.load(config), config.name, out, datetime.now(UTC))
    found = material.findings["findings"]
    return next(finding for finding in found if finding["key"] == KEY)


def test_a_finding_opens_and_closes(drilled: tuple[Path, list[float]], tmp_path: Path) -> None:
    folder, scores = drilled
    out = tmp_path / "out"
    missed = judged(folder, out, (1 + max(scores)) / 2, "first")
    assert (missed["state"], missed["measurements"][-1]["value"]) == ("open", 1.0)
    still = judged(folder, out, (1 + max(scores)) / 2, "second")
    assert (still["state"], len(still["measurements"])) == ("open", 2)
    closed = judged(folder, out, min(scores) / 2, "second")
    assert (closed["state"], closed["measurements"][-1]["value"]) == ("closed", 0.0)
    again = judged(folder, out, (1 + max(scores)) / 2, "first")
    assert again["state"] == "closed", "an older drill says nothing new"


def test_the_report_tells_of_it(drilled: tuple[Path, list[float]], tmp_path: Path) -> None:
    folder, _ = drilled
    judged(folder, tmp_path / "out", 0.999999, "first")
    assess(folder / "assessment.toml", tmp_path / "out")
    assert check_every_number(tmp_path / "out") > 100
    text = (tmp_path / "out" / "report.en.md").read_text()
    assert re.search(r"from the seed 1: \d+ genuine recordings, from 2 originals", text)
    assert "| piper | is not on the PATH |" in text or "| piper | no voice" in text
    assert "`deepfake-audio drill --out" in text
    assert "system=lpc" in text[text.index("Findings") :]
    assert "风险演练" in (tmp_path / "out" / "report.zh.md").read_text()


def test_a_drill_is_no_evaluation(drilled: tuple[Path, list[float]], tmp_path: Path) -> None:
    folder, _ = drilled
    judged(folder, tmp_path / "out", 0.999999, "first")
    [cells] = (tmp_path / "out" / "evidence").glob("cells.*.json")
    assert {cell["axis"] for cell in demo.read(cells)["cells"]} == {"drill"}


def test_scores_that_were_changed_are_refused(
    drilled: tuple[Path, list[float]], tmp_path: Path
) -> None:
    folder, _ = drilled
    for name in ("drill.json", "scores.csv"):
        (tmp_path / name).write_bytes((folder / "first" / name).read_bytes())
    config = tmp_path / "assessment.toml"
    config.write_text(CONFIG.format(threshold="0.5", folder="."))
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(DatasetError, match="changed since the drill"):
        assess(config, tmp_path / "out")
    (tmp_path / "drill.json").write_text("{}")
    with pytest.raises(DatasetError, match="no protocol of a drill"):
        assess(config, tmp_path / "out")
