"""Detection metrics on two sets of scores: DET curve, EER, DCF, Cllr, AUC.

Everywhere in :mod:`deepfake_audio.evaluation` a score is *high for bona fide* speech, the
convention of the field; from this package's ``llr_synthetic`` it is ``-llr_synthetic``.
A *miss* rejects bona fide speech, a *false alarm* accepts a spoof.

A threshold cannot tell equal scores apart, so ties make one step of the DET curve. (Walking
through a tie one score at a time, as published scripts do, visits points that no threshold
reaches: a detector that gives every clip the same score would have an EER of 100 %.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, DatasetError

Floats = NDArray[np.float64]

MIN_PAGE_CLIPS = 5
"""Clips of each label that a source needs for an EER of its own."""


@dataclass(frozen=True)
class DcfCosts:
    """What errors cost, as in the ASVspoof 5 evaluation plan.

    Attributes
    ----------
    prior_spoof : float
        Prior probability of a spoof.
    miss, false_alarm : float
        Cost of rejecting bona fide speech, and of accepting a spoof.
    """

    prior_spoof: float = 0.05
    miss: float = 1.0
    false_alarm: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.prior_spoof < 1:
            raise ConfigError("must lie in (0, 1)", name="prior_spoof")
        if not (self.miss > 0 and self.false_alarm > 0):
            raise ConfigError("costs must be above zero", name="DcfCosts")

    @property
    def miss_weight(self) -> float:
        """Cost of a miss times how often bona fide speech comes."""
        return self.miss * (1 - self.prior_spoof)

    @property
    def false_alarm_weight(self) -> float:
        """Cost of a false alarm times how often a spoof comes."""
        return self.false_alarm * self.prior_spoof

    @property
    def bayes_threshold(self) -> float:
        """Log-likelihood ratio from which accepting is the cheaper decision."""
        return float(-np.log(self.miss_weight / self.false_alarm_weight))

    def normalised(self, miss: Floats, false_alarm: Floats) -> Floats:
        """Divide the cost of error rates by that of the better constant decision."""
        cost = self.miss_weight * miss + self.false_alarm_weight * false_alarm
        return cost / min(self.miss_weight, self.false_alarm_weight)


class DetCurve(NamedTuple):
    """Error rates at every threshold that makes a difference, in rising order.

    Point ``i`` rejects the scores at or below ``threshold[i]``.
    """

    miss: Floats  # (points,)
    false_alarm: Floats  # (points,)
    threshold: Floats  # (points,)


class OperatingPoint(NamedTuple):
    """A figure of merit and the score threshold at which it is reached."""

    value: float
    threshold: float


def check_scores(scores: ArrayLike, name: str) -> Floats:
    """Return scores as a non-empty, finite, one-dimensional float64 array.

    Raises
    ------
    DatasetError
        If there are none, or one of them is NaN or infinite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise DatasetError(f"expected one score a clip, got shape {array.shape}", name=name)
    if array.size == 0:
        raise DatasetError("there are no scores of this class", name=name)
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise DatasetError(f"{bad} of {array.size} scores are NaN or infinite", name=name)
    return array


def thresholds_of(*classes: Floats) -> Floats:
    """Return the distinct scores of all classes, led by one just below the lowest."""
    distinct = np.unique(np.concatenate(classes))
    lead = min(distinct[0] - 0.001, np.nextafter(distinct[0], -np.inf))
    return np.concatenate([[lead], distinct])


def rejected_share(scores: Floats, thresholds: Floats) -> Floats:
    """Share of ``scores`` at or below each of ``thresholds``."""
    return np.searchsorted(np.sort(scores), thresholds, side="right") / scores.size


def det_curve(bonafide: ArrayLike, spoof: ArrayLike) -> DetCurve:
    """Miss and false-alarm rates over all thresholds.

    Parameters
    ----------
    bonafide, spoof : array_like, shape (clips,)
        Scores, high = bona fide.

    Raises
    ------
    DatasetError
        If a class is empty or a score is not finite.
    """
    bona, fake = check_scores(bonafide, "bonafide"), check_scores(spoof, "spoof")
    threshold = thresholds_of(bona, fake)
    # Counted from the other end, so that rates are exact quotients (1 - x would round).
    accepted = fake.size - np.searchsorted(np.sort(fake), threshold, side="right")
    return DetCurve(rejected_share(bona, threshold), accepted / fake.size, threshold)


def eer(bonafide: ArrayLike, spoof: ArrayLike) -> OperatingPoint:
    """Equal error rate: the mean of both rates where they are closest, in [0, 1]."""
    curve = det_curve(bonafide, spoof)
    at = int(np.argmin(np.abs(curve.miss - curve.false_alarm)))
    rate = (curve.miss[at] + curve.false_alarm[at]) / 2
    return OperatingPoint(float(rate), float(curve.threshold[at]))


def min_dcf(bonafide: ArrayLike, spoof: ArrayLike, costs: DcfCosts | None = None) -> OperatingPoint:
    """Lowest normalised detection cost over all thresholds (ASVspoof 5 costs by default)."""
    curve = det_curve(bonafide, spoof)
    cost = (costs or DcfCosts()).normalised(curve.miss, curve.false_alarm)
    at = int(np.argmin(cost))
    return OperatingPoint(float(cost[at]), float(curve.threshold[at]))


def act_dcf(bonafide: ArrayLike, spoof: ArrayLike, costs: DcfCosts | None = None) -> OperatingPoint:
    """Normalised detection cost at the Bayes threshold: what trusting the LLRs costs."""
    costs = costs or DcfCosts()
    miss, false_alarm = error_rates(bonafide, spoof, costs.bayes_threshold)
    cost = costs.normalised(np.array(miss), np.array(false_alarm))
    return OperatingPoint(float(cost), costs.bayes_threshold)


def error_rates(bonafide: ArrayLike, spoof: ArrayLike, threshold: float) -> tuple[float, float]:
    """Miss and false-alarm rate when scores at or above ``threshold`` are accepted."""
    bona, fake = check_scores(bonafide, "bonafide"), check_scores(spoof, "spoof")
    return float(np.mean(bona < threshold)), float(np.mean(fake >= threshold))


def log_costs(scores: Floats, is_bonafide: NDArray[np.bool_]) -> Floats:
    """Bits that each log-likelihood ratio is away from certainty of the truth."""
    # logaddexp(0, x) = log(1 + exp(x)) without overflow for large x.
    return np.asarray(np.logaddexp(0.0, np.where(is_bonafide, -scores, scores)) / np.log(2.0))


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Cost of log-likelihood ratios, bits: 0 = perfect, 1 = tells nothing.

    Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    bona, fake = check_scores(bonafide, "bonafide"), check_scores(spoof, "spoof")
    of_bona = log_costs(bona, np.ones(bona.size, dtype=bool)).mean()
    of_fake = log_costs(fake, np.zeros(fake.size, dtype=bool)).mean()
    return float(of_bona + of_fake) / 2


def auc(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Probability that a bona fide clip scores above a spoof; ties count one half."""
    bona, fake = check_scores(bonafide, "bonafide"), np.sort(check_scores(spoof, "spoof"))
    below = np.searchsorted(fake, bona, side="left")
    below_or_equal = np.searchsorted(fake, bona, side="right")
    return float((below + below_or_equal).sum() / (2.0 * bona.size * fake.size))


def pages(
    is_bonafide: NDArray[np.bool_], sources: ArrayLike, min_clips: int = MIN_PAGE_CLIPS
) -> Mapping[str, NDArray[np.intp]]:
    """Find the clips of each named source that has ``min_clips`` clips of both labels."""
    names, group = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    if len(group) != len(is_bonafide):
        raise DatasetError(f"{len(is_bonafide)} labels but {len(group)} sources")
    n_bona = np.bincount(group[is_bonafide], minlength=len(names))
    n_fake = np.bincount(group[~is_bonafide], minlength=len(names))
    usable = np.flatnonzero((n_bona >= min_clips) & (n_fake >= min_clips) & (names != ""))
    return {str(names[g]): np.flatnonzero(group == g) for g in usable}


def page_macro_eer(
    scores: ArrayLike,
    is_bonafide: ArrayLike,
    sources: ArrayLike,
    min_clips: int = MIN_PAGE_CLIPS,
) -> tuple[float, dict[str, float]]:
    """EER within each source, and their mean.

    Within one source recording conditions hardly differ between the labels, so that the mean
    shows how well synthesis itself is heard, not how well sources are told apart.

    Parameters
    ----------
    scores : array_like, shape (clips,)
        High = bona fide.
    is_bonafide : array_like of bool, shape (clips,)
    sources : sequence of str, length clips
    min_clips : int
        Sources with fewer clips of either label are left out.

    Returns
    -------
    mean : float
        NaN where no source has enough clips of both labels.
    by_source : dict of str to float
    """
    values = check_scores(scores, "scores")
    truth = np.asarray(is_bonafide, dtype=bool)
    if truth.shape != values.shape:
        raise DatasetError(f"{values.size} scores but {truth.size} labels")
    rates = {
        name: eer(values[at][truth[at]], values[at][~truth[at]]).value
        for name, at in pages(truth, sources, min_clips).items()
    }
    return float(np.mean(list(rates.values()))) if rates else float("nan"), rates
