"""From labelled audio to a calibrated checkpoint: everything around the loop."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..augment import SoundBank
from ..augment.renderings import Rendering, coded, render
from ..augment.vocoders import VOCODERS, copies, find_vocoder
from ..calibration import Calibration
from ..checkpoint import WEIGHTS_NAME, CheckpointHeader, load_checkpoint, save_checkpoint
from ..config import BranchConfig
from ..datasets.cache import AudioCache, cache_key, open_cache, select
from ..datasets.manifest import load_manifest
from ..errors import ConfigError, DatasetError
from ..model import Network, join
from .loop import Progress, run
from .ranks import ALONE, Ranks, joined
from .recipe import Recipe
from .release import calibrate, carry_over, fit_novelty
from .replay import remember
from .sampler import BatchMaker, hold_out_sources
from .scores import dev_figures, score_cached
from .teachers import Teachers

Say = Callable[[str], None]

_REFIT = "refit"  # folder of the second run, inside that of the first
_RAW = Calibration(speech_threshold=0.0)  # raw logits of every window, until calibration is fitted


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
        for number, vocoder in enumerate(vocoders):
            if names[number] not in wanted:
                continue
            # Evenly over the list, and so over the sources; each vocoder has clips of its own.
            few = np.concatenate(
                [some[number % stride :: stride] for some in real[: 1 + learn_dev]]
            )
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


def train(
    recipes: Recipe | Sequence[Recipe],
    sources: Sources,
    out: str | Path,
    *,
    device: torch.device | str = "cpu",
    say: Say = print,
    on_progress: Progress | None = None,
    stop_after: int | None = None,
    refit: bool = False,
) -> Path:
    """Train, calibrate and save a model; goes on where an earlier call with this ``out`` stopped.

    Under ``torchrun`` each process takes its rows of every batch, see :mod:`.ranks`.

    Parameters
    ----------
    recipes : Recipe or sequence of Recipe
        What to train. Several give a network of several branches, trained one after the other;
        name, version and windows are those of the first.
    sources : Sources
        What to train on.
    out : path
        Folder for the training state, the log and ``model.safetensors``.
    device : torch.device or str
        Where to compute.
    say, on_progress : callable
        Told what is being done, and the figures of each step.
    stop_after : int, optional
        Stop each branch after this step, resumable.
    refit : bool
        Then train all branches once more, on dev, too. What is saved has the weights of these, and
        calibration, policies and figures of the first, which had not heard what they are of; but
        the speech gate and what is remembered belong to the second.

    Returns
    -------
    Path
        The checkpoint.
    """
    out, device = Path(out), torch.device(device)
    recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    if refit and any(recipe.held_out_sources for recipe in recipes):
        raise ConfigError(
            "holds sources out of a model that is to learn from all",
            name="held_out_sources",
            hint="set it to 0, or leave the refit",
        )
    if (out / _REFIT).exists() and not refit:
        raise ConfigError(
            "holds a run that goes on to learn from dev",
            name=str(out),
            hint="give --refit again, or another folder",
        )
    with joined(device) as ranks:
        if not ranks.leads:
            say, on_progress = _silently, None

        def fit(folder: Path, *, learn_dev: bool) -> tuple[list[Network], TrainingData]:
            networks = []
            for number, recipe in enumerate(recipes, 1):
                work = Path(sources.cache or out / "cache")
                if not ranks.leads:
                    ranks.wait()  # until the first has decoded what all read
                prepared = prepare(
                    recipe, sources, work, learn_dev=learn_dev, needs_dev=refit, say=say
                )
                if ranks.leads:
                    ranks.wait()
                networks.append(
                    _train_branch(
                        recipe,
                        prepared,
                        folder if len(recipes) == 1 else folder / f"branch-{number}",
                        device=device,
                        ranks=ranks,
                        say=say,
                        on_progress=on_progress,
                        stop_after=stop_after,
                    )
                )
            return networks, prepared

        networks, prepared = fit(out, learn_dev=False)
        refitted = None
        if refit:
            say("training once more, on dev, too")
            refitted = Refitted(*fit(out / _REFIT, learn_dev=True))
        learned = refitted.learned if refitted else prepared
        header = CheckpointHeader(
            name=recipes[0].name,
            version=recipes[0].version,
            branches=tuple(BranchConfig(recipe.frontend, recipe.model) for recipe in recipes),
            windows=recipes[0].windows,
            training={
                "recipes": [recipe.to_dict() for recipe in recipes],
                "clips": len(learned.train),
                "hours": round(
                    float(learned.cache.lengths[learned.train].sum()) / 16_000 / 3600, 2
                ),
                "device": device.type,
                **({"refit": True} if refit else {}),
            },
        )
        if ranks.leads:
            publish(networks, header, prepared, out, device=device, refitted=refitted, say=say)
        ranks.wait()
    return out / WEIGHTS_NAME


@dataclass(frozen=True)
class Refitted:
    """The same recipes trained once more, on dev, too.

    Attributes
    ----------
    networks : sequence of Network
        Of one branch each, in evaluation mode.
    learned : TrainingData
        What they learned from.
    """

    networks: Sequence[Network]
    learned: TrainingData


def publish(
    networks: Sequence[Network],
    header: CheckpointHeader,
    prepared: TrainingData,
    out: Path,
    *,
    device: torch.device,
    refitted: Refitted | None = None,
    say: Say = print,
) -> Path:
    """Join, calibrate and save trained networks; returns the checkpoint.

    Parameters
    ----------
    networks : sequence of Network
        Of one branch each, in evaluation mode.
    header : CheckpointHeader
        What they are; its calibration, policies and metrics are made here.
    prepared : TrainingData
        The clips to calibrate on, and what the network learned from.
    out : Path
        Folder for ``model.safetensors`` and ``metrics.json``.
    refitted : Refitted, optional
        Whose weights to save, with what ``networks`` had to be calibrated by.
    """
    header = dataclasses.replace(header, calibration=_RAW)
    if len(prepared.dev):
        say("calibrating on dev")
        spreads = _spreads(networks, header, prepared)
        network = join(networks, spreads).to(device)
        header = calibrate(network, header, prepared.cache, prepared.dev, prepared.held_out)
        header = fit_novelty(network, header, prepared.cache, prepared.train, prepared.dev)
        if refitted:
            network = join(refitted.networks, spreads).to(device)
            header = carry_over(
                network,
                header,
                prepared.cache,
                refitted.learned.train,
                prepared.dev,
                prepared.held_out,
            )
        replay = remember(network, header, prepared.cache, prepared.train, prepared.dev)
    else:
        say("no clips of split dev: scores stay uncalibrated, with one policy that was not chosen")
        network, replay = join(refitted.networks if refitted else networks), None
    checkpoint = out / WEIGHTS_NAME
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, network, header, replay)
    (out / "metrics.json").write_text(json.dumps(header.metrics, indent=2) + "\n")
    load_checkpoint(checkpoint)  # what cannot be loaded has not been released
    return checkpoint


def _silently(message: str) -> None:
    """Say nothing."""


def batch_maker(
    recipe: Recipe, prepared: TrainingData, indices: np.ndarray, ranks: Ranks = ALONE
) -> BatchMaker:
    """Return what makes the batches of a recipe from the clips of the given indices."""
    return BatchMaker(
        prepared.cache,
        indices,
        optim=recipe.optim,
        sampler=recipe.sampler,
        augment=recipe.augment,
        coded=prepared.coded,
        copies=prepared.copies,
        bank=prepared.bank,
        clean=recipe.distill.active and recipe.distill.heard == "clean",
        rows=ranks.rows(recipe.optim.batch_size),
    )


def _train_branch(
    recipe: Recipe,
    prepared: TrainingData,
    out: Path,
    *,
    device: torch.device,
    ranks: Ranks,
    say: Say,
    on_progress: Progress | None,
    stop_after: int | None,
) -> Network:
    """Train one branch, or go on with it; returns its averaged network."""
    cached = prepared.cache.clips
    held_out = hold_out_sources([cached[i] for i in prepared.train], recipe.held_out_sources)
    is_held_out = np.array([cached[i].source in held_out for i in prepared.train], dtype=bool)
    left = {cached[i].label for i in prepared.train[~is_held_out]}
    if held_out and (len(left) < 2 or not len(prepared.dev)):
        raise ConfigError(
            f"{len(held_out)} sources leave too little: both classes to train on, and a dev split",
            name="held_out_sources",
            hint="hold out fewer, or none",
        )
    looked_at = np.concatenate([prepared.dev, prepared.train[is_held_out]])
    maker = batch_maker(recipe, prepared, prepared.train[~is_held_out], ranks)
    teachers = Teachers.of(recipe, device)
    taught_by = {"teachers": teachers.identity} if teachers else {}
    clips = [cached[i] for i in looked_at]
    raw = CheckpointHeader(
        name=recipe.name,
        version=recipe.version,
        branches=(BranchConfig(recipe.frontend, recipe.model),),
        windows=recipe.windows,
        calibration=_RAW,
    )

    def look(network: Network, step: int) -> dict[str, float]:
        scores = score_cached(network.eval(), raw, prepared.cache, looked_at)
        n_dev = len(prepared.dev)
        figures = dev_figures(clips[:n_dev], scores[:n_dev])
        if held_out:
            both = dev_figures(clips, scores)
            figures |= {f"{name}_with_held_out": value for name, value in both.items()}
        return figures

    began = time.perf_counter()
    state = run(
        recipe,
        maker,
        out,
        device=device,
        identity={"recipe": recipe.to_dict(), **prepared.identity, **taught_by},
        teachers=teachers,
        ranks=ranks,
        look=look if len(prepared.dev) else None,
        on_progress=on_progress,
        stop_after=stop_after,
    )
    say(f"{state.step} steps done in {(time.perf_counter() - began) / 60:.1f} minutes")
    network = state.average
    assert isinstance(network, Network)
    return network.eval()


def _spreads(
    networks: Sequence[Network], header: CheckpointHeader, prepared: TrainingData
) -> list[float]:
    """Measure the standard deviation of each network's logit over dev; 1 if it is alone."""
    if len(networks) == 1:
        return [1.0]
    scores = [score_cached(n, header, prepared.cache, prepared.dev) for n in networks]
    return [float(np.nanstd(s)) or 1.0 for s in scores]
