"""Every released model keeps its promises: its size, its papers, and what it does at the edges."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sounds import MUSIC_STYLES, make_music

from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.checkpoint import Checkpoint, load_checkpoint, models_folder, released_models
from deepfake_audio.detector import Detector
from deepfake_audio.report import Reason, Verdict
from deepfake_audio.training import Recipe

NAMES = sorted(folder.name for folder in models_folder().iterdir() if folder.is_dir())
RATE_HZ = 16_000
MakeSound = Callable[[], np.ndarray]
LLRS = {
    "default 1.4.1": (-2.718, -4.238, 4.961, 3.921),
    "tiny 1.3.0": (-2.112, -3.554, 2.088, 1.846),
}
"""What a release says of the bundled recordings, in order: whatever the code becomes later."""


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    return models_folder() / request.param


@pytest.fixture(scope="module")
def released(folder: Path) -> Checkpoint:
    return load_checkpoint(folder.name)


@pytest.fixture(scope="module")
def judge(released: Checkpoint) -> Detector:
    return Detector(released, device="cpu")


def test_all_folders_hold_a_model() -> None:
    assert "default" in NAMES
    assert sorted(released_models()) == NAMES


def test_the_model_is_small_and_named_like_its_folder(folder: Path, released: Checkpoint) -> None:
    assert (folder / "model.safetensors").stat().st_size < 5_000_000
    assert released.network.n_parameters <= 1_000_000
    assert released.header.name == folder.name
    assert re.fullmatch(r"\d+\.\d+\.\d+", released.header.version)


def test_policies_say_what_they_cost(released: Checkpoint) -> None:
    policies = released.header.policies
    assert set(policies) == {"recall", "balanced", "precision"}
    ordered = [policies[name] for name in ("recall", "balanced", "precision")]
    thresholds = [policy.threshold for policy in ordered]
    assert thresholds == sorted(thresholds)
    for policy in ordered:
        assert policy.name in policies
        assert None not in (policy.expected_fpr, policy.expected_fnr)
        assert policy.worst_source
        assert policy.worst_source_fpr is not None
    fprs = [policy.expected_fpr or 0.0 for policy in ordered]
    assert fprs == sorted(fprs, reverse=True)


def len_first(path: Path) -> tuple[int, str]:
    return len(path.name), path.name


def test_the_papers_agree_with_the_header(folder: Path, released: Checkpoint) -> None:
    header = released.header
    assert json.loads((folder / "metrics.json").read_text()) == header.metrics
    recipes = [
        Recipe.load(path).to_dict() for path in sorted(folder.glob("recipe*.toml"), key=len_first)
    ]
    # Settings that came into being later had no effect then, and have their defaults in both.
    trained = [Recipe.from_dict(values).to_dict() for values in header.training["recipes"]]
    assert json.loads(json.dumps(recipes)) == json.loads(json.dumps(trained))


def test_the_card_says_what_the_weights_may_be_used_for(folder: Path) -> None:
    card = (folder / "card.md").read_text(encoding="utf-8").lower()
    sentences = re.split(r"(?<=[.!?])\s+|\n\n", card)
    assert any("weights" in sentence and "research" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    "path", sorted(bundled_speech().glob("*.flac")), ids=lambda path: path.stem
)
def test_bundled_speech_is_not_mistaken(judge: Detector, path: Path) -> None:
    mistaken = {"genuine": Verdict.LIKELY_SYNTHETIC, "synthetic": Verdict.LIKELY_AUTHENTIC}
    report = judge.detect(path)
    assert report.verdict not in (mistaken[path.stem.partition("_")[0]], Verdict.INCONCLUSIVE)


def test_the_weights_say_what_they_said_when_released(released: Checkpoint) -> None:
    detector = Detector(released, device="cpu", precision="fp32")
    reports = [detector.detect(path) for path in sorted(bundled_speech().glob("*.flac"))]
    expected = LLRS[f"{released.header.name} {released.header.version}"]
    assert [report.llr_synthetic for report in reports] == pytest.approx(expected, abs=5e-3)


def tone(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: np.zeros(30 * RATE_HZ), id="silence"),
        pytest.param(lambda: tone(10), id="tone"),
        *(pytest.param(partial(make_music, style, 12), id=style) for style in MUSIC_STYLES),
    ],
)
def test_what_is_no_speech_gets_no_verdict(judge: Detector, make: MakeSound) -> None:
    report = judge.detect(make(), sample_rate_hz=RATE_HZ)
    if judge.model.name == "tiny":  # its card says that music passes its gate
        assert report.verdict is not Verdict.LIKELY_SYNTHETIC
        return
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.NO_SPEECH)
    assert report.p_synthetic is None


def test_a_moment_of_speech_gets_no_verdict(judge: Detector) -> None:
    speech = decode(bundled_speech() / "genuine_librivox_1.flac").samples[:, : int(0.4 * RATE_HZ)]
    report = judge.detect(speech, sample_rate_hz=RATE_HZ)
    assert (report.verdict, report.reason) == (Verdict.INCONCLUSIVE, Reason.TOO_SHORT)
