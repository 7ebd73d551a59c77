"""A drill from end to end: the set, whoever judges it, and what is written down."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import make_speech
from typer.testing import CliRunner, Result

from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.cli.tools import app
from deepfake_audio.datasets import load_manifest

pytest.importorskip("av")

N = 3
FEW = (
    "--clips",
    N,
    "--vocoder",
    "lpc",
    "--condition",
    "a-law",
    "--condition",
    "noise:10+opus:12000",
)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("genuine")
    for index in range(N + 1):
        soundfile.write(folder / f"a name <{index}>.wav", make_speech(5.0, index), 16_000)
    (folder / "broken.wav").write_bytes(b"nothing")
    return folder


def run(*arguments: object, status: int = 0) -> Result:
    model = () if "--service" in arguments else ("--model", "unittest")
    result = CliRunner().invoke(app, ["drill", *map(str, (*model, *arguments))])
    assert result.exit_code == status, result.output
    return result


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def engine() -> tuple[object, ...]:
    """One engine that is there, and none otherwise: then copies are all that is synthetic."""
    name = next((name for name in ("espeak-ng", "flite") if shutil.which(name)), None)
    return ("--engine", name or "espeak-ng")


@pytest.fixture(scope="module")
def drilled(
    tmp_path_factory: pytest.TempPathFactory, genuine: Path, engine: tuple[object, ...]
) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("drill") / "out"
    return out, run("--out", out, "--genuine", genuine, *engine, *FEW, "--seed", 7)


def test_what_is_written(drilled: tuple[Path, Result]) -> None:
    out, result = drilled
    clips = load_manifest([out / "manifest.csv"])
    scores = rows(out / "scores.csv")
    assert [clip.id for clip in clips] == [row["id"] for row in scores]
    assert all(0 <= float(row["p_synthetic"]) <= 1 for row in scores)
    by_version = {row["version"] for row in scores}
    assert by_version == {"as made", "a-law", "noise:10+opus:12000"}
    both = next(row for row in scores if row["version"] == "noise:10+opus:12000")
    assert (both["noise"], both["codec"], both["channel"]) == ("noise:10", "opus:12000", "")
    assert {row["surface"] for row in scores} == {"upload", "message", "live"}
    of_genuine = [row for row in scores if row["label"] == "bonafide"]
    assert len(of_genuine) == 3 * N
    assert not any(row["family"] or row["system"] for row in of_genuine)
    assert {"vocoder", "splice"} <= {row["family"] for row in scores}
    for clip in clips:
        samples, rate_hz = soundfile.read(clip.path)
        assert rate_hz == 16_000
        assert np.abs(samples).max() > 0.01
    assert "condition a-law" in result.stdout
    assert "system lpc" in result.stdout


def test_the_protocol_tells_how(drilled: tuple[Path, Result]) -> None:
    out, _ = drilled
    protocol = json.loads((out / "drill.json").read_text())
    assert protocol["about"]["model"].startswith("unittest ")
    assert "--seed 7" in protocol["about"]["command"]
    assert {"what": "genuine recordings", "why": "1 cannot be read"} in protocol["skipped"]
    for name, sha256 in protocol["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256
    assert len(protocol["files"]) == 2 + len(rows(out / "scores.csv"))
    for row in protocol["rows"]:
        assert row["found"] <= row["synthetic"]
        assert row["flagged"] <= row["genuine"]
    text = (out / "drill.json").read_text() + (out / "scores.csv").read_text()
    assert "a name" not in text, "names of the user's files are nobody's matter"


def test_counts_are_those_of_the_scores(drilled: tuple[Path, Result]) -> None:
    out, _ = drilled
    protocol = json.loads((out / "drill.json").read_text())
    [coded] = [row for row in protocol["rows"] if row["group"] == "a-law"]
    members = [row for row in rows(out / "scores.csv") if row["version"] == "a-law"]
    for label, n, flagged in (("spoof", "synthetic", "found"), ("bonafide", "genuine", "flagged")):
        own = [row for row in members if row["label"] == label]
        assert len(own) == coded[n] == N
        above = sum(float(row["p_synthetic"]) >= float(row["threshold"]) for row in own)
        assert above == coded[flagged]


def test_a_seed_gives_the_same_set_and_none_a_fresh_one(
    drilled: tuple[Path, Result], genuine: Path, engine: tuple[object, ...], tmp_path: Path
) -> None:
    out, _ = drilled
    again = tmp_path / "again"
    run("--out", again, "--genuine", genuine, *engine, *FEW, "--seed", 7, "--quiet")
    assert (again / "manifest.csv").read_text() == (out / "manifest.csv").read_text()
    assert (again / "scores.csv").read_text() == (out / "scores.csv").read_text()
    files = sorted(path.name for path in (out / "clips").iterdir())
    assert files
    for name in files:
        assert (again / "clips" / name).read_bytes() == (out / "clips" / name).read_bytes(), name
    few = ("--genuine", genuine, *engine, "--clips", 1, "--vocoder", "lpc", "--condition", "a-law")
    seeds = set()
    for name in ("one", "two"):
        run("--out", tmp_path / name, *few, "--quiet")
        seeds.add(json.loads((tmp_path / name / "drill.json").read_text())["about"]["seed"])
    assert len(seeds) == 2
    one, two = (soundfile.read(tmp_path / n / "clips" / "lpc-000.flac")[0] for n in ("one", "two"))
    assert not np.array_equal(one, two)


def test_the_threshold_decides_what_is_found(genuine: Path, tmp_path: Path) -> None:
    few = ("--genuine", genuine, "--clips", 1, "--vocoder", "lpc", "--condition", "a-law")
    found = {}
    for threshold in (0.0, 1.0):
        out = tmp_path / str(threshold)
        said = run("--out", out, *few, "--seed", 1, "--threshold", threshold, "--json", "--quiet")
        protocol = json.loads(said.stdout)
        [found[threshold]] = [row for row in protocol["rows"] if row["group"] == "lpc"]
    assert (found[0.0]["synthetic"], found[0.0]["found"]) == (1, 1)
    assert (found[1.0]["synthetic"], found[1.0]["found"]) == (1, 0)


def test_fakes_that_the_user_knows_of(genuine: Path, tmp_path: Path) -> None:
    """A folder is a system, labelled clips say theirs; they stand beside what is made here."""
    folder, corpus = tmp_path / "New Voice", tmp_path / "corpus"
    for index, (name, system, label, family) in enumerate(
        [
            ("a name <1>.wav", None, None, None),
            ("a name <2>.wav", None, None, None),
            ("b.wav", "lpc", "spoof", "tts"),
            ("c.wav", "", "spoof", ""),
            ("d.wav", "encodec", "spoof", "codec"),
            ("e.wav", "", "bonafide", ""),
        ]
    ):
        path = (corpus if label else folder) / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, make_speech(3.0, 40 + index), 16_000)
        if label:
            with (corpus / "manifest.csv").open("a") as file:
                file.write("" if file.tell() else "path,label,system,family\n")
                file.write(f"{name},{label},{system},{family}\n")
    (folder / "broken.wav").write_bytes(b"nothing")
    out = tmp_path / "out"
    run(
        "--out", out, "--genuine", genuine, "--engine", "piper", "--clips", 3, "--seed", 3,
        "--vocoder", "lpc", "--condition", "a-law",
        "--synthetic", folder, "--synthetic", corpus / "manifest.csv",
    )  # fmt: skip
    made = [row for row in rows(out / "scores.csv") if row["version"] == "as made"]
    own = {(row["system"], row["family"]): row for row in made if row["id"].startswith("own-")}
    assert set(own) == {("New Voice", "own"), ("lpc (own)", "tts"), ("own", "own")}
    assert sum(row["id"].startswith("own-") for row in made) == 4
    assert all(row["label"] == "spoof" for row in own.values())
    name = own["lpc (own)", "tts"]["id"]
    heard, _ = soundfile.read(out / "clips" / f"{name}.flac", dtype="int16")
    given, _ = soundfile.read(corpus / "b.wav", dtype="int16")
    assert np.array_equal(heard, given)
    text = (out / "drill.json").read_text()
    protocol = json.loads(text)
    kinds = {tool["name"]: (tool["kind"], tool["recordings"]) for tool in protocol["tools"]}
    assert kinds == {
        "lpc": ("vocoder", 3), "New Voice": ("own", 2), "lpc (own)": ("own", 1), "own": ("own", 1)
    }  # fmt: skip
    assert {"what": "New Voice", "why": "1 cannot be read"} in protocol["skipped"]
    asked = f"--synthetic '{folder}' --synthetic {corpus / 'manifest.csv'}"
    assert asked in protocol["about"]["command"]
    assert "a name" not in text + (out / "manifest.csv").read_text()
    assert {row["group"] for row in protocol["rows"] if row["axis"] == "system"} == set(kinds)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--condition", "nosuch"), "unknown condition"),
        (("--engine", "sh"), "unknown engine"),
        (("--vocoder", "nosuch"), "no such vocoder"),
        (("--key-file", "key"), "--service"),
        (("--service", "ftp://x"), "no address of a service"),
        (("--service", "http://user:pass@host"), "--key-file"),  # pragma: allowlist secret
        (("--service", "http://host", "--threshold", "0.5"), "thresholds of its own"),
        (("--genuine", "nowhere"), "nowhere"),
        (("--synthetic", "nowhere"), "nowhere"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    status = 4 if arguments[0] in ("--genuine", "--synthetic") else 2
    result = run("--out", tmp_path / "out", "--clips", 1, *arguments, status=status)
    assert complaint in result.stderr


def test_fakes_that_are_none(genuine: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips.csv"
    clips.write_text(f"path,label\n{genuine / 'a name <0>.wav'},bonafide\n")
    result = run("--out", tmp_path / "out", "--clips", 1, "--synthetic", clips, status=4)
    assert "clips.csv: holds no fake" in result.stderr


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    result = run("--out", tmp_path, "--clips", 1, status=2)
    assert "holds something already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


POLICY = """
version = "drilled"

[surfaces.upload]
label_from = 0.0
review_from = "recall"

[surfaces.live]
operating_point = "recall"
"""


def test_the_policy_of_the_service_acts(genuine: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    (tmp_path / "policy.toml").write_text(POLICY)
    out = tmp_path / "out"
    few = ("--genuine", genuine, "--clips", 1, "--vocoder", "lpc", "--condition", "a-law")
    run("--out", out, *few, "--policy-file", tmp_path / "policy.toml")
    protocol = json.loads((out / "drill.json").read_text())
    assert protocol["about"]["policy"]["version"] == "drilled"
    points = load_checkpoint("unittest").header.policies
    assert protocol["about"]["thresholds"] == {
        "upload": points["balanced"].threshold,
        "message": points["balanced"].threshold,
        "live": points["recall"].threshold,
    }
    for row in rows(out / "scores.csv"):
        assert row["action"]
        assert row["surface"] != "upload" or row["action"] in ("label", "review")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("fastapi")
    from server.conftest import running

    from deepfake_audio.server.settings import Settings

    data_dir = tmp_path_factory.mktemp("service")
    settings = Settings.load(None, data_dir=data_dir, port=0, model="unittest", device="cpu")
    with running(settings) as service:
        yield service


def test_a_running_service_is_asked(
    service: Any, drilled: tuple[Path, Result], genuine: Path, engine: tuple[object, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    """It hears what a model here hears: the same recordings, the same scores."""
    key = tmp_path / "key"
    key.write_text(service.key("submit", "read") + "\n")
    out = tmp_path / "out"
    run(
        "--out", out, "--genuine", genuine, *engine, *FEW, "--seed", 7,
        "--service", service.url, "--key-file", key,
    )  # fmt: skip
    here, there = rows(drilled[0] / "scores.csv"), rows(out / "scores.csv")
    assert [row["id"] for row in here] == [row["id"] for row in there]
    for mine, theirs in zip(here, there, strict=True):
        assert float(theirs["llr_synthetic"]) == pytest.approx(
            float(mine["llr_synthetic"]), abs=0.1
        )
        assert theirs["action"] in ("pass", "review")
    text = (out / "drill.json").read_text()
    protocol = json.loads(text)
    assert protocol["about"]["deployment"] == service.url
    assert protocol["about"]["policy"]["version"] == "default"
    assert key.read_text().strip() not in text
    with service.client("read") as client:
        kept = client.get("/v1/detections", params={"limit": 1}).json()["detections"][0]
    assert kept["metadata"] == {"drill": 7}


def test_a_service_that_says_no(service: Any, genuine: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(service.key("read"))
    few = ("--genuine", genuine, "--clips", 1, "--vocoder", "lpc", "--condition", "a-law")
    arguments = ("--out", tmp_path / "out", *few, "--service", service.url, "--key-file", key)
    result = run(*arguments, status=2)
    assert "answers 403" in result.stderr
    assert "submit and read" in result.stderr
    nowhere = ("--out", tmp_path / "other", *few, "--service", "http://127.0.0.1:9")
    assert "does not answer" in run(*nowhere, status=2).stderr
