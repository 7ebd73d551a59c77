"""``deepfake-audio`` in this process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deepfake_audio import checkpoint as checkpoint_module
from deepfake_audio.checkpoint import Checkpoint, save_checkpoint
from deepfake_audio.cli.tools import app
from deepfake_audio.detector import Detector

MakeWav = Callable[..., Path]
UNITTEST = ("--model", "unittest", "--device", "cpu")


def tool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def labelled(speech_wav: MakeWav, tmp_path: Path) -> Path:
    for index in range(4):
        speech_wav(f"set/real/{index}.wav", 1.5, seed=index)
        speech_wav(f"set/fake/one/{index}.wav", 2.5, seed=10 + index)
    return tmp_path / "set"


def test_models_are_listed(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models" / "mine" / "model.safetensors"
    save_checkpoint(path, checkpoint.network, checkpoint.header)
    monkeypatch.setattr(checkpoint_module, "models_folder", lambda: tmp_path / "models")
    [row] = json.loads(tool("models", "--json").stdout)
    assert row["name"] == "unittest"
    assert row["parameters"] == checkpoint.network.n_parameters
    assert row["bytes"] == path.stat().st_size
    assert len(row["sha256"]) == 64
    assert row["sha256"] in tool("models").stdout
    figures = {"figures": {"pooled_eer": {"value": 0.25, "low": 0.2, "high": 0.3}}}
    path.with_name("test.json").write_text(json.dumps(figures))
    assert "test: pooled_eer 0.2500" in tool("models").stdout
    path.write_bytes(path.read_bytes()[:100])
    damaged = tool("models")
    assert damaged.exit_code == 4
    assert len(damaged.stderr.splitlines()) == 1


def test_evaluate_labelled_clips(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--data", labelled, "--bootstrap", 20, "--out", out, "--policy", "recall")
    result = tool("evaluate", *UNITTEST, *arguments)
    assert result.exit_code == 0
    assert "EER, pooled" in result.stdout
    figures = json.loads((out / "metrics.json").read_text())
    assert (figures["clips"]["bonafide"], figures["clips"]["spoof"]) == (4, 4)
    assert figures["policies"][0]["name"] == "recall"
    assert len((out / "scores.csv").read_text().splitlines()) == 9
    assert (out / "report.md").is_file()


def test_evaluate_at_a_policy_or_at_a_threshold_of_ones_own(labelled: Path) -> None:
    arguments = ("--data", labelled, "--bootstrap", 0, "--json", "-q")

    def asked(*more: object) -> tuple[dict[str, float], dict[str, Any]]:
        found = json.loads(tool("evaluate", *UNITTEST, *arguments, *more).stdout)
        return {p["name"]: p["threshold"] for p in found["policies"]}, found["breakdown"]

    thresholds, usual = asked()
    assert list(thresholds) == ["balanced", "recall", "precision"]
    thresholds, all_flagged = asked("--policy", "recall")
    assert list(thresholds) == ["recall", "balanced", "precision"]
    assert all_flagged != usual  # the untrained model says about 0.58 to everything
    thresholds, own = asked("--threshold", 0.5)
    assert thresholds.pop("custom") == 0.5
    assert len(thresholds) == 3
    assert own == all_flagged
    refused = tool("evaluate", "--scores", labelled, "--threshold", 0.7)
    assert refused.exit_code == 2


def test_only_training_from_recipes_can_be_done_once_more(labelled: Path, tmp_path: Path) -> None:
    given = ("--data", labelled, "--out", tmp_path / "out", "--finetune", "default", "--refit")
    refused = tool("train", *given)
    assert refused.exit_code == 2
    assert "goes with --config" in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("refit", [True, False])
def test_evaluate_says_that_a_model_has_learned_from_dev(
    labelled: Path, checkpoint: Checkpoint, tmp_path: Path, refit: bool, split: str
) -> None:
    rows = [
        f"{path},{'fake' if 'fake' in path.parts else 'real'},{split}"
        for path in sorted(labelled.rglob("*.wav"))
    ]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    header = dataclasses.replace(checkpoint.header, training={"refit": True} if refit else {})
    model = tmp_path / "model.safetensors"
    save_checkpoint(model, checkpoint.network, header)
    for command in (("evaluate", "--bootstrap", 0), ("robustness", "--condition", "clean")):
        result = tool(*command, "--model", model, "--device", "cpu", "--data", table)
        assert result.exit_code == 0, result.stderr
        assert ("learned from the split dev of its own data" in result.stderr) == (
            refit and split == "dev"
        )


def test_evaluate_within_bins_of_nuisances(labelled: Path) -> None:
    arguments = ("--data", labelled, "--bootstrap", 0, "--nuisances", "--json")
    found = json.loads(tool("evaluate", *UNITTEST, *arguments).stdout)["nuisances"]
    [length] = [one for one in found if one["nuisance"] == "duration_s"]
    assert length["eer_alone"] == 0  # synthetic clips are longer here
    assert sum(one["n_spoof"] for one in length["bins"]) == 4
    assert not any(one["eer"] for one in length["bins"])  # too few clips


def test_evaluate_draws(labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ("--data", labelled, "--bootstrap", 0, "--plots", tmp_path / "plots", "--json")
    assert tool("evaluate", *UNITTEST, *arguments).exit_code == 0
    names = ["det.png", "reliability.png", "scores.png", "systems.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == names


def test_evaluate_checks_its_folder_before_scoring(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("must not be called")

    monkeypatch.setattr(Detector, "load", never)
    (tmp_path / "file").touch()
    result = tool("evaluate", *UNITTEST, "--data", labelled, "--out", tmp_path / "file" / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be created" in result.stderr


def test_evaluate_prints_what_it_cannot_save(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "scores.csv").mkdir(parents=True)
    arguments = ("--data", labelled, "--bootstrap", 0, "--out", tmp_path / "out", "--json")
    result = tool("evaluate", *UNITTEST, *arguments)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["figures"]
    assert "cannot be written" in result.stderr


def test_an_unforeseen_error(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise TypeError("no such thing")

    monkeypatch.setattr(Detector, "load", broken)
    result = tool("evaluate", *UNITTEST, "--data", labelled)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.endswith("internal error: TypeError: no such thing; please report it\n")


def test_evaluate_writes_what_it_reads(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--data", labelled, "--bootstrap", 0, "--out", out, "--format", "asvspoof")
    measured = json.loads(tool("evaluate", *UNITTEST, *arguments, "--json").stdout)
    files = ("--scores", out / "scores.txt", "--protocol", out / "protocol.txt")
    again = json.loads(tool("evaluate", *files, "--bootstrap", 0, "--json").stdout)
    for name in ("pooled_eer", "min_dcf", "auc"):
        assert again["figures"][name] == measured["figures"][name]


def test_evaluate_counts_what_cannot_be_read(labelled: Path) -> None:
    (labelled / "real" / "broken.wav").write_bytes(b"RIFF")
    result = tool("evaluate", *UNITTEST, "--data", labelled, "--bootstrap", 0, "--json")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "broken.wav" in result.stderr
    assert json.loads(result.stdout)["clips"]["without_score"] == 1


def test_evaluate_takes_a_part_spread_over_the_data(labelled: Path) -> None:
    arguments = ("--data", labelled, "--limit", 4, "--bootstrap", 0, "--json")
    clips = json.loads(tool("evaluate", *UNITTEST, *arguments).stdout)["clips"]
    assert (clips["bonafide"], clips["spoof"]) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("evaluate",), 2),
        (("evaluate", "--data", "a", "--scores", "b"), 2),
        (("evaluate", "--data", "a", "--protocol", "b"), 2),
        (("evaluate", "--scores", "a", "--nuisances"), 2),
        (("evaluate", *UNITTEST, "--data", "nowhere"), 4),
        (("evaluate", "--scores", "nowhere"), 4),
        (("train", "--data", "nowhere", "--config", "nowhere.toml", "--out", "x"), 2),
        (("train",), 2),
        (("bench", *UNITTEST, "--data", "nowhere.wav"), 4),
        (("export", *UNITTEST, "--out", "x.onnx", "--format", "onnx-int8"), 2),
        (("export", *UNITTEST, "--out", "x.onnx", "--data", "nowhere"), 2),
        (("export", *UNITTEST, "--out", "x.onnx", "--format", "torchscript"), 2),
        (("no-such-command",), 2),
    ],
)
def test_what_cannot_be_done(
    arguments: tuple[str, ...], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tool(*arguments)
    assert result.exit_code == status
    assert result.stderr
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)


def test_train_does_not_go_on_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "state.safetensors").touch()
    recipe = tmp_path / "recipe.toml"
    recipe.touch()
    result = tool("train", "--config", recipe, "--data", tmp_path, "--out", out)
    assert result.exit_code == 2
    assert "--resume" in result.stderr


@pytest.mark.long
def test_bench_measures_and_compares(speech_wav: MakeWav) -> None:
    clip = speech_wav("clip.wav", 5)
    arguments = ("--data", clip, "--clips", 3, "--repeats", 1)
    measured = json.loads(tool("bench", *UNITTEST, *arguments, "--json").stdout)
    tasks = {task["name"]: task for task in measured["comparisons"]}
    assert list(tasks) == ["files to reports", "MFCC", "front end of the model"]
    assert [len(task["timings"]) for task in tasks.values()] == [2, 2, 1]
    assert tasks["files to reports"]["audio_s"] > 6
    assert measured["about"]["clips"] == 3
    text = tool("bench", *UNITTEST, *arguments, "--profile").stdout
    assert "windows and activity" in text
    assert "branch 1 (log_linear), network" in text
    assert "x real time" in text
    assert "librosa, clip by clip" in text
