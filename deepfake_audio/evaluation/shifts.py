"""How far two lots of numbers, or two mixes, lie apart, and whether chance explains it.

Both are measured between 0 and 1: numbers by the two-sample Kolmogorov-Smirnov statistic, mixes by
the share that would have to move (total variation).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PERMUTATIONS = 9_999
_PSI_BINS = 10
_KINDS_SHOWN = 3
_MAX_KINDS = 50  # of a mix; rarer ones count as one

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """Of a current lot from a reference.

    Attributes
    ----------
    shift : float
        Between 0 and 1.
    psi : float
        Population stability index.
    p_value : float
        Probability of so large a shift by chance.
    words : str
        From what to what.
    """

    shift: float
    psi: float
    p_value: float
    words: str


def number_shift(reference: Floats, current: Floats) -> Difference:
    """Compare two lots of numbers, each shaped (reports,) and not empty."""
    from scipy.stats import ks_2samp

    test = ks_2samp(reference, current, method="asymp")
    words = f"median {np.median(reference):.3g} -> {np.median(current):.3g}"
    psi = number_psi(reference, current)
    return Difference(float(test.statistic), psi, float(test.pvalue), words)


def number_psi(reference: Floats, current: Floats) -> float:
    """Return the population stability index over tenths of the reference."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _PSI_BINS + 1)[1:-1]))
    old, new = (
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=edges.size + 1)
        for x in (reference, current)
    )
    return _psi(old, new)


def mix_shift(
    reference: Mapping[Any, int], current: Mapping[Any, int], rng: np.random.Generator
) -> Difference:
    """Compare two mixes.

    Parameters
    ----------
    reference, current : mapping of kind to int
        How many there are of each kind.
    rng : numpy Generator
        Of the permutations.

    Returns
    -------
    Difference
        The p-value is that of a permutation test; the words name the kinds that moved most.
    """
    pooled_counts = Counter(reference) + Counter(current)
    kinds = sorted((kind for kind, _ in pooled_counts.most_common(_MAX_KINDS)), key=str)
    old, new = (
        np.array([side.get(kind, 0) for kind in kinds], dtype=np.int64)
        for side in (reference, current)
    )
    if len(pooled_counts) > _MAX_KINDS:
        old = np.append(old, sum(reference.values()) - old.sum())
        new = np.append(new, sum(current.values()) - new.sum())
        kinds.append("others")
    moved = new / new.sum() - old / old.sum()
    shift = float(np.abs(moved).sum() / 2)
    # Labels dealt out anew: how many of each kind would the current side get?
    pooled = old + new
    dealt = rng.multivariate_hypergeometric(
        pooled, int(new.sum()), size=_PERMUTATIONS, method="marginals"
    )
    by_chance = np.abs(dealt / new.sum() - (pooled - dealt) / old.sum()).sum(1) / 2
    p_value = float((1 + np.count_nonzero(by_chance >= shift - 1e-12)) / (1 + _PERMUTATIONS))
    most = np.argsort(-np.abs(moved), kind="stable")[:_KINDS_SHOWN]
    words = ", ".join(
        f"{kinds[i]} {100 * old[i] / old.sum():.0f} % -> {100 * new[i] / new.sum():.0f} %"
        for i in most
    )
    return Difference(shift, _psi(old, new), p_value, words)


def _psi(old: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    # Half a recording more of each kind: what is missing on one side must not cost infinity.
    one, other = ((x + 0.5) / (x.sum() + 0.5 * x.size) for x in (old, new))
    return float(((other - one) * np.log(other / one)).sum())


def holm(p_values: list[float]) -> list[float]:
    """Correct p-values for their number (Holm, 1979)."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.minimum(np.maximum.accumulate(np.array(p_values)[order] * factors), 1.0)
    back = np.empty(len(p_values))
    back[order] = corrected
    return [float(p) for p in back]
