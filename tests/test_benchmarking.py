"""The benchmarks run, and compare things that give the same result. No test looks at a time."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from deepfake_audio import benchmarking
from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import Comparison, Timing
from deepfake_audio.detector import Detector

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY = ["--model", "unittest", "--device", "cpu", "--clips", "3", "--repeats", "2"]


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load one of the benchmarks as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    path = BENCHMARKS / request.param
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clips() -> list[bytes]:
    samples = sorted(benchmarking.bundled_speech().glob("*.flac"))
    assert len(samples) == 4
    return benchmarking.speech_clips(samples, 6)


def test_clips_are_speech_of_many_lengths(clips: list[bytes]) -> None:
    waveforms = [decode(clip).samples for clip in clips]
    lengths = {waveform.shape[1] for waveform in waveforms}
    assert len(lengths) == len(clips)
    assert min(lengths) >= 2 * 16_000
    assert max(lengths) <= 8 * 16_000
    assert all(np.abs(waveform).max() > 0.05 for waveform in waveforms)
    assert benchmarking.total_seconds(clips) == pytest.approx(sum(lengths) / 16_000)


def test_ways_are_run_by_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    ways = {"ours": lambda: calls.append("ours"), "plain": lambda: calls.append("plain")}
    found = benchmarking.compare("task", 10.0, ways, repeats=2)
    assert calls == ["ours", "plain"] * 3
    assert [len(timing.runs_s) for timing in found.timings] == [2, 2]


def test_medians_and_ratios() -> None:
    ours, plain = Timing("ours", (0.5, 0.4, 9.0)), Timing("plain", (1.0, 2.0, 1.5))
    found = Comparison("task", 10.0, (ours, plain))
    rows = found.to_dict()["timings"]
    assert [row["median_s"] for row in rows] == [0.5, 1.5]
    assert [row["times_real_time"] for row in rows] == [20.0, 6.7]
    assert [row["ratio"] for row in rows] == [1.0, 3.0]
    lines = benchmarking.table([found]).splitlines()
    assert lines[1] == "task"
    assert lines[3].split() == ["plain", "1.500", "s", "7", "3.00", "x"]


@pytest.mark.parametrize("script", ["end_to_end.py", "features.py", "scoring.py"], indirect=True)
def test_a_benchmark_prints_a_table_and_writes_json(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    script.run(script.__doc__, script.measure, [*TINY, "--json", str(out)])
    measured = json.loads(out.read_text())
    assert measured["about"]["clips"] == 3
    assert measured["about"]["model"].startswith("unittest")
    shown = capsys.readouterr().out
    assert "x real time" in shown
    for task in measured["comparisons"]:
        assert task["name"] in shown
        assert task["audio_s"] > 6
        assert task["timings"][0]["ratio"] == 1
        for timing in task["timings"]:
            assert timing["name"] in shown
            assert len(timing["runs_s"]) == 2
            assert timing["median_s"] > 0


@pytest.mark.parametrize("script", ["end_to_end.py"], indirect=True)
def test_the_plain_loop_gives_the_same_scores(
    script: ModuleType, detector: Detector, clips: list[bytes]
) -> None:
    scores = detector.scorer.score([decode(clip).samples for clip in clips])
    batched = [score.llr for score in scores]
    reported = [report.llr_synthetic for report in benchmarking.reports(detector, clips)]
    plain = [script.plain_llr(detector, clip) for clip in clips]
    assert len(set(batched)) == len(clips)
    assert np.ptp(plain) > 100e-6  # the untrained model says nearly the same to everything
    np.testing.assert_allclose(plain, batched, rtol=0, atol=1e-6)
    np.testing.assert_allclose(plain, reported, rtol=0, atol=51e-6)  # four places


@pytest.mark.parametrize("script", ["features.py"], indirect=True)
def test_all_ways_of_a_feature_give_the_same_numbers(
    script: ModuleType, clips: list[bytes]
) -> None:
    waveforms = benchmarking.equal_lengths(clips[:2])
    for name, (batched, one) in script.PAIRS.items():
        ours = batched(torch.from_numpy(waveforms)).numpy()
        ways = [one, script.PLAIN_TORCH[name]] if name in script.PLAIN_TORCH else [one]
        for way in ways:
            plain = np.stack([way(waveform) for waveform in waveforms])
            assert ours.shape == plain.shape, name
            # In float32; a ratio of cells that hold next to nothing is never exact.
            close = np.isclose(ours, plain, rtol=1e-3, atol=1e-3 * np.abs(plain).std())
            assert close.mean() > 0.995, name


@pytest.mark.parametrize("script", ["end_to_end.py"], indirect=True)
@pytest.mark.parametrize(
    "arguments", [["--data", "no-such-folder"], ["--clips", "0"], ["--model", "no-such-model"]]
)
def test_a_benchmark_refuses_in_one_line(
    script: ModuleType, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        script.run(script.__doc__, script.measure, [*TINY, *arguments])
    assert caught.value.code not in (0, None)


@pytest.mark.parametrize("script", ["compare.py"], indirect=True)
def test_a_regression_is_told(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(name: str, ours: float, plain: float, audio_s: float = 10.0) -> str:
        found = Comparison(
            "task", audio_s, (Timing("ours", (ours,)), Timing("plain", (plain,)))
        ).to_dict()
        path = tmp_path / name
        path.write_text(json.dumps({"comparisons": [found]}))
        return str(path)

    before = measured("before.json", 1.0, 5.0)
    assert script.main([before, measured("same.json", 1.05, 9.0)]) == 0
    assert script.main([before, measured("longer.json", 2.0, 10.0, audio_s=20.0)]) == 0
    assert "SLOWER" not in capsys.readouterr().out
    slower = measured("slower.json", 1.2, 5.0)
    assert script.main([before, slower]) == 1
    assert capsys.readouterr().out.count("SLOWER") == 1
    assert script.main([before, slower, "--tolerance", "0.3"]) == 0
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"comparisons": []}))
    assert script.main([before, str(other)]) == 2


@pytest.mark.parametrize("script", ["growth.py"], indirect=True)
@pytest.mark.parametrize(
    ("size", "name"), [("--files=7", "7 files"), ("--hours=0.001", "one recording of 4 s")]
)
def test_one_size_is_measured(
    script: ModuleType,
    size: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "CLIPS", 3)
    monkeypatch.setattr(script, "SECONDS_BEHIND_A_MEDIAN", 0)
    monkeypatch.setattr(script, "one_thread_each", lambda _: 1)  # leaves this process as it is
    script.main([size, "--model=unittest", "--device=cpu"])
    measured = json.loads(capsys.readouterr().out)
    [row], [task] = measured["growth"], measured["comparisons"]
    assert row["name"] == task["name"] == name
    assert row["peak_mb"] >= row["peak_mb_before"] > 10
    assert row["ms_per_file"] > 0
    assert task["audio_s"] == 4 if "recording" in name else task["audio_s"] > 7 * 2


@pytest.mark.parametrize("script", ["gpu.py"], indirect=True)
def test_what_a_network_needs_is_counted(script: ModuleType) -> None:
    maps = 16_000 // 4 // 10
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, maps, -1)), torch.nn.Conv2d(1, 5, 1, bias=False)
    )
    need = script.cost(network, 2, window_s=0.25)
    assert need.pcm_bytes == 32_000
    assert need.flop == 2 * 5 * 16_000
    assert need.memory_bytes == 2 * (1 + 5) * 16_000
    machine = script.Machine(32e-3, 1e3, {"bf16": 0.32})
    allowed = script.bounds(need, machine, "bf16")
    assert allowed["copy to device"] == pytest.approx(1_000)
    assert allowed["matrix products"] == pytest.approx(2e6)
    assert allowed["memory"] == pytest.approx(1e12 / 192_000)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a GPU")
@pytest.mark.parametrize("script", ["gpu.py"], indirect=True)
def test_without_a_gpu_there_is_no_figure(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["gpu.py", "--json", str(out)])
    with pytest.raises(SystemExit, match="no GPU"):
        script.main()
    assert not out.exists()
