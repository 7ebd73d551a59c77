"""The process that scores windows of rooms: the same answers, and no harm when it is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import make_speech

from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.server import logs
from deepfake_audio.server.engine import Engine
from deepfake_audio.server.policy import PolicyFile
from deepfake_audio.server.rooms.apart import Apart

from .conftest import until

pytestmark = pytest.mark.long  # each process takes seconds to begin

WAIT_S = 60
ROWS = [make_speech(seconds, seed) for seed, seconds in enumerate((4, 4, 2, 1))]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_checkpoint("unittest"), PolicyFile(), "cpu")


@pytest.fixture(scope="module")
def shared() -> Iterator[Apart]:
    apart = Apart(["unittest"])
    yield apart
    apart.close()


@pytest.fixture
def apart(shared: Apart, engine: Engine) -> Apart:
    """A process that is ready, and may be another one than before."""
    shared._not_before = 0.0
    until(shared._ready, WAIT_S)
    return shared


def test_the_same_is_heard_apart(
    apart: Apart, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = engine.scorer.hear(ROWS)
    monkeypatch.setattr(engine.scorer, "hear", None)  # nobody asks it
    there = apart.hear(engine, ROWS)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert one.dtype == other.dtype


def test_what_cannot_be_scored_is_said_and_the_next_can(apart: Apart, engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="could not be scored"):
        apart.hear(engine, [np.full(64_000, np.nan, np.float32)])
    assert len(apart.hear(engine, ROWS).llr) == len(ROWS)


def test_it_logs_as_the_service_does(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "_kind", "json")
    apart = Apart(["unittest"])
    try:
        until(lambda: engine.model.sha256 in apart._ready(), WAIT_S)
        with pytest.raises(RuntimeError):
            apart.hear(engine, [np.full(64_000, np.nan, np.float32)])
    finally:
        apart.close()
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    [said] = [one for one in map(json.loads, lines) if one["level"] == "ERROR"]
    assert "not a finite number" in said["exception"]


def test_nothing_is_nothing(apart: Apart, engine: Engine) -> None:
    assert apart.hear(engine, []).llr.shape == (0,)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_costs_no_window(
    apart: Apart, engine: Engine, sign: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_audio.server.rooms.apart._ANSWER_S", 1.0)
    assert apart._process is not None
    process = apart._process
    os.kill(process.pid, sign)
    found = apart.hear(engine, 10 * ROWS)[0][: len(ROWS)]  # more than a pipe holds
    np.testing.assert_allclose(found, engine.scorer.hear(ROWS).llr, atol=1e-4)
    assert process.returncode == -signal.SIGKILL
    assert not apart._ready()  # and not at once again
    apart._not_before = 0.0
    until(apart._ready, WAIT_S)
    assert apart._process.pid != process.pid


def test_until_it_is_ready_and_for_other_models_windows_are_scored_here(engine: Engine) -> None:
    apart = Apart(["tiny"])
    try:
        assert len(apart.hear(engine, ROWS).llr) == len(ROWS)
        assert apart._process is not None
        until(apart._ready, WAIT_S)
        assert engine.model.sha256 not in apart._ready()
        assert len(apart.hear(engine, ROWS).llr) == len(ROWS)
    finally:
        apart.close()


def test_a_process_that_cannot_start_is_done_without(engine: Engine) -> None:
    apart = Apart(["/nowhere/model.safetensors"])
    assert len(apart.hear(engine, ROWS).llr) == len(ROWS)
    assert apart._process is not None
    until(lambda: not apart._ready() and apart._process is None, WAIT_S)
    assert len(apart.hear(engine, ROWS).llr) == len(ROWS)
    assert apart._process is None


def test_it_ends_with_the_service() -> None:
    text = (
        "import time; from deepfake_audio.server.rooms.apart import Apart\n"
        "apart = Apart(['unittest'])\n"
        "while not apart._ready(): time.sleep(0.05)\n"
        "print(apart._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = Path(f"/proc/{int(parent.stdout.readline())}")
        if not child.parent.joinpath("self").exists():
            parent.kill()
            pytest.skip("no /proc here to see it by")
        assert child.exists()
        parent.kill()
        until(lambda: _has_ended(child), WAIT_S)


def _has_ended(process: Path) -> bool:
    try:
        return ") Z " in (process / "stat").read_text()
    except OSError:
        return True
