from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import make_speech

from deepfake_audio.calibration import Calibration
from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.config import WindowConfig
from deepfake_audio.devices import Precision
from deepfake_audio.errors import CheckpointError, ConfigError
from deepfake_audio.model import ModelOutput, Network
from deepfake_audio.reduction import Score
from deepfake_audio.report import Reason
from deepfake_audio.scoring import Scorer

RATE = 16_000
MakeSpeech = Callable[..., np.ndarray]
UNITTEST = load_checkpoint("unittest")

Rule = Callable[[torch.Tensor], torch.Tensor]


class Ruled(torch.nn.Module):
    """A network whose heads are given functions of the windows."""

    def __init__(self, logit: Rule, speech: Rule | None = None) -> None:
        super().__init__()
        self.logit, self.speech = logit, speech
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, windows: torch.Tensor) -> ModelOutput:
        self.shapes.append(tuple(windows.shape))
        batch = windows.shape[0]
        speech = self.speech(windows) if self.speech else torch.full((batch,), 10.0)
        return ModelOutput(
            self.logit(windows), torch.zeros(batch, 1), torch.zeros(batch, 4), speech
        )


def mean_level(windows: torch.Tensor) -> torch.Tensor:
    return windows.abs().mean(1)


def ruled(logit: Rule = mean_level, speech: Rule | None = None, **options: int) -> Scorer:
    header = dataclasses.replace(
        UNITTEST.header, calibration=Calibration(), windows=WindowConfig(hop_s=2.0)
    )
    return Scorer(Ruled(logit, speech), header, **options)  # type: ignore[arg-type]


def same(first: Score, second: Score) -> None:
    assert first.reason == second.reason
    assert first.speech_s == second.speech_s
    assert (first.llr is None) == (second.llr is None)
    if first.llr is not None:
        assert first.llr == pytest.approx(second.llr, abs=1e-4)
    np.testing.assert_array_equal(first.segments.channel, second.segments.channel)
    np.testing.assert_array_equal(first.segments.start_s, second.segments.start_s)
    np.testing.assert_allclose(first.segments.llr, second.segments.llr, atol=1e-4)


recordings = st.lists(
    st.tuples(st.floats(0, 9), st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=6
)


@settings(max_examples=10, deadline=None)
@given(recordings, st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_score_depends_on_its_recording_alone(shapes, batch_windows, random) -> None:
    sounds = [
        np.stack([make_speech(seconds, seed + c) for c in range(channels)])
        for seconds, channels, seed in shapes
    ]
    single = Scorer(UNITTEST.network, UNITTEST.header, precision="fp32")
    alone = [single.score([sound])[0] for sound in sounds]
    order = list(range(len(sounds)))
    random.shuffle(order)
    scorer = Scorer(
        UNITTEST.network, UNITTEST.header, batch_windows=batch_windows, precision="fp32"
    )
    together = scorer.score([sounds[i] for i in order])
    for position, index in enumerate(order):
        same(together[position], alone[index])


def test_windows_of_different_files_share_batches(speech: MakeSpeech) -> None:
    scorer = ruled(batch_windows=8)
    scorer.score([speech(s, i)[None] for i, s in enumerate([8, 3, 4, 3.1, 6])])
    # 4 s: 3 + 1 windows; 3 s: 1 + 1; 6 s: 1.
    assert sorted(scorer.network.shapes) == [(1, 6 * RATE), (2, 3 * RATE), (4, 4 * RATE)]


def test_llr_is_the_mean_over_the_speech_windows_of_the_worst_channel(speech: MakeSpeech) -> None:
    sound = np.stack([0.5 * speech(8, 0), speech(8, 1), 0.1 * speech(8, 2)])
    [score] = ruled().score([sound])
    starts = np.array([0, 2, 4]) * RATE
    expected = [
        np.mean([np.abs(channel[s : s + 4 * RATE]).mean() for s in starts]) for channel in sound
    ]
    assert score.llr == pytest.approx(max(expected), rel=1e-5)
    assert score.segments.channel.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert score.segments.start_s.tolist() == [0, 2, 4] * 3
    assert score.segments.end_s.tolist() == [4, 6, 8] * 3
    assert score.reason is None


def test_calibration_is_applied(speech: MakeSpeech) -> None:
    header = dataclasses.replace(UNITTEST.header, calibration=Calibration(scale=2.0, offset=-3.0))
    [score] = Scorer(Ruled(lambda w: torch.ones(len(w))), header).score([speech(3)[None]])  # type: ignore[arg-type]
    assert score.llr == pytest.approx(-1.0)


def test_opposite_channels_do_not_cancel(speech: MakeSpeech) -> None:
    left = speech(5)
    [score] = ruled().score([np.stack([left, -left])])
    assert score.reason is None
    assert score.speech_s == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.zeros((1, 0)), Reason.TOO_SHORT),
        (make_speech(0.4)[None], Reason.TOO_SHORT),
        (make_speech(0.8)[None], Reason.TOO_SHORT),
        (np.zeros((2, 30 * RATE)), Reason.NO_SPEECH),
        (np.full((1, 5 * RATE), 0.5), Reason.NO_SPEECH),
        (make_speech(1.2)[None], None),
    ],
)
def test_reasons(sound: np.ndarray, reason: Reason | None) -> None:
    [score] = ruled().score([sound.astype(np.float32)])
    assert score.reason is reason


def test_under_a_second_of_speech_in_much_silence(speech: MakeSpeech) -> None:
    sound = np.zeros((1, 10 * RATE), dtype=np.float32)
    sound[0, : RATE * 9 // 10] = speech(0.9)
    [score] = ruled().score([sound])
    assert score.reason is Reason.TOO_SHORT
    assert 0 < score.speech_s < 1
    assert score.llr is not None


def is_loud(windows: torch.Tensor) -> torch.Tensor:
    return torch.where(mean_level(windows) > 0.03, 5.0, -5.0)


def test_the_speech_gate_keeps_music_out(speech: MakeSpeech) -> None:
    quiet, loud = 0.2 * speech(40), speech(40)
    [music] = ruled(speech=is_loud).score([quiet[None]])
    assert (music.reason, music.speech_s, music.segments.llr.size) == (Reason.NO_SPEECH, 0, 0)
    # One window in ten that sounds like speech is chance; half of them is speech.
    mixed = np.concatenate([quiet[: 36 * RATE], loud[: 4 * RATE]])
    assert ruled(speech=is_loud).score([mixed[None]])[0].reason is Reason.NO_SPEECH
    mixed = np.concatenate([quiet[: 20 * RATE], loud[: 20 * RATE]])
    [score] = ruled(speech=is_loud).score([mixed[None]])
    assert score.reason is None
    assert score.segments.start_s.min() >= 16
    assert score.speech_s < 24
    # Only the loud windows count.
    assert score.llr > 0.04


def test_music_around_it_does_not_hide_speech(speech: MakeSpeech) -> None:
    mixed = np.concatenate([speech(20), 0.2 * speech(150, 1)])
    [score] = ruled(speech=is_loud).score([mixed[None]])
    assert score.reason is None
    assert score.speech_s >= 15


def test_the_peak_is_a_run_of_windows_and_not_one(speech: MakeSpeech) -> None:
    loud_end = np.concatenate([0.1 * speech(40), speech(12, 1)])
    [score] = ruled().score([loud_end[None]])
    assert score.peak_llr > 2 * score.llr
    assert score.peak_llr < score.segments.llr.max()
    [short] = ruled().score([speech(5)[None]])
    assert short.peak_llr is None


def test_silent_windows_are_not_computed(speech: MakeSpeech) -> None:
    sound = np.zeros((2, 60 * RATE), dtype=np.float32)
    sound[0, : 4 * RATE] = speech(4)
    scorer = ruled()
    scorer.score([sound])
    assert sum(shape[0] for shape in scorer.network.shapes) == 2


def test_a_channel_with_next_to_no_speech_does_not_decide(speech: MakeSpeech) -> None:
    talk = 0.3 * speech(8, 0)
    crosstalk = np.zeros_like(talk)
    crosstalk[: RATE * 9 // 10] = speech(0.9, 1)
    [score] = ruled(lambda w: w.abs().amax(1)).score([np.stack([talk, crosstalk])])
    [alone] = ruled(lambda w: w.abs().amax(1)).score([talk[None]])
    assert score.llr == alone.llr


def test_costs_add_up(speech: MakeSpeech) -> None:
    scores = ruled().score([speech(9)[None], np.zeros((1, 0), dtype=np.float32), speech(2)[None]])
    costs = [score.elapsed_s for score in scores]
    assert costs[0] > costs[2] > costs[1] > 0


def test_nothing_in_nothing_out() -> None:
    assert ruled().score([]) == []


def test_a_broken_network_is_an_error(speech: MakeSpeech) -> None:
    with pytest.raises(CheckpointError, match="finite"):
        ruled(lambda w: w.sum(1) * float("nan")).score([speech(2)[None]])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_change_no_bit(speech: MakeSpeech, precision: Precision) -> None:
    checkpoint = load_checkpoint("default")
    plain, shared = (
        Scorer(checkpoint.network, checkpoint.header, precision=precision) for _ in range(2)
    )
    shared.prepare()
    shared.prepare()  # once is enough
    lengths = (0.5, 1.3, 2, 2.5, 4, 5.7, 6, 11)
    sounds = [speech(seconds, seed)[None] for seed, seconds in enumerate((*lengths, *lengths))]
    groups = [sounds, sounds[::-1], sounds[3:4], sounds[7:8]]
    expected = [plain.score(group) for group in groups]
    with ThreadPoolExecutor(len(groups)) as pool:
        found = list(pool.map(shared.score, groups))
    for scores, references in zip(found, expected, strict=True):
        for one, other in zip(scores, references, strict=True):
            assert one.llr == other.llr
            np.testing.assert_array_equal(one.segments.llr, other.segments.llr)


def test_much_work_prepares_by_itself_and_changes_nothing(
    speech: MakeSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Scorer(UNITTEST.network, UNITTEST.header)
    monkeypatch.setattr(plain, "prepare", lambda: None)
    sounds = [speech(2 + seed % 3, seed)[None] for seed in range(6)]
    expected = [one.llr for one in plain.score(sounds)]
    monkeypatch.setattr("deepfake_audio.scoring.PREPARE_AFTER_WINDOWS", 20)
    scorer = Scorer(UNITTEST.network, UNITTEST.header)
    with ThreadPoolExecutor(4) as pool:  # some of them in the middle when it happens
        for scores in pool.map(scorer.score, [sounds] * 12):
            assert [one.llr for one in scores] == expected
    monkeypatch.setattr(Network, "forward", None)
    assert [one.llr for one in scorer.score(sounds)] == expected


@pytest.mark.parametrize("prepared", [False, True])
def test_a_scorer_can_be_copied_and_sent(speech: MakeSpeech, prepared: bool) -> None:
    scorer = Scorer(UNITTEST.network, UNITTEST.header)
    if prepared:
        scorer.prepare()
    sounds = [speech(3)[None]]
    [expected] = scorer.score(sounds)
    for other in (copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        for _ in range(2):
            [found] = other.score(sounds)
            assert found.llr == expected.llr
            other.prepare()


def test_what_a_program_sets_for_itself_does_not_hinder_preparing(speech: MakeSpeech) -> None:
    sounds = [speech(3)[None]]
    [expected] = Scorer(UNITTEST.network, UNITTEST.header).score(sounds)
    scorers = [Scorer(UNITTEST.network, UNITTEST.header) for _ in range(3)]
    torch.set_default_dtype(torch.float64)
    try:
        scorers[0].prepare()
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        scorers[1].prepare()
    with torch.autocast("cpu"):
        scorers[2].prepare()
    for scorer in scorers:
        assert isinstance(scorer.runner._ask, torch.jit.ScriptModule)
        [found] = scorer.score(sounds)
        assert found.llr == expected.llr


def test_without_torchscript_it_goes_on_as_it_is(
    speech: MakeSpeech, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = Scorer(UNITTEST.network, UNITTEST.header)
    sounds = [speech(3)[None]]
    [expected] = scorer.score(sounds)
    monkeypatch.setattr(torch.jit, "trace", lambda module, *_, **__: module)  # PYTORCH_JIT=0
    scorer.prepare()
    scorer.prepare()
    assert len(caplog.records) == 1
    assert "switched off" in caplog.text
    [found] = scorer.score(sounds)
    assert found.llr == expected.llr


def test_a_prepared_network_runs_without_python(
    speech: MakeSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(UNITTEST.network, UNITTEST.header)
    sound = [speech(3)[None]]
    [before] = scorer.score(sound)
    scorer.prepare()

    def asked(*_: object) -> None:
        raise AssertionError("the network was called from Python")

    monkeypatch.setattr(Network, "forward", asked)
    [after] = scorer.score(sound)
    assert before.llr == after.llr


def test_precisions(speech: MakeSpeech) -> None:
    sounds = [speech(seconds, seed)[None] for seed, seconds in enumerate((2, 3, 9))]
    exact, coarse = (
        Scorer(UNITTEST.network, UNITTEST.header, precision=precision)
        for precision in ("fp32", "bf16")
    )
    assert (exact.precision, coarse.precision) == ("fp32", "bf16")
    for one, other in zip(exact.score(sounds), coarse.score(sounds), strict=True):
        assert one.llr == pytest.approx(other.llr, abs=0.05)
    assert Scorer(UNITTEST.network, UNITTEST.header).precision in ("fp32", "bf16")
    with pytest.raises(ConfigError, match="fp16"):
        Scorer(UNITTEST.network, UNITTEST.header, precision="fp16")  # type: ignore[arg-type]
