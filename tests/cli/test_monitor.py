"""``deepfake-audio monitor`` on what ``detect --jsonl`` writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepfake_audio.cli.tools import app
from deepfake_audio.detector import Detector

MakeWav = Callable[..., Path]


def monitor(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["monitor", *map(str, arguments)])


@pytest.fixture
def days(detector: Detector, speech_wav: MakeWav, tmp_path: Path) -> tuple[Path, Path]:
    """Two files of reports; in the second everything is at another rate."""
    files = []
    for number, rate_hz in enumerate((16_000, 8_000)):
        paths = [speech_wav(f"{number}/{i}.wav", 1.5, seed=i, rate_hz=rate_hz) for i in range(12)]
        file = tmp_path / f"day-{number}.jsonl"
        reports = [report.to_json() for report in detector.detect_many(paths)]  # type: ignore[union-attr]
        file.write_text("\n".join(reports))
        files.append(file)
    return files[0], files[1]


def test_drift_is_said_and_fails_only_if_asked(days: tuple[Path, Path]) -> None:
    before, now = days
    calm = monitor("--reference", before, "--current", before, "--fail-on", "drift")
    assert calm.exit_code == 0
    assert "nothing has shifted" in calm.stdout
    arguments = ("--reference", before, "--current", now, "--sample", 4)
    found = monitor(*arguments)
    assert found.exit_code == 0
    assert "shifted: sample_rate_hz: 16000 100 % -> 0 %" in found.stdout
    assert found.stdout.count("day-1.jsonl:") == 4
    values = json.loads(monitor(*arguments, "--json").stdout)
    assert values["drift"] is True
    assert len(values["review"]) == 4
    assert monitor(*arguments, "--fail-on", "drift").exit_code == 1


def test_a_property_kept_beside_the_reports(days: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in days[0].read_text().splitlines()]
    files = []
    for language in ("en", "fr"):
        files.append(tmp_path / f"{language}.jsonl")
        told = [json.dumps({**line, "metadata": {"language": language}}) for line in lines]
        files[-1].write_text("\n".join(told))
    arguments = ("--reference", files[0], "--current", files[1])
    assert "nothing has shifted" in monitor(*arguments).stdout
    found = monitor(*arguments, "--property", "language").stdout
    assert "shifted: metadata.language: en 100 % -> 0 %" in found


def test_errors_are_one_line(days: tuple[Path, Path], tmp_path: Path) -> None:
    before, now = days
    with now.open("a") as file:
        file.write("\nnot a report\n")
    broken = monitor("--reference", before, "--current", now)
    assert (broken.exit_code, broken.stdout) == (4, "")
    assert broken.stderr.startswith(f"{now}:13: is no report")
    assert len(broken.stderr.splitlines()) == 1
    assert monitor("--reference", before, "--current", tmp_path / "nowhere").exit_code == 4
    assert monitor("--reference", before).exit_code == 2
