"""A service that has run: what its database says, and what must not be said."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from deepfake_audio.assessment import assess
from deepfake_audio.errors import ConfigError, MissingExtraError

from . import demo
from .test_report import check_every_number

TOML = """\
languages = ["en"]
[model]
name = "tiny"
[service]
settings = "service.toml"
policy = "policy.toml"
audit_head = "head.txt"
[targets]
min_clips = 4
"""


@pytest.fixture
def deployment(service_folder: Path, tmp_path: Path) -> Path:
    """A copy of the service's files, and a configuration beside them."""
    folder = tmp_path / "deployment"
    shutil.copytree(service_folder, folder)
    (folder / "assessment.toml").write_text(TOML)
    return folder


def facts(folder: Path) -> dict[str, Any]:
    (file,) = (folder / "out" / "evidence").glob("service.*.json")
    found: dict[str, Any] = demo.read(file)
    return found


def test_the_service_is_counted(deployment: Path) -> None:
    result = assess(deployment / "assessment.toml", deployment / "out")
    found = facts(deployment)
    groups = found["detections"]["groups"]
    assert groups["all"]["total"] == 9
    assert groups["all"]["status"] == {"done": 8, "failed": 1}
    assert groups["message"]["total"] == 4
    assert groups["upload"]["latency_s"]["p50"] > 0
    reviews = found["reviews"]["upload"]
    assert reviews["decided"] == 4
    assert reviews["agree"] + reviews["contradict"] <= 4
    assert found["reviewers"] == {"recordings": 4, "agree": 3}
    assert found["rooms"] == {"total": 0, "alerted": 0}
    assert found["audit"]["ok"]
    assert found["audit"]["expected"] == (deployment / "head.txt").read_text()
    cells = {judged.cell.key: judged.cell for judged in result.material.judged}
    assert cells["failure/overall/service"].value == pytest.approx(1 / 9)
    assert cells["audit/overall/chain"].value == 0
    assert check_every_number(deployment / "out") > 200
    assert "failure/overall/service" in {
        finding["key"] for finding in result.material.findings["findings"]
    }


def test_secrets_and_names_stay_where_they_are(deployment: Path) -> None:
    assess(deployment / "assessment.toml", deployment / "out")
    for path in (deployment / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"never to be shown" not in content, path
            assert b"librivox" not in content, path
            assert str(deployment).encode() not in content, path


def test_nothing_is_written_to_the_database(deployment: Path) -> None:
    def rows() -> list[Any]:
        with sqlite3.connect(deployment / "data" / "service.sqlite3") as database:
            return list(database.iterdump())

    before = rows()
    assess(deployment / "assessment.toml", deployment / "out")
    assert rows() == before


def test_a_broken_chain_is_a_finding_of_high_severity(deployment: Path) -> None:
    with sqlite3.connect(deployment / "data" / "service.sqlite3") as database:
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE seq = 3")
    result = assess(deployment / "assessment.toml", deployment / "out")
    finding = next(
        finding
        for finding in result.material.findings["findings"]
        if finding["key"] == "audit/overall/chain"
    )
    assert (finding["state"], finding["severity"]) == ("open", "high")
    assert "event 3 was changed" in (deployment / "out" / "report.en.md").read_text()


def test_decisions_of_another_model_are_said_to_be(deployment: Path) -> None:
    config = deployment / "assessment.toml"
    config.write_text(TOML.replace('"tiny"', '"unittest"'))
    assess(config, deployment / "out")
    text = (deployment / "out" / "report.en.md").read_text()
    assert "was decided by another model: tiny" in text


def test_a_database_that_is_not_there_does_not_come_to_be(deployment: Path) -> None:
    shutil.rmtree(deployment / "data")
    with pytest.raises(ConfigError, match=r"service\.settings: there is no database"):
        assess(deployment / "assessment.toml", deployment / "out")
    assert not (deployment / "data").exists()


def test_missing_extras_are_named(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = deployment / "assessment.toml", deployment / "out"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "deepfake_audio.server.database", None)
        with pytest.raises(MissingExtraError) as raised:
            assess(config, out)
    assert 'pip install "deepfake-audio[server]"' in str(raised.value)
    monkeypatch.delitem(sys.modules, "deepfake_audio.assessment.pdf", raising=False)
    monkeypatch.delattr("deepfake_audio.assessment.pdf", raising=False)
    monkeypatch.setitem(sys.modules, "reportlab.lib", None)
    with pytest.raises(MissingExtraError) as raised:
        assess(config, out)
    assert 'pip install "deepfake-audio[assessment]"' in str(raised.value)


def test_drift_between_files_of_reports(deployment: Path) -> None:
    with sqlite3.connect(deployment / "data" / "service.sqlite3") as database:
        reports = [
            json.loads(text)
            for (text,) in database.execute("SELECT report FROM detections WHERE status = 'done'")
        ]
    lines = "".join(json.dumps(report) + "\n" for report in reports)
    (deployment / "before.jsonl").write_text(lines)
    (deployment / "now").mkdir()
    (deployment / "now" / "monday.jsonl").write_text(lines)
    config = deployment / "assessment.toml"
    config.write_text(TOML + '[reports]\nreference = ["before.jsonl"]\ncurrent = ["now/"]\n')
    assess(config, deployment / "out")
    text = (deployment / "out" / "report.en.md").read_text()
    assert "now/monday.jsonl" in text
    assert "Nothing has shifted: 8 reports against 8 of the reference." in text
    assert check_every_number(deployment / "out") > 250
