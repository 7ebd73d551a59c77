"""From training material to a calibrated checkpoint: everything around the loop."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..calibration import Calibration
from ..checkpoint import WEIGHTS_NAME, CheckpointHeader, load_checkpoint, save_checkpoint
from ..config import BranchConfig
from ..errors import ConfigError
from ..model import Network, join
from .loop import Progress, run
from .material import Say, Sources, TrainingData, prepare
from .ranks import ALONE, Ranks, joined
from .recipe import Recipe
from .release import calibrate, carry_over, fit_novelty
from .replay import remember
from .sampler import BatchMaker, hold_out_sources
from .scores import dev_figures, score_cached
from .teachers import Teachers

_REFIT = "refit"  # folder of the second run, inside that of the first
_RAW = Calibration(speech_threshold=0.0)  # raw logits of every window, until calibration is fitted


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
