"""From labelled audio to a calibrated checkpoint: everything around the loop."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..augment import SoundBank
from ..augment.renderings import Rendering, coded, render
from ..augment.vocoders import hifigan_copies
from ..calibration import Calibration
from ..checkpoint import WEIGHTS_NAME, CheckpointHeader, load_checkpoint, save_checkpoint
from ..datasets.cache import AudioCache, cache_key, open_cache, select
from ..datasets.manifest import load_manifest
from ..errors import DatasetError
from ..model import Network
from .loop import Progress, run
from .recipe import Recipe
from .release import calibrate
from .sampler import BatchMaker
from .scores import dev_figures, score_cached

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    """Decoded clips and their renderings, ready to make batches of.

    Attributes
    ----------
    cache : AudioCache
        Clips of all splits.
    train, dev : np.ndarray, int64
        Indices of the two splits; ``dev`` may be empty.
    coded, copies : list of Rendering
        Coded versions and vocoder copies of training clips.
    bank, held_out : SoundBank
        Background sounds for training, and those kept for measuring the speech gate.
    """

    cache: AudioCache
    train: np.ndarray
    dev: np.ndarray
    coded: list[Rendering]
    copies: list[Rendering]
    bank: SoundBank
    held_out: SoundBank


def prepare(
    recipe: Recipe,
    data: Sequence[str | Path],
    work: Path,
    *,
    noise: Path | None = None,
    vocoders: Sequence[Path] = (),
    say: Say = print,
) -> TrainingData:
    """Decode the clips, make the renderings that the recipe asks for, load the sounds.

    Parameters
    ----------
    recipe : Recipe
        What is needed.
    data : sequence of path
        See :func:`deepfake_audio.datasets.load_manifest`. Clips of the split ``test`` are left out.
    work : Path
        Folder for caches; what lies there from an earlier call is used again.
    noise : Path, optional
        Parquet file of noise, music, babble and room responses.
    vocoders : sequence of Path
        HiFi-GAN generators for copies of genuine clips.
    say : callable
        Told in one line what is being done.
    """
    clips = [clip for clip in load_manifest(data) if clip.split != "test"]
    say(f"decoding {len(clips)} clips (once; kept in {work})")
    cache, failures = open_cache(clips, work)
    for failure in failures:
        say(f"left out: {failure}")
    # Clips of no known split are for training.
    train, dev = select(cache, "train", ""), select(cache, "dev")
    say(f"{len(train)} clips to train on, {len(dev)} to calibrate on")
    labels = {cache.clips[i].label for i in train}
    if labels != {"bonafide", "spoof"}:
        raise DatasetError(
            f"training needs both classes, found {', '.join(sorted(labels)) or 'no clips'}",
            name=str(data[0]),
            hint="add clips of the missing class",
        )
    home = work / cache_key(clips)
    renderings = []
    if recipe.augment.codec > 0:
        for version in range(recipe.codec_renderings):
            say(f"coding {len(train)} clips, version {version + 1}")
            renderings.append(render(cache, home, f"coded-{version}", train, coded(version)))
    copies = []
    if recipe.sampler.copy_share > 0:
        genuine = train[[not cache.clips[i].is_synthetic for i in train]]
        # Evenly over the list, and so over the sources.
        few = genuine[:: max(len(genuine) // recipe.copied_clips, 1)]
        for path in vocoders:
            say(f"copying {len(few)} genuine clips through {path.stem}")
            name = f"copy-{path.stem}-{_digest(path)[:8]}"
            copies.append(render(cache, home, name, few, hifigan_copies(path)))
    bank = SoundBank.load(noise) if noise else SoundBank()
    held_out = SoundBank.load(noise, held_out=True) if noise else SoundBank()
    return TrainingData(cache, train, dev, renderings, copies, bank, held_out)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(
    recipe: Recipe,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    noise: str | Path | None = None,
    vocoders: Sequence[str | Path] = (),
    cache: str | Path | None = None,
    device: torch.device | str = "cpu",
    say: Say = print,
    on_progress: Progress | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train, calibrate and save a model; goes on where an earlier call with this ``out`` stopped.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    data : sequence of path
        Labelled clips; those of split ``dev`` choose thresholds, ``test`` is never touched.
    out : path
        Folder for the training state, the log and ``model.safetensors``.
    noise, vocoders, cache
        See :func:`prepare`; the cache defaults to ``out / "cache"``.
    device : torch.device or str
        Where to compute.
    say, on_progress : callable
        Told what is being done, and the figures of each step.
    stop_after : int, optional
        Stop after this step, resumable.

    Returns
    -------
    Path
        The checkpoint.
    """
    out = Path(out)
    device = torch.device(device)
    prepared = prepare(
        recipe,
        data,
        Path(cache) if cache else out / "cache",
        noise=Path(noise) if noise else None,
        vocoders=[Path(path) for path in vocoders],
        say=say,
    )
    maker = BatchMaker(
        prepared.cache,
        prepared.train,
        optim=recipe.optim,
        sampler=recipe.sampler,
        augment=recipe.augment,
        coded=prepared.coded,
        copies=prepared.copies,
        bank=prepared.bank,
    )
    header = CheckpointHeader(
        name=recipe.name,
        version=recipe.version,
        frontend=recipe.frontend,
        model=recipe.model,
        windows=recipe.windows,
        # Raw logits of every window, until the calibration is fitted.
        calibration=Calibration(speech_threshold=0.0),
        training={
            "recipe": recipe.to_dict(),
            "clips": len(prepared.train),
            "hours": round(float(prepared.cache.lengths[prepared.train].sum()) / 16_000 / 3600, 2),
            "device": device.type,
        },
    )
    dev_clips = [prepared.cache.clips[i] for i in prepared.dev]

    def look(network: Network, step: int) -> dict[str, float]:
        network.eval()
        scores = score_cached(network, header, prepared.cache, prepared.dev)
        return dev_figures(dev_clips, scores)

    began = time.perf_counter()
    state = run(
        recipe,
        maker,
        out,
        device=device,
        identity={
            "recipe": recipe.to_dict(),
            "data": cache_key(prepared.cache.clips),
            "noise": _digest(Path(noise)) if noise else None,
            "vocoders": [_digest(Path(path)) for path in vocoders],
        },
        look=look if len(prepared.dev) else None,
        on_progress=on_progress,
        stop_after=stop_after,
    )
    say(f"{state.step} steps done in {(time.perf_counter() - began) / 60:.1f} minutes")
    network = state.average
    assert isinstance(network, Network)
    network.eval()
    checkpoint = out / WEIGHTS_NAME
    if len(prepared.dev):
        say("calibrating on dev")
        header = calibrate(network, header, prepared.cache, prepared.dev, prepared.held_out)
    else:
        say("no clips of split dev: scores stay uncalibrated, with one policy that was not chosen")
    save_checkpoint(checkpoint, network, header)
    (out / "metrics.json").write_text(json.dumps(header.metrics, indent=2) + "\n")
    load_checkpoint(checkpoint)  # what cannot be loaded has not been released
    return checkpoint
