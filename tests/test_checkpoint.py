"""A checkpoint carries everything, and damage is named instead of crashing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from deepfake_audio import checkpoint as checkpoint_module
from deepfake_audio.calibration import Calibration
from deepfake_audio.checkpoint import (
    Checkpoint,
    CheckpointHeader,
    load_checkpoint,
    save_checkpoint,
)
from deepfake_audio.config import BranchConfig, FrontendConfig, Policy, WindowConfig
from deepfake_audio.errors import CheckpointError
from deepfake_audio.model import UNITTEST_MODEL, build_network


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, CheckpointHeader]:
    header = CheckpointHeader(
        name="mine",
        version="2.1",
        branches=(
            BranchConfig(
                FrontendConfig(kind="lfcc", n_bands=30, n_coefficients=20, deltas=True),
                UNITTEST_MODEL,
            ),
        ),
        windows=WindowConfig(window_s=3.0, hop_s=1.5),
        calibration=Calibration(scale=0.7, offset=-0.2, speech_threshold=0.1),
        policies={"balanced": Policy("balanced", 0.8, 0.3, expected_fpr=0.03)},
        training={"steps": 10},
        metrics={"dev": {"pooled_eer": 0.2}},
    )
    network = build_network(header.branches[0].frontend, header.branches[0].model, seed=1)
    path = tmp_path / "sub" / "model.safetensors"
    save_checkpoint(path, network, header)
    return path, header


def test_everything_survives(saved: tuple[Path, CheckpointHeader]) -> None:
    path, header = saved
    loaded = load_checkpoint(path)
    assert loaded.header == header
    original = build_network(header.branches[0].frontend, header.branches[0].model, seed=1).eval()
    windows = torch.randn(2, 16_000)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(windows).logit, original(windows).logit)
    assert load_checkpoint(path.parent).sha256 == loaded.sha256


def test_the_unittest_model_is_always_the_same() -> None:
    assert load_checkpoint("unittest").sha256 == load_checkpoint("unittest").sha256


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_text(path: Path) -> None:
    path.write_text("this is no model")


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_no_header(path: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)


def damage_future_format(path: Path) -> None:
    header = {"deepfake_audio": json.dumps({"format": "deepfake_audio.checkpoint/9"})}
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata=header)


def damage_header_is_a_list(path: Path) -> None:
    path.write_bytes((3).to_bytes(8, "little") + b"[1]")


def damage_other_shape(path: Path) -> None:
    header = load_checkpoint(path).header
    other = build_network(FrontendConfig(), UNITTEST_MODEL)
    save_checkpoint(path, other, header)


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_text,
        damage_empty,
        damage_no_header,
        damage_future_format,
        damage_header_is_a_list,
        damage_other_shape,
    ],
)
def test_damage_is_a_one_line_error_that_names_the_file(
    saved: tuple[Path, CheckpointHeader], damage
) -> None:
    path, _ = saved
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_at_all_is_called_so(saved: tuple[Path, CheckpointHeader]) -> None:
    damage_text(saved[0])
    with pytest.raises(CheckpointError, match="is no model: give a checkpoint made by `train`"):
        load_checkpoint(saved[0])


@pytest.mark.parametrize("name", ["no-such-model", "../default", "/nowhere/x.safetensors"])
def test_unknown_models_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such model.*released models"):
        load_checkpoint(name)


def test_a_folder_in_the_way_does_not_stand_in_for_a_released_model(
    saved: tuple[Path, CheckpointHeader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = saved
    monkeypatch.setattr(checkpoint_module, "released_models", lambda: {"default": path})
    monkeypatch.chdir(tmp_path)
    intruder = tmp_path / "default"
    intruder.mkdir()
    (intruder / "model.safetensors").write_text("brought along")
    assert load_checkpoint("default").header.name == "mine"


def test_saving_leaves_no_partial_file(saved: tuple[Path, CheckpointHeader]) -> None:
    path, _ = saved
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_others_may_read_what_they_may_read_elsewhere(
    saved: tuple[Path, CheckpointHeader],
) -> None:
    left = saved[0].with_name(saved[0].name + ".partial")  # by a run that was killed
    left.touch(mode=0o600)
    checkpoint = load_checkpoint(saved[0])
    save_checkpoint(saved[0], checkpoint.torch_network, checkpoint.header)
    beside = saved[0].with_name("beside.txt")
    beside.write_text("")
    assert saved[0].stat().st_mode == beside.stat().st_mode


def test_checkpoint_is_in_evaluation_mode(saved: tuple[Path, CheckpointHeader]) -> None:
    loaded: Checkpoint = load_checkpoint(saved[0])
    assert not loaded.network.training
