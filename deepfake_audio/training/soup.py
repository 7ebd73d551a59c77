"""One model out of several that were trained alike: the mean of their weights (a soup).

Runs that begin with the same weights, or one run at several times, lie in one valley, whose middle
does better on what was never heard (Wortsman et al., 2203.05482).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checkpoint import Checkpoint
from ..errors import CheckpointError
from ..model import Branch, Network
from .loop import batches_ahead
from .material import Say, Sources, prepare
from .recipe import Recipe
from .run import batch_maker, publish
from .sampler import BatchMaker

N_BATCHES = 100
"""Training batches that the statistics of the normalisations are measured on."""


def soup(
    checkpoints: Sequence[Checkpoint],
    sources: Sources,
    out: str | Path,
    *,
    n_batches: int = N_BATCHES,
    device: torch.device | str = "cpu",
    say: Say = print,
) -> Path:
    """Average models of one architecture, measure their normalisations anew, and calibrate.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        Two or more, of the same branches; name, version and recipes are those of the first.
    sources : Sources
        What the first was trained on.
    out : path
        Folder for ``model.safetensors``.
    n_batches : int
        Batches that the statistics of the normalisations are measured on.
    device : torch.device or str
        Where to compute.
    say : callable
        Told what is being done.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    CheckpointError
        If the models are not of one architecture, do not say what they were trained with, or
        learned from dev, which is to calibrate the mean.
    """
    out = Path(out)
    for checkpoint in checkpoints:
        if checkpoint.header.training.get("refit"):
            raise CheckpointError(
                "learned from dev, which is to calibrate the mean",
                name=f"{checkpoint.header.name} ({checkpoint.sha256[:8]})",
                hint="average models that were trained without --refit",
            )
    header = checkpoints[0].header
    network = average_weights(checkpoints).to(device)
    recipes = [Recipe.from_dict(values) for values in header.training.get("recipes", [])]
    if len(recipes) != len(network.branches):
        raise CheckpointError(
            "does not say what it was trained with",
            name=header.name,
            hint="average models that `train` has made",
        )
    for branch, recipe in zip(network.branches, recipes, strict=True):
        prepared = prepare(recipe, sources, Path(sources.cache or out / "cache"), say=say)
        assert isinstance(branch, Branch)
        say(f"measuring normalisations on {n_batches} batches")
        maker = batch_maker(recipe, prepared, prepared.train)
        renew_statistics(branch, maker, recipe.optim.steps, n_batches)
    raw = dataclasses.replace(
        header,
        training={**header.training, "soup_of": [each.sha256 for each in checkpoints]},
        metrics={},
        known_speech=None,
    )
    parts = [Network([branch]) for branch in network.branches if isinstance(branch, Branch)]
    return publish(parts, raw, prepared, out, device=torch.device(device), say=say)


def average_weights(checkpoints: Sequence[Checkpoint]) -> Network:
    """Return a network with the mean weights of several.

    Its normalisations have the mean of their statistics, which are those of none: see
    :func:`renew_statistics`.

    Raises
    ------
    CheckpointError
        If there are fewer than two, or one has other branches than the first.
    """
    if len(checkpoints) < 2:
        raise CheckpointError("one model is no soup", hint="name at least two checkpoints")
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.header.branches != first.header.branches:
            raise CheckpointError(
                f"is of another architecture than {first.header.name}",
                name=f"{other.header.name} ({other.sha256[:8]})",
                hint="average models of the same front end and shape",
            )
    mean = copy.deepcopy(first.torch_network)
    states = [checkpoint.torch_network.state_dict() for checkpoint in checkpoints]
    with torch.no_grad():
        for name, tensor in mean.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[name] for state in states]).mean(0))
    return mean.eval()


@torch.no_grad()
def renew_statistics(branch: Branch, maker: BatchMaker, steps: int, n_batches: int) -> None:
    """Measure what the normalisations of a branch expect, on the last batches of its training."""
    device = next(branch.parameters()).device
    with _measuring(branch):
        for batch in batches_ahead(maker, max(steps - n_batches, 0), steps):
            branch(batch.waveforms.to(device))


@contextmanager
def _measuring(module: nn.Module) -> Iterator[None]:
    """Inside, normalisations begin anew and take the plain mean of what they are given."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
