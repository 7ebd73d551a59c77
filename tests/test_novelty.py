"""Novelty: the measure itself, and that it is the same however a recording comes in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sounds import make_speech

from deepfake_audio.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from deepfake_audio.config import Policy
from deepfake_audio.detector import Detector
from deepfake_audio.errors import CheckpointError, ConfigError, DatasetError
from deepfake_audio.listening import listen
from deepfake_audio.novelty import (
    MAX_DIRECTIONS,
    UNKNOWN_SOURCE,
    KnownSpeech,
    fit_known_speech,
    with_levels,
)
from deepfake_audio.report import Verdict, json_schema
from deepfake_audio.scoring import Scorer

RATE = 16_000
MakeSpeech = Callable[..., np.ndarray]
MakeWav = Callable[..., Path]


def fitted() -> Checkpoint:
    """Make an untrained model that knows a few made-up voices."""
    plain = load_checkpoint("unittest")
    scorer = Scorer(plain.network, plain.header, precision="fp32")
    sounds = [make_speech(0.75 + 0.5 * (seed % 12), seed)[None] for seed in range(120)]
    embeddings = [out.embedding[0] for out in scorer.runner.run(sounds[:60])]
    known = fit_known_speech(np.stack(embeddings))
    measuring = dataclasses.replace(plain.header, known_speech=known)
    scores = Scorer(plain.network, measuring, precision="fp32").score(sounds[60:])
    known = with_levels(known, [s.distance for s in scores if s.reason is None])
    return dataclasses.replace(plain, header=dataclasses.replace(plain.header, known_speech=known))


KNOWING = fitted()
DETECTOR = Detector(KNOWING, device="cpu", precision="fp32")


def gaussian(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 5)) @ np.diag([9, 3, 1, 0.5, 0.1]) + 4


def test_distance_is_mahalanobis() -> None:
    x = gaussian(4000)
    known = fit_known_speech(x)
    inverse = np.linalg.inv(np.cov(x.T))
    probe = gaussian(20, seed=1) * 2
    centred = probe - x.mean(0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, inverse, centred) / 5)
    np.testing.assert_allclose(known.distance(probe), expected, rtol=1e-3)
    assert np.sqrt(np.square(known.distance(x)).mean()) == pytest.approx(1, abs=0.01)


def test_weights_count_like_repetitions() -> None:
    x = gaussian(60)
    times = np.arange(60) % 3 + 1
    one, other = fit_known_speech(x, times), fit_known_speech(np.repeat(x, times, axis=0))
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-5)
    np.testing.assert_allclose(one.distance(x), other.distance(x), rtol=0.02)


def test_only_the_leading_directions_are_looked_at() -> None:
    x = np.random.default_rng(0).normal(size=(400, 100)) * np.linspace(5, 0.1, 100)
    known = fit_known_speech(x)
    assert known.directions.shape == (100, MAX_DIRECTIONS)
    behind = np.zeros((1, 100))
    behind[0, -1] = 1000 * 0.1
    assert known.distance(known.mean + behind)[0] < 50
    behind[0] = np.roll(behind[0], 1)


distances = hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1e4, width=32))


@settings(deadline=None)
@given(distances, st.lists(st.floats(0, 2e4), min_size=2, max_size=20))
def test_novelty_is_a_share_that_rises_with_the_distance(calibration, asked) -> None:
    known = with_levels(fit_known_speech(gaussian(50)), calibration)
    found = [known.novelty(distance) for distance in sorted(asked)]
    assert all(0 <= value <= 1 for value in found)
    assert found == sorted(found)
    assert known.novelty(float(calibration.max()) * 1.001 + 1) == 1


def test_calibration_clips_lie_evenly() -> None:
    values = np.random.default_rng(0).gamma(9.0, size=2001)
    known = with_levels(fit_known_speech(gaussian(50)), values)
    for share in (0.03, 0.5, 0.9, 0.99):
        assert known.novelty(float(np.quantile(values, share))) == pytest.approx(share, abs=0.005)


def test_it_survives_json_and_names_damage() -> None:
    known = with_levels(fit_known_speech(gaussian(50)), [1.0, 2.0, 3.0])
    values = json.loads(json.dumps(known.to_dict()))
    assert KnownSpeech.from_dict(values) == known
    assert KnownSpeech.from_dict(values) != fit_known_speech(gaussian(50))
    for wrong in ({"version": 2}, {"embedding_dim": 7}, {"embedding_dim": 0}, {"mean": "AAAAAA=="}):
        with pytest.raises(CheckpointError):
            KnownSpeech.from_dict({**values, **wrong})
    with pytest.raises(CheckpointError, match="rise"):
        dataclasses.replace(known, levels=known.levels[::-1].copy())
    for bad in (gaussian(1), np.full((5, 3), np.nan), np.zeros(4)):
        with pytest.raises(DatasetError):
            fit_known_speech(bad)
    for bad in ([], [1.0, float("nan")]):
        with pytest.raises(DatasetError):
            with_levels(known, bad)


def test_constant_embeddings_are_no_trouble() -> None:
    known = fit_known_speech(np.ones((10, 4)))
    assert np.isfinite(known.distance(np.ones((2, 4)))).all()


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, KNOWING.torch_network, KNOWING.header)
    assert load_checkpoint(path).header == KNOWING.header
    older = KNOWING.header.to_dict()
    del older["known_speech"]
    for policy in older["policies"].values():
        del policy["max_novelty"]
    assert type(KNOWING.header).from_dict(older).known_speech is None
    with pytest.raises(CheckpointError, match="dimensions"):
        dataclasses.replace(KNOWING.header, known_speech=fit_known_speech(gaussian(9)))


def test_a_model_without_it_states_none(detector: Detector, speech: MakeSpeech) -> None:
    report = detector.detect(speech(3), sample_rate_hz=RATE)
    assert report.novelty is None
    assert "unknown_source" not in report.warnings


def test_reports_state_it(speech: MakeSpeech) -> None:
    usual = DETECTOR.detect(speech(3, 90), sample_rate_hz=RATE)
    jsonschema.validate(usual.to_dict(), json_schema())
    assert usual.novelty is not None
    assert "unknown_source" not in usual.warnings
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    noise *= np.sin(2 * np.pi * 2 * np.arange(3 * RATE) / RATE) > 0
    odd = DETECTOR.detect(noise.astype(np.float32), sample_rate_hz=RATE)
    assert odd.novelty is not None
    assert odd.novelty >= UNKNOWN_SOURCE > usual.novelty
    assert "unknown_source" in odd.warnings
    assert "novelty    1.000" in str(odd)
    for inconclusive in (np.zeros(3 * RATE, np.float32), speech(0.7)):
        report = DETECTOR.detect(inconclusive, sample_rate_hz=RATE)
        assert (report.verdict, report.novelty) == (Verdict.INCONCLUSIVE, None)


def test_the_made_up_voices_differ_in_it(speech: MakeSpeech) -> None:
    """Else the tests of equality below would say nothing."""
    sounds = [speech(1.5 + seed / 10, 60 + seed) for seed in range(20)]
    found = [r.novelty for r in DETECTOR.detect_many(sounds, sample_rate_hz=RATE)]
    assert len({value for value in found if 0 < value < 1}) > 10


def test_it_is_of_the_channel_that_decides(speech: MakeSpeech) -> None:
    sounds = [speech(5, 90), 0.3 * np.tile(speech(0.5, 91), 10)]
    alone = [DETECTOR.detect(sound, sample_rate_hz=RATE) for sound in sounds]
    both = DETECTOR.detect(np.stack(sounds), sample_rate_hz=RATE)
    deciding = max(alone, key=lambda report: report.llr_synthetic)
    assert both.novelty == pytest.approx(deciding.novelty, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 9), st.integers(0, 40)), min_size=2, max_size=5))
def test_it_depends_on_its_recording_alone(shapes) -> None:
    sounds = [make_speech(seconds, seed) for seconds, seed in shapes]
    together = DETECTOR.detect_many(sounds, sample_rate_hz=RATE)
    for sound, report in zip(sounds, together, strict=True):
        alone = DETECTOR.detect(sound, sample_rate_hz=RATE)
        assert (alone.novelty is None) == (report.novelty is None)
        if alone.novelty is not None:
            assert report.novelty == pytest.approx(alone.novelty, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.6, 16), st.integers(1, 2), st.integers(500, 30_000))
def test_the_end_of_a_stream_equals_the_whole(seconds, channels, size) -> None:
    samples = np.stack([make_speech(seconds, 50 + seed) for seed in range(channels)])
    sound = np.rint(samples * 32767).astype(np.int16)
    stream = DETECTOR.stream(RATE, channels)
    for at in range(0, sound.shape[1], size):
        stream.feed(sound[:, at : at + size])
    live, whole = stream.close(), DETECTOR.detect(sound, sample_rate_hz=RATE)
    assert (live.novelty is None) == (whole.novelty is None)
    if whole.novelty is not None:
        assert live.novelty == pytest.approx(whole.novelty, abs=2e-3)


def test_block_by_block_equals_one_piece(speech: MakeSpeech) -> None:
    sound = np.stack([np.concatenate([speech(20, c), speech(9.7, c + 9)]) for c in range(2)])
    blocks = (sound[:, at : at + 7000] for at in range(0, sound.shape[1], 7000))
    live = listen(DETECTOR.scorer, blocks, 2)
    [whole] = DETECTOR.scorer.score([sound])
    assert live.distance == pytest.approx(whole.distance, rel=1e-4)


@pytest.mark.parametrize("policy", [Policy("a", 0.9, 0.8), Policy("b", 0.4, 0.3)])
def test_a_policy_may_abstain_on_it(policy: Policy, speech: MakeSpeech) -> None:
    sound = speech(3, 90)
    said = Detector(KNOWING, policy=policy, device="cpu").detect(sound, sample_rate_hz=RATE)
    assert said.verdict in (Verdict.LIKELY_AUTHENTIC, Verdict.LIKELY_SYNTHETIC)
    assert said.novelty is not None
    for limit, verdict in ((said.novelty, said.verdict), (said.novelty / 2, Verdict.UNCERTAIN)):
        cautious = policy.replace(max_novelty=limit)
        report = Detector(KNOWING, policy=cautious, device="cpu").detect(sound, sample_rate_hz=RATE)
        assert report.verdict is verdict
        assert report.policy.max_novelty == limit
        jsonschema.validate(report.to_dict(), json_schema())


def test_what_cannot_be_asked_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="cannot tell novelty"):
        Detector(checkpoint, policy=Policy(max_novelty=0.9), device="cpu")
    with pytest.raises(ConfigError, match="max_novelty"):
        Policy(max_novelty=1.5)
    kept = Detector(KNOWING, policy=Policy(max_novelty=0.9), threshold=0.7, device="cpu")
    assert kept.policy.max_novelty == 0.9


def test_released_models_know_what_they_know() -> None:
    for name in ("default", "tiny"):
        known = load_checkpoint(name).header.known_speech
        assert known is not None
        assert len(json.dumps(known.to_dict())) < 100_000
