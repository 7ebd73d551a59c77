"""Measurements that the assessment makes itself, by the commands that its appendix then shows."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DatasetError
from .config import ModelChoice, Run
from .evidence import FOLDER, Evidence, Source

EVALUATION = f"{FOLDER}/evaluation"
ROBUSTNESS = f"{FOLDER}/robustness.json"

_SOME_UNREADABLE = 3


@dataclass(frozen=True)
class Measured:
    """Files that were made; None where nothing was measured."""

    scores: Source | None = None
    robustness: Source | None = None


def run(choice: Run, model: ModelChoice, evidence: Evidence) -> Measured:
    """Run ``evaluate`` and, if conditions are named, ``robustness``.

    They run in processes of their own, as they would by hand: what the appendix shows is what was
    done. Paths in the commands start at the folder of the configuration and, for what is written,
    at that of the report.

    Raises
    ------
    DatasetError
        If one of them fails; says what it said.
    """
    if not choice.data:
        return Measured()
    options = [word for path in choice.data for word in ("--data", path)]
    options += ["--model", model.name, "--policy", model.operating_point, "--quiet"]
    options += ["--split", choice.split] if choice.split else []
    options += ["--limit", str(choice.limit)] if choice.limit else []
    command = _command(["evaluate", *options], EVALUATION, evidence)
    scores = evidence.made(evidence.out / EVALUATION / "scores.csv", command)
    if not choice.conditions:
        return Measured(scores)
    named = [word for name in choice.conditions for word in ("--condition", name)]
    # Scores are counted at the threshold in force; what is counted there has to be told of it.
    own = [] if model.threshold is None else ["--threshold", repr(model.threshold)]
    command = _command(["robustness", *options, *own, *named], ROBUSTNESS, evidence)
    return Measured(scores, evidence.made(evidence.out / ROBUSTNESS, command))


def _command(words: Sequence[str], out: str, evidence: Evidence) -> str:
    """Run a command of ``deepfake-audio`` in the folder of the configuration; returns it."""
    target = (evidence.out / out).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_audio", *words, "--out", str(target)],
        cwd=evidence.root.absolute(),
        capture_output=True,
        text=True,
        check=False,
    )
    shown = shlex.join(["deepfake-audio", *words, "--out", out])
    if done.returncode not in (0, _SOME_UNREADABLE):
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DatasetError(f"`{shown}` failed: {lines[-1]}", name="run")
    return shown
