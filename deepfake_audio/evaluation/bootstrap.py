"""Confidence intervals by bootstrap over clips within source and label.

A replicate draws as many clips from each source and label as there are, with replacement. It is
held as one count a clip, so that a thousand replicates are one matrix, and every figure comes
from sums over sorted scores weighted by counts: no replicate is ever sorted again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .metrics import DcfCosts, Floats, check_scores, log_costs, pages

Counts = NDArray[np.float64]  # (replicates, clips): how often each clip was drawn
Statistic = Callable[[Counts], Floats]  # -> (replicates,)
Mask = NDArray[np.bool_]
Name = TypeVar("Name", bound=Hashable)

_CHUNK_CELLS = 2_000_000  # replicates x clips held at once: some tens of megabytes


@dataclass(frozen=True)
class Figure:
    """An estimate and its confidence interval.

    Attributes
    ----------
    value : float
        On the clips as they are.
    low, high : float or None
        Ends of the 95 % interval; None where no replicates were drawn.
    """

    value: float
    low: float | None = None
    high: float | None = None


def confidence_intervals(
    statistics: Mapping[Name, Statistic],
    strata: NDArray[Any],
    *,
    n_replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[Name, Figure]:
    """Estimate statistics with percentile intervals.

    Parameters
    ----------
    statistics : mapping to callable
        Each takes counts, shape (replicates, clips), and gives one value a replicate.
    strata : ndarray, shape (clips,)
        Clips are drawn anew within equal values. A stratum of one clip does not vary.
    n_replicates : int
        0 gives the values alone.
    seed : int
        The same seed gives the same intervals.
    level : float
        Coverage of the intervals.
    """
    if n_replicates < 0:
        raise ConfigError("must be at least zero", name="n_replicates")
    if not 0 < level < 1:
        raise ConfigError("must lie in (0, 1)", name="level")
    _, group = np.unique(strata, return_inverse=True)
    ones = np.ones((1, group.size))
    values = {name: float(statistic(ones)[0]) for name, statistic in statistics.items()}
    if n_replicates == 0:
        return {name: Figure(value) for name, value in values.items()}
    drawn: dict[Name, list[Floats]] = {name: [] for name in statistics}
    for counts in resample(group, n_replicates, np.random.default_rng(seed)):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(counts))
    tails = [(1 - level) / 2, (1 + level) / 2]
    figures = {}
    for name, value in values.items():
        low, high = np.quantile(np.concatenate(drawn[name]), tails)
        figures[name] = Figure(value, float(low), float(high))
    return figures


def resample(
    group: NDArray[np.intp], n_replicates: int, rng: np.random.Generator
) -> Iterator[Counts]:
    """Draw counts for all replicates, some at a time, shape (chunk, clips)."""
    clips = group.size
    # Sorted by stratum, a draw is the start of the clip's stratum plus a random offset in it.
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)[group[order]]
    starts = np.searchsorted(group[order], group[order])
    chunk = max(1, _CHUNK_CELLS // max(clips, 1))
    for first in range(0, n_replicates, chunk):
        rows = min(chunk, n_replicates - first)
        offsets = (rng.random((rows, clips)) * sizes).astype(np.intp)
        picked = order[starts + offsets] + clips * np.arange(rows)[:, None]
        yield np.bincount(picked.ravel(), minlength=rows * clips).reshape(rows, clips).astype(float)


class DetStatistics:
    """EER, minimum DCF and AUC of counted clips; scores are sorted once.

    Parameters
    ----------
    scores : ndarray, shape (clips,)
        High = bona fide.
    is_bonafide : ndarray of bool, shape (clips,)
    rows : ndarray of int, optional
        Clips to look at; all by default.
    """

    def __init__(self, scores: Floats, is_bonafide: Mask, rows: NDArray[np.intp] | None = None):
        rows = np.arange(scores.size) if rows is None else rows
        order = rows[np.argsort(scores[rows], kind="stable")]
        self._bona, self._fake = order[is_bonafide[order]], order[~is_bonafide[order]]
        check_scores(scores[self._bona], "bonafide")
        check_scores(scores[self._fake], "spoof")
        # For each distinct score, how many sorted clips of each class lie at or below it.
        distinct = np.unique(scores[order])
        self._n_bona = np.searchsorted(scores[self._bona], distinct, side="right")
        self._n_fake = np.searchsorted(scores[self._fake], distinct, side="right")

    def rates(self, counts: Counts) -> tuple[Floats, Floats]:
        """Miss and false-alarm rates at every threshold, shape (replicates, points)."""
        missed, bona = _cumulative(counts[:, self._bona], self._n_bona)
        rejected, fake = _cumulative(counts[:, self._fake], self._n_fake)
        return missed / bona, (fake - rejected) / fake

    def eer(self, counts: Counts) -> Floats:
        """Equal error rates, shape (replicates,)."""
        return _eer(*self.rates(counts))

    def min_dcf(self, counts: Counts, costs: DcfCosts) -> Floats:
        """Minimum normalised detection costs, shape (replicates,)."""
        return np.asarray(costs.normalised(*self.rates(counts)).min(axis=1))

    def auc(self, counts: Counts) -> Floats:
        """Areas under the ROC curve, shape (replicates,): trapezoids, so that ties count half."""
        miss, false_alarm = self.rates(counts)
        area = np.diff(miss, axis=1) * (false_alarm[:, 1:] + false_alarm[:, :-1]) / 2
        return np.asarray(1 - area.sum(axis=1))


def _cumulative(counts: Counts, upto: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Count the clips drawn among the first 0 and the first ``upto``, and all that were drawn."""
    total = np.zeros((len(counts), counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total[:, np.concatenate([[0], upto])], total[:, -1:]


def _eer(miss: Floats, false_alarm: Floats) -> Floats:
    at = np.argmin(np.abs(miss - false_alarm), axis=1)[:, None]
    both = np.take_along_axis(miss + false_alarm, at, axis=1)
    return np.asarray(both[:, 0] / 2)


def mean_over(values: NDArray[Any], mask: Mask) -> Statistic:
    """Mean of one value a clip over the masked clips, such as the rate of an error."""
    rows = np.flatnonzero(mask)
    of_rows = np.asarray(values, dtype=np.float64)[rows]

    def statistic(counts: Counts) -> Floats:
        drawn = counts[:, rows]
        return np.asarray(drawn @ of_rows / drawn.sum(axis=1))

    return statistic


def half_of_both(one: Statistic, other: Statistic) -> Statistic:
    """Mean of two statistics, such as one over genuine and one over spoofed clips."""
    return lambda counts: (one(counts) + other(counts)) / 2


def figure_statistics(
    scores: Floats, is_bonafide: Mask, sources: NDArray[Any], costs: DcfCosts
) -> dict[str, Statistic]:
    """Build the headline figures of an evaluation as statistics for :func:`confidence_intervals`.

    Parameters
    ----------
    scores : ndarray, shape (clips,)
        Log-likelihood ratios, high = bona fide.
    is_bonafide : ndarray of bool, shape (clips,)
    sources : ndarray of str, shape (clips,)
    costs : DcfCosts

    Returns
    -------
    dict
        ``pooled_eer``, ``page_macro_eer`` (where some source allows it), ``min_dcf``,
        ``act_dcf``, ``cllr``, ``auc``.
    """
    pooled = DetStatistics(scores, is_bonafide)
    within = [DetStatistics(scores, is_bonafide, at) for at in pages(is_bonafide, sources).values()]
    missed = mean_over(scores < costs.bayes_threshold, is_bonafide)
    accepted = mean_over(scores >= costs.bayes_threshold, ~is_bonafide)
    bits = log_costs(scores, is_bonafide)
    bits_bona, bits_fake = mean_over(bits, is_bonafide), mean_over(bits, ~is_bonafide)
    statistics: dict[str, Statistic] = {"pooled_eer": pooled.eer}
    if within:
        statistics["page_macro_eer"] = lambda counts: np.mean(
            [page.eer(counts) for page in within], axis=0
        )
    return statistics | {
        "min_dcf": lambda counts: pooled.min_dcf(counts, costs),
        "act_dcf": lambda counts: costs.normalised(missed(counts), accepted(counts)),
        "cllr": half_of_both(bits_bona, bits_fake),
        "auc": pooled.auc,
    }
