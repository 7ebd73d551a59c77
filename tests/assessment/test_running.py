"""Measurements that the assessment makes itself; ``test_planted`` lets it make them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from deepfake_audio.assessment import assess
from deepfake_audio.assessment.cells import wilson
from deepfake_audio.errors import DatasetError

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
