"""A model adapts to clips of one's own, and forgets nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import make_speech
from typer.testing import CliRunner

from deepfake_audio.checkpoint import Checkpoint, Replay, load_checkpoint, save_checkpoint
from deepfake_audio.cli.tools import app
from deepfake_audio.detector import Detector
from deepfake_audio.errors import CheckpointError, DatasetError
from deepfake_audio.model import Network, build_network, join
from deepfake_audio.training import finetune
from deepfake_audio.training.finetuning import MAX_LOSS, _adapt, _Head, _Windows

N = 1000


@pytest.fixture(scope="module")
def network(checkpoint: Checkpoint) -> Network:
    """Two branches with random weights, which speak at different volumes."""
    branch = checkpoint.header.branches[0]
    parts = [build_network(branch.frontend, branch.model, seed=seed) for seed in (1, 2)]
    return join(parts, [0.5, 2.0]).eval()


def replay_of(network: Network, seed: int = 0) -> Replay:
    """A memory that the network itself tells apart, though not without mistakes."""
    rng = np.random.default_rng(seed)
    embedding = (0.02 * rng.standard_normal((2 * N, 16))).astype(np.float16)  # as large as its own
    embedding[:, 8:] = 0  # what the second branch could hear was never needed
    logit = _Head.of(network).logit(embedding)
    synthetic = logit + 0.1 * logit.std() * rng.standard_normal(2 * N) > np.median(logit)
    return Replay(embedding, synthetic, np.arange(2 * N) % 2 == 0)


@pytest.fixture
def model(checkpoint: Checkpoint, network: Network, tmp_path: Path) -> Path:
    import dataclasses

    path = tmp_path / "old.safetensors"
    header = dataclasses.replace(checkpoint.header, branches=checkpoint.header.branches * 2)
    save_checkpoint(path, network, header, replay_of(network))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Voices, and the same through something that the model has never learned to hear."""
    lines = ["path,label,source"]
    rng = np.random.default_rng(0)
    for index in range(30):
        voice = make_speech(2.0, index, 16_000)
        if fake := index % 2:
            voice = np.sign(voice) * 0.2 + 0.01 * rng.standard_normal(voice.size)
        soundfile.write(tmp_path / f"{index}.wav", voice, 16_000)
        lines.append(f"{index}.wav,{'fake' if fake else 'real'},mine")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(lines))
    return table


def test_it_learns_and_forgets_nothing(model: Path, data: Path, tmp_path: Path) -> None:
    old = load_checkpoint(model)

    path = finetune(old, [data], tmp_path / "out", say=lambda _: None)

    new = load_checkpoint(path)
    figures = new.header.metrics["finetune"]
    assert figures["new_after"] < 0.1
    assert figures["old_after"] <= figures["old_before"] + MAX_LOSS
    assert new.header.version == "0+finetuned"
    assert new.header.training["finetuned_from"] == old.sha256
    assert new.replay is not None
    assert old.replay is not None
    assert np.array_equal(new.replay.embedding, old.replay.embedding)
    # All but the first row of the last layers is as it was.
    waveform = torch.from_numpy(make_speech(1.0, 99, 16_000)[None])
    with torch.inference_mode():
        before, after = old.torch_network(waveform), new.torch_network(waveform)
    assert torch.equal(before.embedding, after.embedding)
    assert torch.equal(before.speech, after.speech)
    assert torch.equal(before.family, after.family)
    assert not torch.equal(before.logit, after.logit)
    report = Detector(new, device="cpu").detect(tmp_path / "1.wav")
    assert report.model.version == "0+finetuned"


def test_the_last_layer_is_put_back_where_it_was_taken_from(network: Network) -> None:
    head = _Head.of(network)
    moved = _Head(head.weight + np.linspace(-1, 1, head.weight.size), head.bias + 0.7)
    waveform = torch.from_numpy(np.stack([make_speech(1.0, seed, 16_000) for seed in range(3)]))
    for expected in (head, moved):
        with torch.inference_mode():
            output = expected.put_into(network)(waveform)
        np.testing.assert_allclose(
            output.logit.numpy(), expected.logit(output.embedding.numpy()), atol=1e-5
        )


def test_what_contradicts_all_that_is_known_is_not_learned(
    checkpoint: Checkpoint, network: Network
) -> None:
    replay = replay_of(network)
    wrong = _Windows(
        replay.embedding.astype(np.float32), ~replay.synthetic, np.arange(2 * N, dtype=np.int64)
    )
    old = _Head.of(network)

    head, _ = _adapt(old, wrong, replay, checkpoint.header)

    def mistakes(which: _Head) -> float:
        logit = which.logit(replay.embedding[replay.held_out])
        return float(np.mean((logit > np.median(logit)) != replay.synthetic[replay.held_out]))

    assert mistakes(head) <= mistakes(old) + 0.02


def test_what_it_cannot_learn_from(
    model: Path, data: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="remembers nothing"):
        finetune(checkpoint, [data], tmp_path / "out")
    rows = data.read_text().splitlines()
    data.write_text("\n".join([rows[0], *rows[1:18]]))
    with pytest.raises(DatasetError, match="8 synthetic clips"):
        finetune(load_checkpoint(model), [data], tmp_path / "out", say=lambda _: None)


def test_a_damaged_memory_is_refused() -> None:
    embedding = np.zeros((3, 4), dtype=np.float16)
    flags = np.zeros(3, dtype=np.bool_)
    Replay(embedding, flags, flags)
    with pytest.raises(CheckpointError, match="damaged"):
        Replay(embedding, flags[:2], flags)
    with pytest.raises(CheckpointError, match="damaged"):
        Replay(np.full_like(embedding, np.nan), flags, flags)


def test_the_command(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    arguments = ["train", "--finetune", str(model), "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert load_checkpoint(out).header.metrics["finetune"]["clips"] == 30
    assert "remembered speech" in done.output
    neither = CliRunner().invoke(app, ["train", "--data", str(data), "--out", str(tmp_path / "p")])
    assert neither.exit_code == 2
