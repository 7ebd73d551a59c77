"""The detector among recordings that are alike in a nuisance: bins, the same for both classes.

A detector that hears bandwidth, level or silence and not speech does worse once all recordings
have the same; one that hears speech does about as well in every bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from .bootstrap import DetStatistics, Figure, confidence_intervals
from .nuisances import Column, eer_alone, known
from .table import ScoreTable

N_BINS = 3
"""Bins of a number, each with as many clips as the others."""

MIN_BIN_CLIPS = 30
"""Fewest clips of each class for an EER within a bin."""


@dataclass(frozen=True)
class Bin:
    """Clips that are alike in one nuisance.

    Attributes
    ----------
    values : str
        Which values of the nuisance they have.
    n_bonafide, n_spoof : int
        Clips with a score.
    eer : Figure or None
        Of the detector on them; None with fewer than :data:`MIN_BIN_CLIPS` of a class.
    """

    values: str
    n_bonafide: int
    n_spoof: int
    eer: Figure | None


@dataclass(frozen=True)
class MatchedBins:
    """One nuisance, and the detector within bins of it.

    Attributes
    ----------
    nuisance : str
        As in :mod:`~deepfake_audio.evaluation.nuisances`.
    eer_alone : float or None
        How well it tells the classes apart itself, see
        :func:`~deepfake_audio.evaluation.nuisances.eer_alone`.
    bins : tuple of Bin
        Numbers ascending; texts by their number of clips.
    apart : tuple of (str, str)
        Pairs of bins whose intervals do not overlap.
    """

    nuisance: str
    eer_alone: float | None
    bins: tuple[Bin, ...]
    apart: tuple[tuple[str, str], ...]


def matched_bins(
    table: ScoreTable,
    columns: Mapping[str, Column],
    strata: NDArray[np.str_],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[MatchedBins, ...]:
    """Measure a detector within bins of each nuisance.

    Parameters
    ----------
    table : ScoreTable
        Clips that all have a score.
    columns : mapping of str to ndarray, shape (clips,)
        As from :func:`~deepfake_audio.evaluation.nuisances.nuisance_columns`, in the order of the
        table.
    strata : ndarray, shape (clips,)
        Clips are drawn anew within equal values, see
        :func:`~deepfake_audio.evaluation.bootstrap.confidence_intervals`.
    n_bootstrap : int
        Replicates behind each interval; without any, no two bins can be told apart.
    seed : int
        Of the bootstrap.
    """
    if not columns:
        return ()
    bona, scores = table.is_bonafide, table.bonafide_score
    members = {name: _members(column) for name, column in columns.items()}
    statistics = {
        (name, values): DetStatistics(scores, bona, np.flatnonzero(rows)).eer
        for name, bins in members.items()
        for values, rows in bins.items()
        if min((rows & bona).sum(), (rows & ~bona).sum()) >= MIN_BIN_CLIPS
    }
    figures = confidence_intervals(statistics, strata, n_replicates=n_bootstrap, seed=seed)
    found = []
    for name, bins in members.items():
        alone = eer_alone(columns[name], ~bona)
        made = tuple(
            Bin(
                values,
                int((rows & bona).sum()),
                int((rows & ~bona).sum()),
                figures.get((name, values)),
            )
            for values, rows in bins.items()
        )
        pairs = combinations(made, 2)
        apart = tuple((one.values, other.values) for one, other in pairs if _apart(one, other))
        found.append(MatchedBins(name, None if np.isnan(alone) else alone, made, apart))
    return tuple(found)


def _members(column: Column) -> dict[str, NDArray[np.bool_]]:
    """Say which clips lie in each bin, by the name of the bin."""
    has_value = known(column)
    if column.dtype.kind == "U":
        texts, counts = np.unique(column[has_value], return_counts=True)
        return {str(text): column == text for text in texts[np.argsort(-counts, kind="stable")]}
    distinct = np.unique(column[has_value])
    if distinct.size < 2:
        return {f"{value:.4g}": has_value for value in distinct}
    # Where many clips have the same value, as no silence at all, edges fall together; the largest
    # value is no edge, as nothing lies over it.
    quantiles = np.quantile(column[has_value], np.arange(1, N_BINS) / N_BINS)
    edges = np.unique(np.minimum(quantiles, distinct[-2]))
    names = [f"up to {edges[0]:.4g}"]
    names += [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    names.append(f"over {edges[-1]:.4g}")
    at = np.where(has_value, np.searchsorted(edges, column), -1)
    return {name: at == number for number, name in enumerate(names)}


def _apart(one: Bin, other: Bin) -> bool:
    """Tell whether there are two intervals and they do not overlap."""
    if not (one.eer and other.eer):
        return False
    lower, upper = sorted((one.eer, other.eer), key=lambda figure: figure.value)
    return lower.high is not None and upper.low is not None and lower.high < upper.low
