"""What a training run is made of: decoded clips, their renderings, and background sounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..augment import SoundBank
from ..augment.renderings import Rendering, coded, render
from ..augment.vocoders import VOCODERS, copies, find_vocoder
from ..datasets.cache import AudioCache, cache_key, open_cache, select
from ..datasets.manifest import load_manifest
from ..errors import ConfigError, DatasetError
from .recipe import Recipe

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    """Decoded clips and their renderings, ready to make batches of.

    Attributes
    ----------
    cache : AudioCache
        Clips of all splits.
    train, dev : np.ndarray, int64
        Indices of what is learned from, and of what chooses; ``dev`` may be empty.
    coded, copies : list of Rendering
        Coded versions and vocoder copies of training clips.
    bank, held_out : SoundBank
        Background sounds for training, and those kept for measuring the speech gate.
    identity : dict
        Hashes of what went in.
    """

    cache: AudioCache
    train: np.ndarray
    dev: np.ndarray
    coded: list[Rendering]
    copies: list[Rendering]
    bank: SoundBank
    held_out: SoundBank
    identity: dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """Where training material lies.

    Attributes
    ----------
    data : sequence of path
        Labelled clips, see :func:`deepfake_audio.datasets.load_manifest`; those of split ``dev``
        choose thresholds, ``test`` is never touched.
    noise : path, optional
        Parquet file of noise, music, babble and room responses.
    vocoders : sequence of str or path
        What copies genuine clips, see :func:`deepfake_audio.augment.vocoders.find_vocoder`.
    cache : path, optional
        Folder for decoded clips; inside the output folder by default.
    """

    data: Sequence[str | Path]
    noise: str | Path | None = None
    vocoders: Sequence[str | Path] = ()
    cache: str | Path | None = None


def prepare(
    recipe: Recipe,
    sources: Sources,
    work: Path,
    *,
    learn_dev: bool = False,
    needs_dev: bool = False,
    say: Say = print,
) -> TrainingData:
    """Decode the clips, make the renderings that the recipe asks for, load the sounds.

    Parameters
    ----------
    recipe : Recipe
        What is needed.
    sources : Sources
        What to train on. Clips of the split ``test`` are left out.
    work : Path
        Folder for caches; what lies there from an earlier call is used again.
    learn_dev : bool
        Train on the clips of the split ``dev``, too; none are left to choose by.
    needs_dev : bool
        Refuse data without clips of that split, before hours go into them.
    say : callable
        Told in one line what is being done.
    """
    noise, vocoders = sources.noise, sources.vocoders
    names = [Path(vocoder).stem for vocoder in vocoders]
    wanted = recipe.sampler.copied_by or names
    if recipe.sampler.copy_share > 0 and vocoders and (unknown := sorted(set(wanted) - set(names))):
        raise ConfigError(
            f"not among the vocoders: {', '.join(unknown)}",
            name="sampler.copied_by",
            hint=f"given are {', '.join(names)}",
        )
    clips = [clip for clip in load_manifest(sources.data) if clip.split != "test"]
    say(f"decoding {len(clips)} clips (once; kept in {work})")
    cache, failures = open_cache(clips, work)
    for failure in failures:
        say(f"left out: {failure}")
    # Clips of no known split are for training.
    parts = [select(cache, "train", ""), select(cache, "dev")]
    if needs_dev and not len(parts[1]):
        raise DatasetError(
            "no clips of split dev to learn from as well",
            name=str(sources.data[0]),
            hint="mark some, or leave the refit",
        )
    train, dev = (np.concatenate(parts), parts[1][:0]) if learn_dev else parts
    say(f"{len(train)} clips to train on, {len(dev)} to calibrate on")
    labels = {cache.clips[i].label for i in train}
    if labels != {"bonafide", "spoof"}:
        raise DatasetError(
            f"training needs both classes, found {', '.join(sorted(labels)) or 'no clips'}",
            name=str(sources.data[0]),
            hint="add clips of the missing class",
        )
    home = work / cache_key(clips)
    renderings = []
    if recipe.augment.codec > 0:
        for version in range(recipe.codec_renderings):
            say(f"coding {len(train)} clips, version {version + 1}")
            twice = recipe.augment.double_coding
            name = f"coded-{version}" + (f"-twice-{twice:g}" if twice else "")
            renderings.append(render(cache, home, name, train, coded(version, twice)))
    copied = []
    if recipe.sampler.copy_share > 0 and not vocoders:
        say("no vocoders given: training without the copies that the recipe asks for")
    elif recipe.sampler.copy_share > 0:
        real = [np.array([i for i in p if not cache.clips[i].is_synthetic], int) for p in parts]
        stride = max(len(real[0]) // recipe.copied_clips, 1)
        copied_from = real if learn_dev else real[:1]
        for number, vocoder in enumerate(vocoders):
            if names[number] not in wanted:
                continue
            # Evenly over the list, and so over the sources; each vocoder has clips of its own.
            few = np.concatenate([some[number % stride :: stride] for some in copied_from])
            copier = find_vocoder(vocoder)
            name = f"copy-{Path(vocoder).stem}-{_digest(vocoder)[:8]}"
            say(f"copying {len(few)} genuine clips through {names[number]}")
            copied.append(render(cache, home, name, few, copies(copier, name)))
    bank = SoundBank.load(noise) if noise else SoundBank()
    held_out = SoundBank.load(noise, held_out=True) if noise else SoundBank()
    identity = {
        "data": cache_key(cache.clips),
        "noise": _digest(noise) if noise else None,
        "vocoders": [_digest(path) for path in vocoders],
        **({"learned": "train and dev"} if learn_dev else {}),
    }
    return TrainingData(cache, train, dev, renderings, copied, bank, held_out, identity)


def _digest(source: str | Path) -> str:
    """Hash a file, the files of a folder, or the name of a vocoder that has none."""
    if str(source) in VOCODERS:
        return hashlib.sha256(str(source).encode()).hexdigest()
    path = Path(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
