"""A GPU says what the CPU says. Needs one, and is skipped without."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

from deepfake_audio import Detector
from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.checkpoint import load_checkpoint, released_models
from deepfake_audio.devices import Precision
from deepfake_audio.scoring import Score, Scorer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")

MakeSpeech = Callable[..., np.ndarray]


@cache
def scorer(device: str, precision: Precision = "fp32") -> Scorer:
    checkpoint = load_checkpoint("default" if "default" in released_models() else "unittest")
    return Scorer(checkpoint.torch_network, checkpoint.header, device, precision=precision)


@cache
def recordings() -> list[np.ndarray]:
    """Real speech of many lengths: of 16 bits, and of more."""
    whole = [decode(path).samples for path in sorted(bundled_speech().glob("*.flac"))]
    parts = [one[:, : 16_000 * n] for one in whole for n in (1, 3, 5, 9)]
    return [*whole, *parts, *(part * np.float32(0.7) for part in parts)]


def same(ours: list[Score], theirs: list[Score], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.reason == other.reason
        assert one.llr == pytest.approx(other.llr, abs=tolerance)
        np.testing.assert_allclose(one.segments.llr, other.segments.llr, atol=tolerance)


def test_fp32_equals_the_cpu() -> None:
    scale = abs(scorer("cpu").header.calibration.scale)
    expected = scorer("cpu").score(recordings())
    for _ in range(3):  # launched, recorded, replayed
        same(scorer("cuda:0").score(recordings()), expected, 1e-3 * max(scale, 1))


def test_a_score_depends_on_its_recording_alone() -> None:
    together = scorer("cuda:0").score(recordings())
    alone = [scorer("cuda:0").score([one])[0] for one in recordings()]
    same(together, alone, 1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "auto"])
def test_coarser_precisions_lie_near(precision: Precision) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a GPU of capability 8.0")
    same(scorer("cuda:0", precision).score(recordings()), scorer("cpu").score(recordings()), 0.3)


def test_threads_may_share_a_gpu() -> None:
    expected = scorer("cuda").score(recordings())
    found: dict[int, list[Score]] = {}

    def ask(number: int) -> None:
        found[number] = scorer("cuda").score(recordings())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for scores in found.values():
        same(scores, expected, 1e-3)


def test_reports_come_in_order(speech: MakeSpeech) -> None:
    detector = Detector.load("unittest", device="cuda")
    sounds = [speech(1 + n % 4, n) for n in range(60)]
    names = [str(n) for n in range(60)]
    reports = detector.detect_many(sounds, sample_rate_hz=16_000, names=names)
    assert [report.input.name for report in reports] == names
