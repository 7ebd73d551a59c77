"""Trains small vocoders on genuine speech, for copies that other vocoders do not make.

Minutes on a CPU are enough for copies that are intelligible and sound artificial, which is wanted.
Another seed, mel setting or loss leaves other traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..augment.istft_vocoder import IstftVocoder, IstftVocoderConfig
from ..config import SAMPLE_RATE_HZ, Config
from ..datasets.cache import AudioCache, open_cache
from ..datasets.manifest import load_manifest
from ..errors import ConfigError, DatasetError
from ..features.spectral import power_spectrum, stft
from .loop import Progress
from .material import Say

RESOLUTIONS = ((256, 64), (512, 128), (1024, 256))
"""Transform and hop of each spectrum that a copy is compared in, samples."""

CROP = SAMPLE_RATE_HZ // 2

VocoderLoss = Literal["stft", "log"]


@dataclass(frozen=True)
class VocoderRecipe(Config):
    """How a vocoder is fitted.

    Attributes
    ----------
    seed : int
        Of the weights and the crops.
    steps, batch_size : int
        Length of the run, half seconds a step.
    learning_rate : float
        AdamW; falls along a cosine to a tenth.
    loss : {"stft", "log"}
        ``stft``: spectral convergence and log magnitudes at three resolutions (Yamamoto et al.,
        1910.11480); ``log``: log magnitudes alone, which care less for loud bins.
    """

    seed: int = 0
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 1e-3
    loss: VocoderLoss = "stft"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1:
            raise ConfigError("steps and batch_size must be positive", name="vocoder")
        if self.loss not in get_args(VocoderLoss):
            raise ConfigError(f"unknown loss {self.loss!r}", name="vocoder.loss")


def train_vocoder(
    cache: AudioCache,
    config: IstftVocoderConfig,
    recipe: VocoderRecipe,
    *,
    on_progress: Progress | None = None,
) -> IstftVocoder:
    """Fit a vocoder to genuine clips; the same arguments give the same weights.

    Parameters
    ----------
    cache : AudioCache
        Decoded genuine clips; those under half a second are left out.
    config : IstftVocoderConfig
        What to fit.
    recipe : VocoderRecipe
        How.
    on_progress : callable, optional
        Called after each step with its number and the loss.

    Raises
    ------
    DatasetError
        If no clip is long enough.
    """
    long_enough = np.flatnonzero(cache.lengths >= CROP)
    if not len(long_enough):
        raise DatasetError(
            "no genuine clip lasts half a second", name="vocoder", hint="give longer recordings"
        )
    torch.manual_seed(recipe.seed)
    network = IstftVocoder(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.steps, recipe.learning_rate / 10
    )
    for step in range(recipe.steps):
        rng = np.random.default_rng([recipe.seed, step])
        drawn = rng.integers(0, len(long_enough), recipe.batch_size)
        heard = torch.from_numpy(np.stack([_crop(cache[long_enough[i]], rng) for i in drawn]))
        loss = _spectral_loss(network(network.log_mel(heard), CROP), heard, recipe.loss)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        falling.step()
        if on_progress:
            on_progress(step + 1, {"total": float(loss.detach())})
    return network.eval()


def _crop(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut half a second, float32, at a level between whisper and shout."""
    start = int(rng.integers(0, len(samples) - CROP + 1))
    crop = samples[start : start + CROP].astype(np.float32) / 32768.0
    peak = max(float(np.abs(crop).max()), 1e-3)
    levelled: np.ndarray = crop * np.float32(rng.uniform(0.1, 0.9) / peak)
    return levelled


def _spectral_loss(made: Tensor, heard: Tensor, kind: VocoderLoss) -> Tensor:
    """Distance of the magnitudes of two batches (batch, samples), mean over RESOLUTIONS."""
    losses = []
    for n_fft, hop in RESOLUTIONS:
        ours, theirs = (
            (power_spectrum(stft(x, n_fft=n_fft, win_length=n_fft, hop_length=hop)) + 1e-7).sqrt()
            for x in (made, heard)
        )
        losses.append((ours.log() - theirs.log()).abs().mean())
        if kind == "stft":
            losses.append((ours - theirs).norm() / theirs.norm())
    return torch.stack(losses).sum() / len(RESOLUTIONS)


def make_vocoder(
    data: Sequence[str | Path],
    out: Path,
    config: IstftVocoderConfig,
    recipe: VocoderRecipe,
    *,
    cache: Path,
    say: Say = print,
    on_progress: Progress | None = None,
) -> Path:
    """Train a vocoder on the genuine clips of split ``train``, or of no known split, and save it.

    Parameters
    ----------
    data : sequence of path
        Labelled clips, see :func:`deepfake_audio.datasets.load_manifest`.
    out : Path
        The safetensors file to write.
    config, recipe
        What to train, and how.
    cache : Path
        Folder of decoded clips.
    say, on_progress : callable
        Told what is being done, and the loss of each step.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    DatasetError
        If there is no genuine clip of half a second.
    """
    clips = [
        clip
        for clip in load_manifest(data)
        if clip.split in ("train", "") and not clip.is_synthetic
    ]
    if not clips:
        raise DatasetError(
            "has no genuine clips to train on",
            name=str(data[0]),
            hint="those of the splits dev and test are left out",
        )
    say(f"decoding {len(clips)} genuine clips (once; kept in {cache})")
    decoded, failures = open_cache(clips, cache)
    for failure in failures:
        say(f"left out: {failure}")
    network = train_vocoder(decoded, config, recipe, on_progress=on_progress)
    network.save(out)
    return out
