from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import deepfake_audio
from deepfake_audio import decoding
from deepfake_audio import detector as detector_module
from deepfake_audio.audio import DecodedAudio
from deepfake_audio.checkpoint import Checkpoint
from deepfake_audio.config import Limits, Policy
from deepfake_audio.detector import Detector
from deepfake_audio.errors import (
    AudioNotFoundError,
    CheckpointError,
    ConfigError,
    DeepfakeAudioError,
    DeviceError,
    LimitExceededError,
    UnsupportedFormatError,
)
from deepfake_audio.reduction import Score, SegmentScores
from deepfake_audio.report import Reason, Report, Verdict, json_schema
from deepfake_audio.scoring import Scorer

MakeWav = Callable[..., Path]
MakeSpeech = Callable[..., np.ndarray]


def untimed(report: Report) -> dict[str, object]:
    values = report.to_dict()
    values.pop("timing_ms")
    return values


def test_a_report_on_a_file(detector: Detector, speech_wav: MakeWav) -> None:
    path = speech_wav("clip.wav", 6, channels=2, rate_hz=44_100)
    report = detector.detect(path)
    jsonschema.validate(json.loads(report.to_json()), json_schema())
    assert report.input.name == str(path)
    assert (report.input.sample_rate_hz, report.input.channels) == (44_100, 2)
    assert report.input.duration_s == pytest.approx(6, abs=0.01)
    assert report.model.sha256 == detector.model.sha256
    assert {segment.channel for segment in report.segments} == {0, 1}
    assert max(segment.end_s for segment in report.segments) == pytest.approx(6, abs=0.01)
    best = max(
        np.mean([s.llr_synthetic for s in report.segments if s.channel == channel])
        for channel in (0, 1)
    )
    assert report.llr_synthetic == pytest.approx(best, abs=1e-3)
    assert report.p_synthetic == pytest.approx(1 / (1 + np.exp(-report.llr_synthetic)), abs=1e-5)


def test_detect_is_detect_many_of_one(checkpoint: Checkpoint, speech_wav: MakeWav) -> None:
    detector = Detector(checkpoint, device="cpu")  # in the precision that detect() takes, too
    path = speech_wav("clip.wav", 3)
    [many] = detector.detect_many([path])
    assert isinstance(many, Report)
    assert untimed(detector.detect(path)) == untimed(many)
    assert untimed(deepfake_audio.detect(path, model="unittest", device="cpu")) == untimed(many)


def test_every_kind_of_source_gives_the_same_score(
    detector: Detector, speech_wav: MakeWav, speech: MakeSpeech
) -> None:
    path = speech_wav("clip.wav", 3)
    content = path.read_bytes()
    sources = [path, str(path), content, io.BytesIO(content)]
    reports = list(detector.detect_many(sources, names=["a", "b", "c", "d"]))
    assert [report.input.name for report in reports] == ["a", "b", "c", "d"]
    assert len({(report.llr_synthetic, report.input.sha256) for report in reports}) == 1
    array = detector.detect(speech(3), sample_rate_hz=16_000, name="array")
    assert array.input.format == "array"
    assert array.llr_synthetic == pytest.approx(reports[0].llr_synthetic, abs=1e-3)


def test_failures_stay_in_place(detector: Detector, speech_wav: MakeWav, tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("hello")
    paths = [speech_wav(f"{i}.wav", 1.5 + i, seed=i) for i in range(3)]
    sources = [paths[0], text, paths[1], tmp_path / "nowhere.wav", paths[2]]
    results = list(detector.detect_many(sources))
    assert [type(result) for result in results] == [
        Report, UnsupportedFormatError, Report, AudioNotFoundError, Report,
    ]  # fmt: skip
    assert [r.input.name for r in results if isinstance(r, Report)] == [str(p) for p in paths]
    assert "note.txt" in str(results[1])
    with pytest.raises(AudioNotFoundError):
        detector.detect(tmp_path / "nowhere.wav")


def test_many_files_give_what_each_gives(detector: Detector, speech_wav: MakeWav) -> None:
    paths = [speech_wav(f"{i}.wav", 1 + 0.37 * i, seed=i) for i in range(12)]
    together = list(detector.detect_many(paths))
    for path, report in zip(paths, together, strict=True):
        alone = detector.detect(path)
        assert alone.llr_synthetic == pytest.approx(report.llr_synthetic, abs=1e-4)
        assert (alone.verdict, alone.input) == (report.verdict, report.input)


def test_workers_change_nothing_but_the_time(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, speech_wav: MakeWav
) -> None:
    monkeypatch.setattr(detector_module, "WORKER_FIRST_WINDOWS", 4)
    monkeypatch.setattr(detector_module, "WORKER_GROUP_WINDOWS", 8)
    sources: list[object] = [speech_wav(f"{i}.wav", 1 + 0.37 * i, seed=i) for i in range(12)]
    sources.insert(5, b"no audio")

    def detector(workers: int) -> Detector:
        made = Detector(checkpoint, precision="fp32", workers=workers)
        made.scorer.batch_windows = 4
        return made

    alone, together = (list(detector(workers).detect_many(sources)) for workers in (1, 3))
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, Report):
            assert one.llr_synthetic == pytest.approx(other.llr_synthetic, abs=2e-4)
            assert (one.verdict, one.input) == (other.verdict, other.input)
        else:
            assert str(one) == str(other)


def test_one_input_where_many_belong_is_refused_at_once(detector: Detector) -> None:
    for wrong in ("clip.wav", b"RIFF", Path("clip.wav")):
        with pytest.raises(TypeError, match="one input"):
            detector.detect_many(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"longer|shorter"):
        list(detector.detect_many([b"", b""], names=["only one"]))


@pytest.mark.parametrize(
    ("policy", "threshold", "verdict"),
    [
        ("recall", None, Verdict.LIKELY_SYNTHETIC),
        ("balanced", None, Verdict.UNCERTAIN),
        ("precision", None, Verdict.LIKELY_AUTHENTIC),
        ("balanced", 0.5, Verdict.LIKELY_SYNTHETIC),
        ("balanced", 0.0, Verdict.LIKELY_SYNTHETIC),
        ("balanced", 1.0, Verdict.UNCERTAIN),
        (Policy("mine", 0.9, 0.8, expected_fpr=0.02), None, Verdict.LIKELY_AUTHENTIC),
    ],
)
def test_policies(
    checkpoint: Checkpoint,
    speech_wav: MakeWav,
    policy: str | Policy,
    threshold: float | None,
    verdict: Verdict,
) -> None:
    # The untrained model says about 0.58 to everything.
    detector = Detector(checkpoint, device="cpu", policy=policy, threshold=threshold)
    report = detector.detect(speech_wav("clip.wav", 2))
    assert report.verdict is verdict
    if threshold is not None:
        assert report.policy.name == "custom"
        assert report.policy.threshold == threshold
        assert report.policy.expected_fpr is None
    if isinstance(policy, Policy):
        assert report.policy.expected_fpr == 0.02


def test_wrong_settings(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="recall, balanced, precision"):
        Detector(checkpoint, policy="strict")
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            Detector(checkpoint, threshold=threshold)
    with pytest.raises(DeviceError):
        Detector(checkpoint, device="abacus")
    with pytest.raises(CheckpointError):
        Detector.load("no-such-model")


def test_limits_are_enforced(checkpoint: Checkpoint, speech_wav: MakeWav) -> None:
    detector = Detector(checkpoint, device="cpu", limits=Limits(max_duration_s=1.0))
    with pytest.raises(LimitExceededError):
        detector.detect(speech_wav("long.wav", 3))


class Fixed(Scorer):
    """Scores that are given."""

    def __init__(self, like: Scorer, score: Score) -> None:
        super().__init__(like.network, like.header, like.device)
        self.given = score

    def score(self, recordings: object) -> list[Score]:
        return [self.given for _ in recordings]  # type: ignore[attr-defined]


def given(
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    llr: float | None,
    segments: list[float],
    reason: Reason | None = None,
    flags: tuple[str, ...] = (),
    peak: float | None = None,
) -> Report:
    count = len(segments)
    start = 2.0 * np.arange(count)
    found = SegmentScores(np.zeros(count, dtype=np.int64), start, start + 4, np.array(segments))
    detector = Detector(checkpoint, device="cpu")
    detector.scorer = Fixed(detector.scorer, Score(llr, peak, reason, 5.0, found, 0.01))
    real = decoding.begin

    def flagged(*args: object, **kwargs: object) -> DecodedAudio:
        audio = real(*args, **kwargs)  # type: ignore[arg-type]
        return DecodedAudio(audio.info, audio.samples, flags)

    monkeypatch.setattr(decoding, "begin", flagged)
    return detector.detect(np.full(16_000, 0.1, dtype=np.float32), sample_rate_hz=16_000)


def test_a_synthetic_part_in_genuine_speech_is_pointed_out(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Much genuine speech does not clear the rest: the verdict is for a person to make.
    mixed = given(checkpoint, monkeypatch, -3.0, [-9.0, 2.0], flags=("clipped",), peak=2.0)
    assert mixed.verdict is Verdict.UNCERTAIN
    assert mixed.warnings == ("clipped", "mixed_segments")
    # One odd window in a recording is chance, and what is flagged as a whole needs no pointing at.
    assert given(checkpoint, monkeypatch, -3.0, [-9.0, 2.0], peak=-1.0).warnings == ()
    assert given(checkpoint, monkeypatch, -3.0, [-4.0, -2.0]).verdict is Verdict.LIKELY_AUTHENTIC
    assert given(checkpoint, monkeypatch, 3.0, [1.0, 5.0], peak=4.0).warnings == ()


def test_inconclusive_reports(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    short = given(checkpoint, monkeypatch, 5.0, [5.0], Reason.TOO_SHORT)
    assert (short.verdict, short.reason) == (Verdict.INCONCLUSIVE, Reason.TOO_SHORT)
    assert short.llr_synthetic == 5.0
    music = given(checkpoint, monkeypatch, 5.0, [], Reason.NO_SPEECH)
    assert (music.reason, music.p_synthetic, music.llr_synthetic) == (Reason.NO_SPEECH, None, None)
    broken = given(checkpoint, monkeypatch, None, [], Reason.TOO_SHORT, ("truncated",))
    assert broken.reason is Reason.UNREADABLE_PART
    for report in (short, music, broken):
        jsonschema.validate(report.to_dict(), json_schema())


def test_sources_are_taken_as_they_are_needed(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, speech_wav: MakeWav
) -> None:
    monkeypatch.setattr(decoding, "READ_AHEAD_INPUTS", 4)
    monkeypatch.setattr(detector_module, "GROUP_WINDOWS", 8)
    content = speech_wav("clip.wav", 1.5).read_bytes()
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield content

    results = detector.detect_many(endless())
    for _ in range(20):
        assert isinstance(next(results), Report)
    # 20 are in the third group of 8; beyond it at most the read-ahead.
    assert 20 <= taken <= 24 + 4 + 1
    results.close()  # type: ignore[attr-defined]
    assert taken <= 24 + 4 + 1


def test_memory_does_not_grow_with_the_number_of_inputs(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, speech_wav: MakeWav
) -> None:
    monkeypatch.setattr(decoding, "READ_AHEAD_BYTES", 8_000_000)
    monkeypatch.setattr(detector_module, "GROUP_WINDOWS", 32)
    minute = speech_wav("minute.wav", 60)
    detector.detect(minute)
    tracemalloc.start()
    try:
        results = list(detector.detect_many([minute] * 30))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(isinstance(result, Report) for result in results)
    # 3.84 MB each, 115 MB all together; and some for windows and for decoding.
    assert peak < 60e6


def test_no_threads_are_left_behind(detector: Detector, speech_wav: MakeWav) -> None:
    content = speech_wav("clip.wav", 1.5).read_bytes()
    before = threading.active_count()
    results = detector.detect_many([content] * 50)
    next(results)
    results.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name.startswith("deepfake_audio"):
            thread.join(5)
    assert threading.active_count() <= before


def test_an_unexpected_error_costs_one_input_and_is_not_hidden(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, speech_wav: MakeWav
) -> None:
    real = decoding.begin

    def broken(source: object, **kwargs: object) -> DecodedAudio:
        if source == b"zero":
            raise ZeroDivisionError
        if source == b"huge":
            raise MemoryError
        return real(source, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "begin", broken)
    good = speech_wav("good.wav", 1.5)
    first, zero, huge, last = detector.detect_many([good, b"zero", b"huge", good])
    assert isinstance(first, Report)
    assert isinstance(last, Report)
    assert isinstance(zero, DeepfakeAudioError)
    assert isinstance(zero.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in str(zero)
    assert isinstance(huge, DeepfakeAudioError)
    assert huge.code == "limit_exceeded"


def test_a_detector_says_what_it_is_and_refuses_what_it_cannot_be(detector: Detector) -> None:
    assert repr(detector) == f"<Detector {detector.model}, balanced, on cpu>"
    with pytest.raises(ConfigError, match="workers: must be at least 1, not 0"):
        Detector.load("unittest", workers=0)
    with pytest.raises(ConfigError, match=r"threshold: must be a number in \[0, 1\], not '0.5'"):
        Detector.load("unittest", threshold="0.5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sources is one input"):
        detector.detect_many(np.zeros(16_000))


def test_public_names() -> None:
    for name in deepfake_audio.__all__:
        assert getattr(deepfake_audio, name) is not None
    assert deepfake_audio.Detector is Detector
    assert deepfake_audio.errors.DeepfakeAudioError is DeepfakeAudioError
    assert set(deepfake_audio.__all__) <= set(dir(deepfake_audio))
    with pytest.raises(AttributeError, match="no attribute 'detekt'"):
        deepfake_audio.detekt  # type: ignore[attr-defined] # noqa: B018


def test_importing_is_light() -> None:
    code = (
        "import sys, deepfake_audio\n"
        "assert not {'torch', 'numpy', 'librosa', 'typer'} & set(sys.modules)\n"
        "deepfake_audio.Report, deepfake_audio.Verdict, deepfake_audio.errors\n"
        "import deepfake_audio.audio, deepfake_audio.windows, deepfake_audio.calibration\n"
        "assert 'torch' not in sys.modules\n"
        "deepfake_audio.detect\n"
        "assert 'torch' not in sys.modules\n"
        "deepfake_audio.Detector.load('unittest')\n"
        "assert 'torch' in sys.modules\n"
        # What costs a second to import has no place on the way to a score.
        "assert not {'librosa', 'scipy.signal', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
