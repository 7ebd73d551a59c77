"""Flat minima: the gradient is taken where the loss is worst nearby, not where the weights are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_SMALLEST = 0.01  # what a weight of zero counts as, where steps are in proportion to weights


@contextmanager
def worst_nearby(
    parameters: Iterable[nn.Parameter], radius: float, *, adaptive: bool
) -> Iterator[None]:
    """Inside, weights are moved up their gradient; afterwards they are exactly as before.

    Parameters
    ----------
    parameters : iterable of Parameter
        With gradients; those without stay.
    radius : float
        How far, as the length of the whole move (sharpness-aware minimisation, Foret et al.,
        2010.01412).
    adaptive : bool
        Measure each weight's move in units of its size, so that the radius does not depend on how
        the network is scaled (Kwon et al., 2102.11600).
    """
    with_slope = [(p, p.grad) for p in parameters if p.grad is not None]
    moved = [p for p, _ in with_slope]
    with torch.no_grad():
        kept = [p.detach().clone() for p in moved]
        units = [p.abs() + _SMALLEST if adaptive else torch.ones_like(p) for p in moved]
        slopes = [u * g for u, (_, g) in zip(units, with_slope, strict=True)]
        length = torch.linalg.vector_norm(torch.stack([s.norm() for s in slopes]))
        for parameter, unit, slope in zip(moved, units, slopes, strict=True):
            parameter.add_(unit * slope * (radius / (length + 1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(moved, kept, strict=True):
                parameter.copy_(before)


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalisations normalise as in training, but remember nothing of it."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracked in zip(norms, before, strict=True):
            norm.track_running_stats = tracked
