"""A weakness is found, stays until it is measured to be gone, and comes back if it does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deepfake_audio.assessment import AssessmentConfig, assess
from deepfake_audio.assessment.material import gather
from deepfake_audio.errors import DatasetError

from . import demo

KEY = f"miss/codec/{demo.WEAK}"


class Deployment:
    """A deployment that is assessed again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        one_language = demo.CONFIG.replace("[scope]", 'languages = ["en"]\n[scope]')
        self.config = demo.write(folder, config=one_language)
        self._age = 0

    def measure(self, weak: float, **given: Any) -> None:
        """Measure robustness again, a minute later each time."""
        self._age += 60
        demo.write_robustness(self.folder / "robustness.json", weak=weak, **given)
        demo.make_later(self.folder / "robustness.json", self._age)

    def edit(self, before: str, after: str) -> None:
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    def assess(self) -> dict[str, Any]:
        """Measure and judge, and return the finding about the weak codec."""
        config = AssessmentConfig.load(self.config)
        self.out.mkdir(exist_ok=True)
        found = gather(config, self.config.name, self.out, datetime.now(UTC)).findings["findings"]
        return next(finding for finding in found if finding["key"] == KEY)

    def report(self) -> str:
        """Assess, and return the report."""
        assess(self.config, self.out)
        return (self.out / "report.en.md").read_text()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_planted_weakness_opens_closes_and_opens_again(deployment: Deployment) -> None:
    found = deployment.assess()
    assert (found["number"], found["state"], found["severity"]) == ("F1", "open", "high")
    assert found["owner"] == "Li Wei"
    assert found["due"] == "2027-01-31"
    assert found["measurements"][0]["value"] > 0.8

    deployment.measure(0.1)
    assert deployment.assess()["state"] == "closed"
    text = deployment.report()
    assert "No measured cell is above its target." in text
    assert re.search(r"\| F1 \|.*\| closed \|", text)

    deployment.measure(0.95)
    found = deployment.assess()
    assert (found["number"], found["state"]) == ("F1", "reopened")
    assert [each["state"] for each in found["measurements"]] == ["open", "closed", "reopened"]
    for each in found["measurements"]:
        kept = deployment.out.glob(f"evidence/robustness.{each['evidence_sha256'][:12]}.json")
        assert len(list(kept)) == 1, "evidence of earlier reports stays"


def test_it_closes_with_another_threshold_measured_again(deployment: Deployment) -> None:
    deployment.assess()
    lower = demo.point().threshold * 0.4
    deployment.edit('name = "unittest"', f'name = "unittest"\nthreshold = {lower!r}')
    assert deployment.assess()["state"] == "open", "nothing was measured at this threshold"
    deployment.measure(0.9, threshold=lower)
    found = deployment.assess()
    assert found["state"] == "closed"
    assert found["measurements"][-1]["threshold"] == lower


def test_the_same_measurement_closes_nothing(deployment: Deployment) -> None:
    assert deployment.assess()["state"] == "open"
    deployment.edit("[targets]", f'[targets.cells]\n"{KEY}" = 1.0\n[targets]')
    found = deployment.assess()
    assert found["state"] == "open"
    assert len(found["measurements"]) == 1


def test_an_older_measurement_closes_nothing(deployment: Deployment) -> None:
    deployment.assess()
    demo.write_robustness(deployment.folder / "robustness.json", weak=0.1)
    demo.make_later(deployment.folder / "robustness.json", -3600)
    assert deployment.assess()["state"] == "open"


def test_nor_does_a_measurement_that_is_not_there(deployment: Deployment) -> None:
    deployment.assess()
    text = deployment.config.read_text()
    start = text.index("[[robustness]]")
    deployment.config.write_text(text[:start] + text[text.index("[[scores]]") :])
    found = deployment.assess()
    assert (found["state"], found["measured_now"]) == ("open", False)
    assert "not measured this time" in deployment.report()


def test_nor_do_too_few_recordings(deployment: Deployment) -> None:
    deployment.assess()
    deployment.measure(0.1)
    deployment.edit("min_clips = 15", "min_clips = 1000")
    assert deployment.assess()["state"] == "open"


def test_a_stricter_target_opens_again(deployment: Deployment) -> None:
    deployment.assess()
    deployment.measure(0.3)
    assert deployment.assess()["state"] == "closed"
    deployment.edit("miss = 0.5", "miss = 0.01")
    assert deployment.assess()["state"] == "reopened"


def test_evidence_about_another_model_is_not_used(deployment: Deployment) -> None:
    deployment.assess()
    deployment.measure(0.1)
    file = deployment.folder / "robustness.json"
    file.write_text(file.read_text().replace(demo.identity(), "other 1.0 (12345678)"))
    assert deployment.assess()["state"] == "open"
    text = deployment.report()
    assert "is about another model: other 1.0 (12345678)" in text
    deployment.edit(
        'name = "unittest"',
        'name = "unittest"\nsame_as = { "other 1.0 (12345678)" = "the same weights" }',
    )
    demo.make_later(file, 120)
    assert deployment.assess()["state"] == "closed"
    assert "the same weights" in deployment.report()


def test_nor_are_scores_of_another_model(deployment: Deployment) -> None:
    deployment.edit(f'model = "{demo.identity()}"', 'model = "other 1.0 (12345678)"')
    text = deployment.report()
    assert re.search(r"\| scores\.csv \| scores\.csv is about another model: other", text)
    assert "By surface" not in text


def test_rates_at_another_threshold_are_not_shown(deployment: Deployment) -> None:
    deployment.edit('name = "unittest"', 'name = "unittest"\nthreshold = 0.7')
    text = deployment.report()
    row = next(line for line in text.splitlines() if line.startswith(f"| {demo.WEAK} |"))
    assert row.count("**[not measured]**") == 2
    assert "robustness.json was measured at other thresholds: 0.6" in text


def test_a_log_that_is_none_is_not_overwritten(deployment: Deployment) -> None:
    deployment.out.mkdir()
    log = deployment.out / "rectification.json"
    log.write_text("[]")
    with pytest.raises(DatasetError, match=r"rectification\.json"):
        deployment.assess()
    assert log.read_text() == "[]"
