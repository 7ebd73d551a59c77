"""The smallest training run that is one: a recipe, clips of noise, and the batches they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_audio.augment import AugmentConfig
from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.config import FrontendConfig, ModelConfig, WindowConfig
from deepfake_audio.datasets.cache import AudioCache
from deepfake_audio.datasets.clip import Clip
from deepfake_audio.training import Recipe
from deepfake_audio.training.recipe import OptimConfig, SamplerConfig
from deepfake_audio.training.sampler import BatchMaker

RATE_HZ = 16_000
TINY = Recipe(
    name="tiny",
    version="0.1",
    optim=OptimConfig(steps=6, batch_size=8, crop_s=(0.5, 0.8), warmup_steps=2),
    sampler=SamplerConfig(nonspeech_share=0.25),
    augment=AugmentConfig(codec=0.0),
    frontend=FrontendConfig(n_bands=16),
    model=ModelConfig(stem_channels=4, channels=(4, 8), blocks=(1, 1), embedding_dim=8),
    windows=WindowConfig(window_s=1.0, hop_s=1.0, single_s=1.0),
    eval_every=3,
    save_every=2,
)


def cache_of(n: int = 12) -> AudioCache:
    rng = np.random.default_rng(0)
    lengths = rng.integers(4_000, 30_000, n)
    samples = (rng.standard_normal(lengths.sum()) * 3_000).astype(np.int16)
    clips = [
        Clip(
            id=str(i),
            label="spoof" if i % 2 else "bonafide",
            path=Path("x"),
            source=f"s{i % 3}",
            system="a" if i % 2 else "",
            family="vc" if i % 4 == 1 else "",
        )
        for i in range(n)
    ]
    return AudioCache(clips, samples, np.concatenate([[0], np.cumsum(lengths)]))


def maker_of(recipe: Recipe = TINY) -> BatchMaker:
    cache = cache_of()
    return BatchMaker(
        cache,
        np.arange(len(cache)),
        optim=recipe.optim,
        sampler=recipe.sampler,
        augment=recipe.augment,
    )


def silent(message: str) -> None:
    """Say nothing."""


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model.safetensors").torch_network.state_dict()


def toml_of(recipe: Recipe) -> str:
    """Write a recipe as TOML."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(text, value))}]"
        return repr(value)

    values = recipe.to_dict()
    lines = [f"{key} = {text(v)}" for key, v in values.items() if not isinstance(v, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines.append(f"[{name}]")
            lines += [f"{key} = {text(v)}" for key, v in table.items() if v is not None]
    return "\n".join(lines)
