"""From the network's logit to a log-likelihood ratio, a probability, and operating points.

Scores here are high for *synthetic* speech. A log-likelihood ratio (LLR, natural logarithm) says
how much more likely the audio is if synthetic than if genuine; a probability needs a prior too,
and this package always states which. Everything is fitted on speech that was not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .config import Config, Policy
from .errors import ConfigError, DatasetError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FPR_TARGETS: Mapping[str, float] = {"recall": 0.10, "balanced": 0.02, "precision": 0.005}
"""Share of genuine calibration speech that each policy may flag."""

FNR_BELOW_BAND: Mapping[str, float] = {"recall": 0.05, "balanced": 0.10, "precision": 0.20}
"""Share of synthetic calibration speech that each policy may call likely authentic."""

SMOOTHING_CLIPS = 10
"""Weight, in clips, of the pooled rate in the rate of one source."""

MIN_SOURCE_CLIPS = 10
"""Genuine clips that a source needs before its false-positive rate is quoted."""

_MIN_SLOPE = 1e-3  # LLR per standard deviation of the logits: keeps the map rising


@dataclass(frozen=True)
class Calibration(Config):
    """An increasing map from logits to log-likelihood ratios, and the prior that is stated.

    Attributes
    ----------
    scale, offset : float
        ``llr = scale * logit + offset``; ``scale`` is above zero.
    prior_synthetic : float
        Prior probability of synthetic speech under which probabilities are stated.
    speech_threshold : float
        Probability of speech below which a window is not scored.
    """

    scale: float = 1.0
    offset: float = 0.0
    prior_synthetic: float = 0.5
    speech_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.offset)):
            raise ConfigError("needs a finite offset and a scale above zero", name="calibration")
        if not 0 < self.prior_synthetic < 1:
            raise ConfigError("must lie in (0, 1)", name="calibration.prior_synthetic")
        if not 0 <= self.speech_threshold <= 1:
            raise ConfigError("must lie in [0, 1]", name="calibration.speech_threshold")

    def llr(self, logits: ArrayLike) -> Floats:
        """Log-likelihood ratios of logits, any shape; high = synthetic."""
        return np.asarray(logits, dtype=np.float64) * self.scale + self.offset

    def probability(self, llr: ArrayLike) -> Floats:
        """Probability of synthetic speech given LLRs, any shape, under ``prior_synthetic``."""
        return probability(llr, self.prior_synthetic)


def probability(llr: ArrayLike, prior_synthetic: float = 0.5) -> Floats:
    """Posterior probability of synthetic speech (Bayes' rule on the log-odds)."""
    odds = np.asarray(llr, dtype=np.float64) + np.log(prior_synthetic / (1 - prior_synthetic))
    return _sigmoid(odds)


def fit_calibration(
    logits: ArrayLike, is_synthetic: ArrayLike, weights: ArrayLike | None = None
) -> Calibration:
    """Fit logits to log-likelihood ratios by class-balanced logistic regression.

    Both classes weigh one half whatever their sizes, so that the log-odds that come out are
    log-likelihood ratios (Brummer and du Preez, 2006). A ridge on the slope, as strong as one
    clip and measured on standardised logits, keeps a perfect separation from giving infinite
    confidence. Logits that rank backwards give a nearly flat map: such a model knows nothing.

    Parameters
    ----------
    logits : array_like, shape (clips,)
        High = synthetic.
    is_synthetic : array_like of bool, shape (clips,)
    weights : array_like, shape (clips,), optional
        Relative weight of each clip within its class, for instance one over the clips of its
        source.

    Raises
    ------
    DatasetError
        If a class is empty, a logit is not finite, or lengths differ.
    """
    x, truth = _scores_and_truth(logits, is_synthetic)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != x.shape:
        raise DatasetError(f"{x.size} logits but {w.size} weights")
    if not (np.isfinite(w).all() and w.min() >= 0 and w[truth].any() and w[~truth].any()):
        raise DatasetError("weights must be finite, at least zero, and not all zero in a class")
    w = np.where(truth, w / w[truth].sum(), w / w[~truth].sum()) / 2

    centre = float(w @ x)
    spread = float(np.sqrt(w @ (x - centre) ** 2)) or 1.0
    slope, intercept = _logistic_regression((x - centre) / spread, truth, w)
    scale = slope / spread
    return Calibration(scale=scale, offset=intercept - scale * centre)


def _logistic_regression(z: Floats, truth: Mask, w: Floats) -> tuple[float, float]:
    """Slope and intercept of a weighted logistic regression in one standardised variable."""
    from sklearn.linear_model import LogisticRegression  # takes a second; only fitting needs it

    # Weights that sum to the number of clips make the default ridge as strong as one clip.
    model = LogisticRegression(tol=1e-10, max_iter=1000)
    model.fit(z[:, None], truth, sample_weight=w * z.size)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    # Backwards or constant logits know nothing, and both classes weigh the same: say even odds.
    return (slope, intercept) if slope >= _MIN_SLOPE else (_MIN_SLOPE, 0.0)


def fit_policies(
    llr: ArrayLike,
    is_synthetic: ArrayLike,
    sources: Sequence[str] | NDArray[Any],
    prior_synthetic: float = 0.5,
) -> dict[str, Policy]:
    """Choose the operating points ``recall``, ``balanced`` and ``precision``.

    Each threshold is the lowest at which the share of genuine speech flagged stays within
    :data:`FPR_TARGETS`; that share is the mean of the pooled rate and of the mean rate over
    sources, so that neither one big source nor one odd small source decides. The abstain band
    reaches down until :data:`FNR_BELOW_BAND` of the synthetic speech lies below it. However
    good the model, no clip is flagged that the LLR calls likelier genuine, nor the reverse.

    Parameters
    ----------
    llr : array_like, shape (clips,)
        Calibrated log-likelihood ratios, high = synthetic.
    is_synthetic : array_like of bool, shape (clips,)
    sources : sequence of str, length clips
        Where each clip came from.
    prior_synthetic : float
        Prior under which the thresholds on ``p_synthetic`` are stated.

    Returns
    -------
    dict of str to Policy
        With the rates that each policy has on these very clips: pooled, and in the worst source
        with at least :data:`MIN_SOURCE_CLIPS` genuine clips.
    """
    scores, truth = _scores_and_truth(llr, is_synthetic)
    names = np.asarray(sources, dtype=str)
    if names.shape != scores.shape:
        raise DatasetError(f"{scores.size} scores but {names.size} sources")
    p = probability(scores, prior_synthetic)
    genuine_weight = _source_balanced_weights(names[~truth])
    synthetic_weight = _source_balanced_weights(names[truth])
    policies = {}
    for name, target in FPR_TARGETS.items():
        threshold = _cut_upper_tail(scores[~truth], genuine_weight, target)
        # Negated, the synthetic clips missed are an upper tail as well.
        band = -_cut_upper_tail(-scores[truth], synthetic_weight, FNR_BELOW_BAND[name])
        at = probability([min(band, 0.0), max(threshold, 0.0)], prior_synthetic)
        by_source = false_positive_rates_by_source(p, truth, names, at[1])
        quoted = [(s, r) for s, r in by_source.items() if r["clips"] >= MIN_SOURCE_CLIPS]
        worst, rates = quoted[0] if quoted else (None, None)
        policies[name] = Policy(
            name=name,
            threshold=float(at[1]),
            authentic_below=float(at[0]),
            prior_synthetic=prior_synthetic,
            expected_fpr=float(np.mean(p[~truth] >= at[1])),
            expected_fnr=float(np.mean(p[truth] < at[1])),
            worst_source=worst,
            worst_source_fpr=None if rates is None else float(rates["fpr"]),
        )
    return policies


def false_positive_rates_by_source(
    scores: ArrayLike,
    is_synthetic: ArrayLike,
    sources: Sequence[str] | NDArray[Any],
    threshold: float,
) -> dict[str, dict[str, float]]:
    """Share of genuine clips at or above a threshold in each source, worst first.

    Parameters
    ----------
    scores : array_like, shape (clips,)
        LLRs or probabilities, high = synthetic; ``threshold`` is in the same unit.
    is_synthetic : array_like of bool, shape (clips,)
    sources : sequence of str, length clips
    threshold : float

    Returns
    -------
    dict of str to dict
        ``{"clips": genuine clips, "fpr": share flagged}`` of each source with genuine speech.
    """
    values = np.asarray(scores, dtype=np.float64)
    genuine = ~np.asarray(is_synthetic, dtype=bool)
    names = np.asarray(sources, dtype=str)
    if not values.shape == genuine.shape == names.shape:
        raise DatasetError(f"{values.size} scores, {genuine.size} labels, {names.size} sources")
    kinds, group = np.unique(names[genuine], return_inverse=True)
    clips = np.bincount(group, minlength=kinds.size)
    flagged = np.bincount(group, weights=values[genuine] >= threshold, minlength=kinds.size)
    rates = flagged / np.maximum(clips, 1)
    order = np.lexsort((kinds, -clips, -rates))
    return {str(kinds[i]): {"clips": int(clips[i]), "fpr": float(rates[i])} for i in order}


def _source_balanced_weights(names: NDArray[np.str_]) -> Floats:
    """Clip weights that sum to one, half of them pooled and half shared out over sources.

    The weighted share of a set of clips is then the mean of its pooled share and of its mean
    share over sources, where each source's own share is drawn towards the pooled one as if by
    ``SMOOTHING_CLIPS`` further clips.
    """
    kinds, group = np.unique(names, return_inverse=True)
    clips = np.bincount(group)
    pooled = 1 / names.size
    drawn = (SMOOTHING_CLIPS / (clips + SMOOTHING_CLIPS)).sum() * pooled
    by_source = (1 / (clips[group] + SMOOTHING_CLIPS) + drawn) / kinds.size
    return np.asarray((pooled + by_source) / 2)


def _cut_upper_tail(scores: Floats, weights: Floats, share: float) -> float:
    """Lowest cut that leaves at most ``share`` of the weight at or above it.

    Half way to the next lower score: a cut on top of a score would hang on its last bit.
    """
    values, group = np.unique(scores, return_inverse=True)
    mass = np.bincount(group, weights=weights)
    above = np.cumsum(mass[::-1])[::-1]  # weight at or above each value
    kept = int(np.count_nonzero(above > share * (1 + 1e-9)))  # values that must stay below
    if kept == values.size:
        return float(values[-1] + 0.5)  # even the top score is too much: clear it by half a nat
    return float(values[max(kept - 1, 0)] + values[kept]) / 2


def _scores_and_truth(scores: ArrayLike, is_synthetic: ArrayLike) -> tuple[Floats, Mask]:
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_synthetic, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DatasetError(f"scores of shape {values.shape} but labels of shape {truth.shape}")
    if not np.isfinite(values).all():
        raise DatasetError(f"{np.count_nonzero(~np.isfinite(values))} scores are NaN or infinite")
    if truth.all() or not truth.any():
        missing = "genuine" if truth.any() else "synthetic"
        raise DatasetError(
            f"there is no {missing} speech to calibrate on", hint="both kinds are needed"
        )
    return values, truth


def _sigmoid(x: Floats) -> Floats:
    # exp of a non-positive number only: never overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)
