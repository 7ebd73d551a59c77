"""Measurements that the assessment makes itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile
from scipy.stats import binomtest
from sounds import make_speech

from deepfake_audio.assessment import assess
from deepfake_audio.assessment.cells import wilson
from deepfake_audio.errors import DatasetError

from .test_report import check_every_number

TOML = """\
languages = ["en"]
[model]
name = "unittest"
[run]
data = ["clips"]
conditions = ["clean", "a-law"]
[targets]
min_clips = 2
"""


def test_what_the_appendix_shows_is_what_was_run(tmp_path: Path) -> None:
    for index in range(6):
        path = tmp_path / "clips" / ("bonafide" if index % 2 else "spoof") / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, make_speech(1.5, index), 16_000)
    config, out = tmp_path / "assessment.toml", tmp_path / "out"
    config.write_text(TOML)
    result = assess(config, out)
    keys = {judged.cell.key for judged in result.material.judged}
    assert {"miss/overall/all", "miss/codec/a-law", "false_positive/condition/clean"} <= keys
    commands = {source.command for source in result.material.evidence.sources.values()}
    options = "--data clips --model unittest --policy balanced --quiet"
    assert f"deepfake-audio evaluate {options} --out evidence/evaluation" in commands
    assert (
        f"deepfake-audio robustness {options} --condition clean --condition a-law "
        "--out evidence/robustness.json" in commands
    )
    assert check_every_number(out) > 100


def test_a_run_that_fails_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*command: Any, **given: Any) -> Any:
        return subprocess.CompletedProcess(command, 4, "", "note\nclips: no such folder\n")

    monkeypatch.setattr("deepfake_audio.assessment.running.subprocess.run", fail)
    config = tmp_path / "assessment.toml"
    config.write_text(TOML)
    with pytest.raises(DatasetError, match=r"run: `deepfake-audio evaluate .*` failed: clips: no"):
        assess(config, tmp_path / "out")


@pytest.mark.parametrize(("errors", "n"), [(0, 10), (10, 10), (1, 2), (15, 60), (3, 2000)])
def test_wilson(errors: int, n: int) -> None:
    expected = binomtest(errors, n).proportion_ci(method="wilson")
    assert wilson(errors, n) == pytest.approx(tuple(expected), abs=1e-12)
