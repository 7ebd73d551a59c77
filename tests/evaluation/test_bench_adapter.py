"""The adapter for speech-spoof-bench: what its runner relies on."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.detector import Detector
from deepfake_audio.errors import AudioError, ConfigError
from deepfake_audio.evaluation.bench_adapter import NO_EVIDENCE, Default, Tiny

RATE = 16_000


@pytest.fixture(scope="module")
def model():
    model = Tiny()
    model.load()
    yield model
    model.unload()


@pytest.fixture(scope="module")
def recordings():
    """Human and synthetic speech of 1 s to 9 s."""
    files = sorted(bundled_speech().glob("*.flac"))
    spoken = np.concatenate([decode(file).samples[0] for file in files])
    edges = np.cumsum([0.5, 3.0, 1.0, 9.0, 1.3, 5.0]) * RATE
    return [spoken[int(a) : int(b)] for a, b in pairwise(edges)]


def test_a_batch_scores_like_each_recording_alone(model, recordings):
    together = model.score_batch(recordings, [RATE] * 5)
    alone = [model.score_batch([samples], [RATE])[0] for samples in recordings]
    assert together == pytest.approx(alone, abs=2e-4)
    assert np.ptp(together) > 0.1
    assert all(type(score) is float for score in together)


def test_scores_are_high_for_bona_fide_speech(model, recordings):
    detector = Detector.load("tiny", precision="fp32")
    reports = list(detector.detect_many(recordings, sample_rate_hz=RATE))
    want = [-report.llr_synthetic for report in reports]
    assert model.score_batch(recordings, [RATE] * 5) == pytest.approx(want, abs=2e-4)


@pytest.mark.parametrize("kind", [Default, Tiny])
def test_released_models_are_found_by_the_name_of_their_class(kind):
    model = getattr(
        importlib.import_module(kind.__module__), kind.__name__
    )()  # as it is done there
    assert model.name == f"deepfake-audio-{model.checkpoint}"
    model.load()
    samples = decode(bundled_speech() / "genuine_librivox_1.flac").samples[0]
    [score] = model.score_batch([samples], [RATE])
    detector = Detector.load(kind.__name__.lower(), precision="fp32")
    want = -detector.detect(samples, sample_rate_hz=RATE).llr_synthetic
    assert score == pytest.approx(want, abs=2e-4)


def test_what_cannot_be_judged_speaks_for_neither_class(model, recordings):
    silence, blink = np.zeros(2 * RATE, np.float32), recordings[0][:100]
    scores = model.score_batch([silence, recordings[0], blink], [RATE] * 3)
    assert scores[0] == scores[2] == NO_EVIDENCE
    assert np.isfinite(scores).all()
    assert scores[1] == pytest.approx(model.score_batch(recordings[:1], [RATE])[0], abs=2e-4)


def test_what_is_no_recording_is_an_error(model, recordings):
    broken = np.full(RATE, np.nan, np.float32)
    with pytest.raises(AudioError):
        decode(broken, sample_rate_hz=RATE)
    with pytest.raises(AudioError):
        model.score_batch([recordings[0], broken], [RATE] * 2)


def test_other_uses_are_refused(recordings):
    model = Tiny()
    with pytest.raises(ConfigError, match="load"):
        model.score_batch(recordings[:1], [RATE])
    model.load()
    with pytest.raises(ConfigError, match="16000"):
        model.score_batch(recordings[:1], [8_000])
    model.unload()
    with pytest.raises(ConfigError, match="load"):
        model.score_batch(recordings[:1], [RATE])
