"""Policy files: what they may say, and what they decide."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_audio.config import Policy as OperatingPoint
from deepfake_audio.errors import ConfigError
from deepfake_audio.report import (
    InputInfo,
    ModelInfo,
    PolicyInfo,
    Reason,
    Report,
    Timing,
    Verdict,
)
from deepfake_audio.server.policy import Action, PolicyFile, Rules, Surface

POINTS = {
    "balanced": OperatingPoint("balanced", threshold=0.9),
    "precision": OperatingPoint("precision", threshold=0.95),
}


def report(p: float | None, verdict: Verdict = Verdict.UNCERTAIN, *warnings: str) -> Report:
    return Report(
        input=InputInfo("a", None, "WAV", 16_000, 1, 4.0, 4.0),
        verdict=verdict,
        reason=Reason.NO_SPEECH if verdict is Verdict.INCONCLUSIVE else None,
        p_synthetic=p,
        llr_synthetic=None if p is None else 0.0,
        policy=PolicyInfo("balanced", 0.9, None, 0.5),
        warnings=warnings,
        segments=(),
        model=ModelInfo("m", "1", "0"),
        timing_ms=Timing(0, 0),
    )


def rules(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return Rules(PolicyFile.load(path), POINTS)


def test_the_strictest_action_that_is_reached(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
        version = "7"
        [surfaces.upload]
        label_from = 0.5
        review_from = "balanced"
        block_from = 0.99
        inconclusive = "label"
        """,
    )
    for p, action in ((0.0, "pass"), (0.5, "label"), (0.9, "review"), (0.99, "block")):
        assert found.decide(Surface.UPLOAD, report(p)).action == action
    nothing = report(None, Verdict.INCONCLUSIVE)
    assert found.decide(Surface.UPLOAD, nothing).action is Action.LABEL
    assert found.decide(Surface.LIVE, nothing).action is Action.PASS
    assert found.decide(Surface.MESSAGE, report(0.99)).action is Action.REVIEW  # the default
    mixed = report(0.1, Verdict.UNCERTAIN, "mixed_segments")
    assert found.decide(Surface.UPLOAD, mixed).needs_review


@given(p=st.floats(0, 1), q=st.floats(0, 1))
def test_a_higher_probability_never_leads_to_a_milder_action(p: float, q: float) -> None:
    policy = PolicyFile.model_validate(
        {"surfaces": {"upload": {"label_from": 0.2, "review_from": 0.6, "block_from": 0.95}}}
    )
    order = list(Action)
    ladder = Rules(policy, POINTS)
    low, high = sorted((p, q))
    assert order.index(ladder.action_at(Surface.UPLOAD, low)) <= order.index(
        ladder.action_at(Surface.UPLOAD, high)
    )


def test_a_dry_run_asks_nobody_to_do_anything(tmp_path: Path) -> None:
    decision = rules(tmp_path, "dry_run = true").decide(Surface.UPLOAD, report(0.99))
    assert decision.action is Action.REVIEW
    assert decision.dry_run
    assert not decision.needs_review


def test_its_hash_is_of_what_it_says(tmp_path: Path) -> None:
    text = 'version = "1"\n[surfaces.live]\nreview_from = 0.7\n'
    first = rules(tmp_path, text).sha256
    assert rules(tmp_path, "# a comment\n" + text).sha256 == first
    assert rules(tmp_path, text.replace("0.7", "0.8")).sha256 != first


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version = ", "TOML"),
        ("colour = 1", "colour"),
        ("[surfaces.radio]", "radio"),
        ("[surfaces.live]\nreview_from = 1.5", "review_from"),
        ("[surfaces.live]\nreview_from = 0.9\nblock_from = 0.5", "stricter action"),
        ("[surfaces.live]\nalert_windows = 9\nalert_of = 3", "alert_windows"),
        ('[surfaces.live]\nreview_from = "strict"', "strict"),
        ('[surfaces.live]\noperating_point = "strict"', "strict"),
        ('[surfaces.live]\ninconclusive = "shrug"', "inconclusive"),
    ],
)
def test_what_a_policy_cannot_say(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rules(tmp_path, text)


def test_a_missing_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        PolicyFile.load(tmp_path / "nowhere.toml")


def test_decisions_are_values() -> None:
    decision = Rules(PolicyFile(), POINTS).decide(Surface.UPLOAD, report(0.2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.action = Action.BLOCK  # type: ignore[misc]


def test_uncertain_may_be_sent_to_people(tmp_path: Path) -> None:
    points = {"balanced": OperatingPoint("balanced", threshold=0.9, authentic_below=0.4)}
    path = tmp_path / "policy.toml"
    path.write_text('[surfaces.upload]\nreview_from = "uncertain"\nblock_from = "balanced"\n')
    found = Rules(PolicyFile.load(path), points)
    for p, action in ((0.39, "pass"), (0.4, "review"), (0.89, "review"), (0.9, "block")):
        assert found.decide(Surface.UPLOAD, report(p)).action == action
    path.write_text('[surfaces.upload]\nlabel_from = "balanced"\nreview_from = "uncertain"\n')
    with pytest.raises(ConfigError, match="a stricter action has a lower threshold"):
        Rules(PolicyFile.load(path), points)
