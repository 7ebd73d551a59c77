"""Scoring at scale: shards, manifests, resuming, a real Ray cluster, a real S3 server."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake_audio import distributed
from deepfake_audio.detector import Detector
from deepfake_audio.distributed import Settings, score
from deepfake_audio.errors import ConfigError, DatasetError, DeepfakeAudioError
from deepfake_audio.report import Report
from deepfake_audio.shards import RESULTS_PATTERN, find_items, in_shards

pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")

MakeWav = Callable[..., Path]
UNITTEST = Settings(model="unittest", device="cpu")


def rows_of(folder: str | Path, filesystem: Any = None) -> dict[str, dict[str, Any]]:
    """Read all results, by name; fails if a name comes twice."""
    table = pq.read_table(str(folder), filesystem=filesystem)
    rows = table.to_pylist()
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


@pytest.fixture
def recordings(speech_wav: MakeWav, tmp_path: Path) -> Path:
    """Seven clips, one of them in a sub-folder, a broken one and a text file."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    for index in range(7):
        name = f"more/{index}.wav" if index == 6 else f"{index}.wav"
        speech_wav("clip.wav", 1.2 + 0.3 * index, seed=index).rename(folder / name)
    (folder / "broken.wav").write_bytes(b"RIFF of no use")
    (folder / "notes.txt").write_text("no recording")
    return folder


def test_a_folder_gives_a_row_for_each_recording(recordings: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    outcome = score(
        str(recordings),
        str(tmp_path / "out"),
        settings=UNITTEST,
        shard_size=3,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert (outcome.scored, outcome.failed, outcome.shards, outcome.resumed_shards) == (7, 1, 3, 0)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    rows = rows_of(tmp_path / "out")
    detector = Detector.load("unittest", device="cpu")
    broken = rows.pop(str(recordings / "broken.wav"))
    with pytest.raises(DeepfakeAudioError) as caught:
        detector.detect(recordings / "broken.wav")
    assert (broken["error_code"], broken["error"]) == (caught.value.code, str(caught.value))
    assert broken["verdict"] is None
    for path in sorted(recordings.rglob("[0-9].wav")):
        row = rows.pop(str(path))
        report = detector.detect(path)
        assert row["error_code"] is None
        assert row["verdict"] == report.verdict.value
        assert row["p_synthetic"] == pytest.approx(report.p_synthetic, abs=1e-3)
        assert (row["sha256"], row["format"]) == (report.input.sha256, report.input.format)
        assert len(row["segments"]) == len(report.segments)
        assert row["model_sha256"] == report.model.sha256
    assert not rows


def test_finished_shards_are_left_alone(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score(str(recordings), str(out), settings=UNITTEST, shard_size=3)
    files = sorted(out.glob(RESULTS_PATTERN))
    written = {file: file.stat().st_mtime_ns for file in files}
    files[1].unlink()
    again = score(str(recordings), str(out), settings=UNITTEST, shard_size=3)
    assert (again.shards, again.resumed_shards) == (3, 2)
    assert sorted(out.iterdir()) == files
    for file in (files[0], files[2]):
        assert file.stat().st_mtime_ns == written[file]
    nothing_left = score(str(recordings), str(out), settings=UNITTEST, shard_size=3)
    assert (nothing_left.scored, nothing_left.failed, nothing_left.resumed_shards) == (7, 1, 3)


def test_results_of_another_list_are_not_mixed_in(recordings: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    score(str(recordings), out, settings=UNITTEST)
    (recordings / "a.wav").write_bytes((recordings / "0.wav").read_bytes())
    with pytest.raises(ConfigError, match="another list"):
        score(str(recordings), out, settings=UNITTEST)
    (recordings / "a.wav").unlink()
    with pytest.raises(ConfigError, match="another list"):
        score(str(recordings), out, settings=UNITTEST, shard_size=3)
    with pytest.raises(ConfigError, match="unknown policy"):
        score(str(recordings), out, engine="ray", settings=Settings("unittest", "no-such"))


def test_another_policy_or_list_is_another_result(recordings: Path) -> None:
    [shard] = in_shards(find_items(str(recordings)))
    name = distributed.result_name(shard, UNITTEST, "a")
    assert name == distributed.result_name(shard, UNITTEST, "a")
    others = {
        distributed.result_name(shard, UNITTEST, "b"),
        distributed.result_name(shard, Settings("unittest", "recall", None, "cpu"), "a"),
        distributed.result_name(in_shards(shard.items[1:])[0], UNITTEST, "a"),
    }
    assert name not in others
    assert len(others) == 3


def test_a_killed_run_goes_on(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Dies by SIGKILL when the second shard is done; nothing of it may be half there.
    program = (
        "import os, sys\n"
        "from deepfake_audio.distributed import Settings, score\n"
        "stop = lambda done, total: done == 2 and os.kill(os.getpid(), 9)\n"
        "score(sys.argv[1], sys.argv[2], settings=Settings('unittest', device='cpu'),\n"
        "      shard_size=2, on_progress=stop)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, recordings, out], check=False)
    assert killed.returncode == -signal.SIGKILL
    outcome = score(str(recordings), str(out), settings=UNITTEST, shard_size=2)
    assert (outcome.shards, outcome.resumed_shards) == (4, 2)
    assert len(rows_of(out)) == 8


def test_manifests_of_paths(recordings: Path, tmp_path: Path) -> None:
    table = recordings / "list.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "path"), ("a", "0.wav"), ("b", str(recordings / "1.wav")), ("c", "absent.wav")]
        )
    outcome = score(str(table), str(tmp_path / "out"), settings=UNITTEST)
    assert (outcome.scored, outcome.failed) == (2, 1)
    rows = rows_of(tmp_path / "out")
    assert set(rows) == {"a", "b", "c"}
    assert rows["c"]["error_code"] == "not_found"
    parquet = recordings / "list.parquet"
    pq.write_table(pa.table({"path": ["2.wav", "more/6.wav"]}), parquet)
    assert [item.name for item in find_items(str(parquet))] == ["2.wav", "more/6.wav"]


def test_parquet_with_audio_in_it(recordings: Path, tmp_path: Path) -> None:
    contents = [(recordings / f"{index}.wav").read_bytes() for index in range(6)] + [b"bad", None]
    audio = [{"bytes": content, "path": None} for content in contents]
    path = tmp_path / "clips.parquet"
    table = pa.table({"id": [f"id{i}" for i in range(8)], "audio": audio})
    pq.write_table(table, path, row_group_size=3)
    outcome = score(str(path), str(tmp_path / "out"), settings=UNITTEST, shard_size=3)
    assert (outcome.scored, outcome.failed, outcome.shards) == (6, 2, 3)
    rows = rows_of(tmp_path / "out")
    detector = Detector.load("unittest", device="cpu")
    for index in range(6):
        report = detector.detect(contents[index] or b"")
        assert rows[f"id{index}"]["sha256"] == report.input.sha256
    assert rows["id7"]["error_code"] == "empty_audio"


def test_ids_that_look_like_numbers_stay_as_they_are(recordings: Path) -> None:
    table = recordings / "list.csv"
    table.write_text("id,path\n007,0.wav\nNA,1.wav\n")
    assert [item.name for item in find_items(str(table))] == ["007", "NA"]


@pytest.mark.parametrize(
    "entry", ["/etc/hostname", "../other/a.wav", "file:///a.wav", "http://host/a.wav", "s3://b/a"]
)
def test_a_manifest_from_elsewhere_leads_nowhere_else(entry: str) -> None:
    filesystem = pytest.importorskip("fsspec").filesystem("memory")
    filesystem.pipe_file("/lists/list.csv", f"path\n{entry}\n".encode())
    with pytest.raises(DatasetError, match="may not lead"):
        find_items("memory://lists/list.csv")


def test_damaged_manifests_are_named(tmp_path: Path) -> None:
    for name, content in (("empty.csv", b""), ("bad.parquet", b"PAR1 not quite")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=name):
            find_items(str(tmp_path / name))
    pq.write_table(pa.table({"audio": [b"RIFF"]}), tmp_path / "plain.parquet")
    with pytest.raises(DatasetError, match="field bytes"):
        find_items(str(tmp_path / "plain.parquet"))


def test_an_outage_finishes_nothing(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    filesystem = fsspec.filesystem("memory")
    for index in range(4):
        filesystem.pipe_file(f"/calls/{index}.wav", (recordings / f"{index}.wav").read_bytes())
    out = tmp_path / "out"

    def fail(*args: object, **kwargs: object) -> None:
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(type(filesystem), "open", fail)
        with pytest.raises(DatasetError, match="run again"):
            score("memory://calls", str(out), settings=UNITTEST, shard_size=2)
    assert not list(out.glob("*"))
    outcome = score("memory://calls", str(out), settings=UNITTEST, shard_size=2)
    assert (outcome.scored, outcome.failed, outcome.resumed_shards) == (4, 0, 0)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_nothing_to_score_is_said_at_once(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no recordings"):
        score(str(tmp_path), str(tmp_path / "out"), engine=engine, settings=UNITTEST)


def test_wrong_settings_are_said_at_once(recordings: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(ConfigError, match="engine"):
        score(str(recordings), out, engine="spark", settings=UNITTEST)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="shard_size"):
        score(str(recordings), out, shard_size=0, settings=UNITTEST)
    with pytest.raises(ConfigError, match="nosuch"):
        score("nosuch://bucket/folder", out, settings=UNITTEST)
    table = recordings / "wrong.csv"
    table.write_text("file\n0.wav\n")
    with pytest.raises(DatasetError, match="column"):
        find_items(str(table))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two workers on this machine."""
    ray = pytest.importorskip("ray", reason='pip install "deepfake-audio[distributed]"')
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000
    )
    yield ray
    ray.shutdown()


@pytest.mark.long
def test_ray_gives_what_this_process_gives(cluster: Any, recordings: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    score(str(recordings), str(here), settings=UNITTEST, shard_size=2)
    outcome = score(
        str(recordings), str(there), engine="ray", settings=UNITTEST, shard_size=2, workers=2
    )
    assert (outcome.scored, outcome.failed, outcome.shards) == (7, 1, 4)
    expected, found = rows_of(here), rows_of(there)
    assert expected.keys() == found.keys()
    for name, row in expected.items():
        assert found[name]["verdict"] == row["verdict"]
        assert found[name]["p_synthetic"] == pytest.approx(row["p_synthetic"], abs=1e-3)


@pytest.mark.long
def test_a_killed_worker_costs_nothing(cluster: Any, speech_wav: MakeWav, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    folder = tmp_path / "in"
    folder.mkdir()
    content = speech_wav("clip.wav", 20).read_bytes()
    for index in range(40):
        (folder / f"{index:02}.wav").write_bytes(content)
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if not killed:
            # Of this cluster alone: another may run on the same machine.
            ours = psutil.Process().children(recursive=True)
            workers = [p for p in ours if "ShardScorer" in " ".join(p.cmdline())]
            killed.append(workers[0].pid)
            workers[0].kill()

    out = tmp_path / "out"
    score(
        str(folder),
        str(out),
        engine="ray",
        settings=UNITTEST,
        shard_size=2,
        workers=2,
        on_progress=kill_one,
    )
    assert killed
    rows = rows_of(out)
    assert len(rows) == 40
    assert len({row["p_synthetic"] for row in rows.values()}) == 1


def test_from_a_bucket_into_a_bucket(bucket: Any, recordings: Path) -> None:
    bucket.put(str(recordings), "clips/in", recursive=True)
    outcome = score("s3://clips/in", "s3://clips/out", settings=UNITTEST, shard_size=3)
    assert (outcome.scored, outcome.failed, outcome.shards) == (7, 1, 3)
    names = bucket.ls("clips/out")
    assert len(names) == 3
    rows: list[dict[str, Any]] = []
    for name in names:
        with bucket.open(name, "rb") as file:
            rows += pq.read_table(file).to_pylist()
    detector = Detector.load("unittest", device="cpu")
    by_name = {row["name"]: row for row in rows}
    report = detector.detect(recordings / "0.wav")
    assert isinstance(report, Report)
    [found] = [row for name, row in by_name.items() if name.endswith("in/0.wav")]
    assert found["name"].startswith("s3://clips/")
    assert found["sha256"] == report.input.sha256
    again = score("s3://clips/in", "s3://clips/out", settings=UNITTEST, shard_size=3)
    assert again.resumed_shards == 3


@pytest.mark.long
def test_the_command(recordings: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepfake_audio", "score", "--model", "unittest"]
    command += ["--input", str(recordings), "--output", str(tmp_path / "out"), "--shard-size", "4"]
    began = time.monotonic()
    first = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert first.returncode == 3, first.stderr
    assert first.stdout.strip() == str(tmp_path / "out")
    assert "7 scored, 1 unreadable, 0 of 2" in first.stderr
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 3  # what could not be read still could not
    assert "2 of 2 shards were finished before" in second.stderr
    assert time.monotonic() - began < 120
