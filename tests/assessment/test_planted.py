"""A weakness that the model really has, from recordings to a closed finding, by one command."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.cli.tools import app

from . import demo
from .test_report import check_every_number

TOML = """\
template = "cn2018"
[model]
name = "default"
[service]
settings = "service.toml"
policy = "policy.toml"
audit_head = "head.txt"
[run]
data = ["clips"]
conditions = ["clean", "a-law"]
[targets]
miss = 0.25
min_clips = 10
[findings]
owner = "Detection team"
due_days = { high = 30, medium = 60, low = 90 }
"""
KEY = "miss/codec/a-law"
EXCERPTS, SECONDS = 5, 4


def write_clips(folder: Path) -> None:
    """Cut the bundled recordings into overlapping excerpts."""
    for path in sorted(bundled_speech().glob("*.flac")):
        samples, rate_hz = soundfile.read(path)
        label = "bonafide" if path.name.startswith("genuine") else "spoof"
        for i in range(EXCERPTS):
            start = i * (len(samples) - SECONDS * rate_hz) // (EXCERPTS - 1)
            to = folder / label / f"{path.stem}-{i}.flac"
            to.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(to, samples[start : start + SECONDS * rate_hz], rate_hz)


@pytest.mark.long
def test_from_the_data_of_a_service_to_a_closed_finding(
    service_folder: Path, tmp_path: Path
) -> None:
    """At its own threshold the model misses what went through a telephone codec."""
    folder = tmp_path / "deployment"
    shutil.copytree(service_folder, folder)
    write_clips(folder / "clips")
    config, out = folder / "assessment.toml", folder / "out"

    def assess(toml: str, status: int) -> dict[str, Any]:
        """Run the command; returns the report."""
        config.write_text(toml)
        command = ["assess", "--config", str(config), "--out", str(out), "--fail-on", "findings"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == status, done.output
        assert len(list(out.glob("report.*"))) == 7, "two languages of three forms, and JSON"
        assert check_every_number(out) > 500
        report: dict[str, Any] = demo.read(out / "report.json")
        return report

    report = assess(TOML, 1)
    found = {each["key"]: each for each in report["rectification"]["findings"]}
    assert found[KEY]["state"] == "open"
    assert found[KEY]["owner"] == "Detection team"
    assert found[KEY]["due"]
    [first] = found[KEY]["measurements"]
    assert (first["n"], first["target"]) == (10, 0.25)
    assert first["value"] > 0.25
    assert "miss/condition/clean" not in found, "as they are, they are found"
    assert "codec, a-law" in (out / "report.en.md").read_text()
    with (out / "evidence" / "evaluation" / "scores.csv").open() as scores:
        p = [float(row["p_synthetic"]) for row in csv.DictReader(scores) if row["label"] == "spoof"]
    clean = next(
        cell for cell in report["cells"]["cells"]
        if (cell["measure"], cell["axis"]) == ("miss", "overall")
    )  # fmt: skip
    assert clean["value"] == sum(each < first["threshold"] for each in p) / len(p)

    report = assess(TOML.replace('"default"', '"default"\nthreshold = 0.4'), 0)
    [finding] = [each for each in report["rectification"]["findings"] if each["key"] == KEY]
    last = finding["measurements"][-1]
    assert [each["state"] for each in finding["measurements"]] == ["open", "closed"]
    assert (last["threshold"], last["n"]) == (0.4, 10)
    assert last["value"] <= 0.25 < first["value"]
    for measurement in finding["measurements"]:
        assert (out / measurement["evidence"].split()[0]).is_file(), "both stay beside the report"
    commands = {source["command"] for source in report["sources"]}
    options = "--data clips --model default --policy balanced --quiet"
    assert f"deepfake-audio evaluate {options} --out evidence/evaluation" in commands
    assert (
        f"deepfake-audio robustness {options} --threshold 0.4 --condition clean --condition a-law "
        "--out evidence/robustness.json" in commands
    ), "what the appendix shows is what was run"


def test_robustness_at_a_threshold_of_ones_own(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips")
    out = tmp_path / "robustness.json"
    given = ["--data", str(tmp_path / "clips"), "--model", "tiny", "--condition", "clean"]
    done = CliRunner().invoke(app, ["robustness", *given, "--threshold", "0.4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    [policy] = demo.read(out)["evaluations"][0]["policies"]
    assert policy["threshold"] == 0.4
