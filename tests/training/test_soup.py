"""The mean of weights: of one architecture only, with normalisations measured anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_training import TINY, maker_of
from typer.testing import CliRunner

from deepfake_audio.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from deepfake_audio.cli.tools import app
from deepfake_audio.config import BranchConfig
from deepfake_audio.errors import CheckpointError
from deepfake_audio.model import Branch, build_network
from deepfake_audio.training.soup import average_weights, renew_statistics


@pytest.fixture
def models(checkpoint: Checkpoint, tmp_path: Path) -> list[Path]:
    """Two models as one recipe makes them, with other weights."""
    paths = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    header = dataclasses.replace(
        checkpoint.header,
        branches=(BranchConfig(TINY.frontend, TINY.model),),
        windows=TINY.windows,
        training={"recipes": [TINY.to_dict()]},
        known_speech=None,
    )
    for seed, path in enumerate(paths):
        save_checkpoint(path, build_network(TINY.frontend, TINY.model, seed=seed), header)
    return paths


def test_weights_are_averaged_and_normalisations_measured(models: list[Path]) -> None:
    first, second = map(load_checkpoint, models)
    mean = average_weights([first, second])
    ours, theirs = first.torch_network.state_dict(), second.torch_network.state_dict()
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (ours[name] + theirs[name]) / 2)
    [branch] = mean.branches
    assert isinstance(branch, Branch)
    features = [branch.frontend(maker_of().make(step).waveforms) for step in (4, 5)]
    expected = torch.stack([each.mean((0, 2, 3)) for each in features]).mean(0)

    renew_statistics(branch, maker_of(), TINY.optim.steps, 2)

    torch.testing.assert_close(branch.body.input_norm.running_mean, expected)
    assert not any(module.training for module in branch.modules())
    assert branch.body.input_norm.momentum == 0.1


def test_what_cannot_be_averaged(
    models: list[Path], checkpoint: Checkpoint, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="at least two"):
        average_weights([load_checkpoint(models[0])])
    with pytest.raises(CheckpointError, match="another architecture"):
        average_weights([load_checkpoint(models[0]), checkpoint])
    arguments = ["soup", "unittest", "unittest", "--data", str(data), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 4
    assert "does not say what it was trained with" in done.output


def test_the_command(models: list[Path], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["soup", *map(str, models), "--data", str(data), "--out", str(out), "-q"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    made = load_checkpoint(out)
    assert made.header.training["soup_of"] == [load_checkpoint(path).sha256 for path in models]
    assert made.header.metrics["dev"]["clips"] == 6
    assert set(made.header.policies) == {"recall", "balanced", "precision"}
