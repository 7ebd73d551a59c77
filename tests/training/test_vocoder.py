"""A vocoder of our own: trained in seconds here, saved, loaded, and used to copy speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import deepfake_audio
from deepfake_audio.augment.istft_vocoder import IstftVocoder, IstftVocoderConfig
from deepfake_audio.augment.vocoders import copy_of, find_vocoder
from deepfake_audio.cli.tools import app
from deepfake_audio.datasets.cache import AudioCache
from deepfake_audio.datasets.clip import Clip
from deepfake_audio.errors import CheckpointError, ConfigError, DatasetError
from deepfake_audio.training.vocoder import VocoderRecipe, train_vocoder

SAMPLES = Path(deepfake_audio.__file__).parent / "samples"
SMALL = IstftVocoderConfig(n_fft=256, hop_length=64, n_bands=32, width=32, blocks=1)


def _chords(n: int = 6, seconds: float = 1.0) -> AudioCache:
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    pitches = np.linspace(110, 220, n)
    voices = [sum(np.sin(2 * np.pi * f * k * time_s) / k for k in range(1, 9)) for f in pitches]
    samples = [np.int16(4_000 * voice) for voice in voices]
    clips = [Clip(id=str(i), label="bonafide", path=Path("x")) for i in range(n)]
    return AudioCache(clips, np.concatenate(samples), np.arange(n + 1) * len(time_s))


def test_it_learns_and_the_same_seed_gives_the_same_weights() -> None:
    losses: list[float] = []
    recipe = VocoderRecipe(steps=40, batch_size=4, learning_rate=3e-3)
    cache = _chords()
    train_vocoder(
        cache,
        SMALL,
        recipe,
        on_progress=lambda _, figures: losses.append(figures["total"]),
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    short = VocoderRecipe(steps=2, batch_size=4)
    one, same = (train_vocoder(cache, SMALL, short).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    other = train_vocoder(cache, SMALL, VocoderRecipe(seed=1, steps=2, batch_size=4))
    assert not torch.equal(other.last.weight, one["last.weight"])


@pytest.mark.parametrize("n_samples", [100, 4_000, 16_001])
def test_a_copy_is_as_long_as_its_original(n_samples: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(n_samples).astype(np.float32) * 0.1
    copied = IstftVocoder(SMALL).eval().copy(samples)
    assert copied.shape == samples.shape
    assert np.isfinite(copied).all()
    assert not np.array_equal(copied, samples)


def test_the_end_of_a_copy_is_no_louder_than_the_rest() -> None:
    config = IstftVocoderConfig(n_fft=256, hop_length=64, n_bands=32, width=32, blocks=1)
    samples = np.random.default_rng(0).standard_normal(64 * 40 - 1).astype(np.float32) * 0.1
    copied = np.abs(IstftVocoder(config).eval().copy(samples))
    assert copied[-64:].max() < 10 * copied[:-64].max()


def test_saved_and_found_by_its_file(tmp_path: Path) -> None:
    network = train_vocoder(_chords(), SMALL, VocoderRecipe(steps=1, loss="log"))
    path = tmp_path / "mine.safetensors"
    network.save(path)
    again = IstftVocoder.load(path)
    assert again.config == SMALL
    speech = np.random.default_rng(1).standard_normal(4_000).astype(np.float32)
    np.testing.assert_array_equal(again.copy(speech), network.copy(speech))
    samples = (np.random.default_rng(0).standard_normal(8_000) * 3_000).astype(np.int16)
    copied = copy_of(samples, find_vocoder(path), np.random.default_rng(0))
    assert np.std(copied) == pytest.approx(np.std(samples), rel=0.1)
    assert np.abs(copied.astype(float) - samples).max() > 100  # it is no copy of the samples


def test_other_files_and_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="other"):
        IstftVocoder.load(path)
    about = {"format": "deepfake_audio.istft_vocoder/1", "config": '{"width": "128"}'}
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata=about)
    with pytest.raises(CheckpointError, match="other"):
        find_vocoder(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="other"):
        find_vocoder(path)
    with pytest.raises(ConfigError, match="overlap"):
        IstftVocoderConfig(n_fft=256, hop_length=128)
    with pytest.raises(ConfigError, match="width"):
        IstftVocoderConfig(width=10**9)
    with pytest.raises(ConfigError, match="loss"):
        VocoderRecipe.from_dict({"loss": "best"})
    with pytest.raises(DatasetError, match="half a second"):
        train_vocoder(_chords(seconds=0.2), SMALL, VocoderRecipe(steps=1))


def test_the_command_trains_on_genuine_clips(tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    samples = sorted(SAMPLES.glob("*.flac"))
    labels = ["spoof" if "synthetic" in path.stem else "bonafide" for path in samples]
    rows = [f"{p.stem},{label},train,{p}" for p, label in zip(samples, labels, strict=True)]
    rows.append(f"held-out,bonafide,dev,{samples[0]}")
    manifest.write_text("id,label,split,path\n" + "\n".join(rows) + "\n")
    out = tmp_path / "made" / "mine.safetensors"
    options = ["--out", str(out), "--steps", "1", "--n-fft", "512", "--hop-length", "128"]
    result = CliRunner().invoke(app, ["vocoder", "--data", str(manifest), *options])
    assert result.exit_code == 0, result.output
    assert "2 genuine clips" in result.output
    assert IstftVocoder.load(out).config.n_fft == 512


def test_where_nothing_can_be_written_nothing_is_trained(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["vocoder", "--data", str(SAMPLES), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder" in result.output
