"""Pictures of an evaluation: DET curve, reliability, error rate by system, distribution of scores.

Drawn without pyplot, like those of :mod:`deepfake_audio.plots`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtri

from ..calibration import probability
from ..errors import ConfigError
from ..plots import require_matplotlib
from ..report import VERDICT_COLOURS, Verdict
from .evaluate import Evaluation
from .metrics import MIN_PAGE_CLIPS, Floats, det_curve
from .table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RELIABILITY_BINS = 10
MAX_SYSTEMS = 60
"""Systems in the picture, those with the highest error rates."""

_TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEAST_RATE = 5e-4  # an axis of quantiles has no zero
_GENUINE = VERDICT_COLOURS[Verdict.LIKELY_AUTHENTIC]
_SYNTHETIC = VERDICT_COLOURS[Verdict.LIKELY_SYNTHETIC]
_GREY = "#57606a"
_GRID = "#d0d7de"
_COLOURS = ("#24506e", "#b8742a", "#5b4a8a", "#2f7d6d", "#8a4a5b", "#6b6b2a")


class Reliability(NamedTuple):
    """Stated probabilities against what was the case, in bins of equal width that hold clips.

    Both classes weigh as the prior has them, whatever their numbers.
    """

    stated: Floats  # (bins,) mean p_synthetic
    observed: Floats  # (bins,) share of synthetic clips
    clips: NDArray[np.intp]  # (bins,)


def reliability(
    p_synthetic: Floats,
    is_synthetic: NDArray[np.bool_],
    *,
    prior_synthetic: float = 0.5,
    n_bins: int = RELIABILITY_BINS,
) -> Reliability:
    """Compare probabilities with outcomes (DeGroot & Fienberg, 1983).

    Parameters
    ----------
    p_synthetic : ndarray, shape (clips,)
        Under ``prior_synthetic``.
    is_synthetic : ndarray of bool, shape (clips,)
        Of both classes.
    prior_synthetic : float
        The prior that the probabilities state.
    n_bins : int
        Between 0 and 1.
    """
    share = is_synthetic.mean()
    weight = np.where(is_synthetic, prior_synthetic / share, (1 - prior_synthetic) / (1 - share))
    at = np.minimum((p_synthetic * n_bins).astype(int), n_bins - 1)
    clips = np.bincount(at, minlength=n_bins)
    total, stated, observed = (
        np.bincount(at, weight * values, minlength=n_bins)[clips > 0]
        for values in (np.ones(at.size), p_synthetic, is_synthetic)
    )
    return Reliability(stated / total, observed / total, clips[clips > 0])


def det_picture(table: ScoreTable, evaluation: Evaluation) -> Figure:
    """Draw miss against false-alarm rates on axes of normal quantiles (Martin et al., 1997).

    All spoofs, those of each family, and the operating points of the policies.
    """
    figure, axes = _sheet((6.4, 6.0))
    bona, score = table.is_bonafide, table.bonafide_score
    curves = {"all": ~bona}
    families = np.unique(table.family[~bona & (table.family != "")]).tolist()
    if len(families) > 1:
        curves |= {name: ~bona & (table.family == name) for name in families}
    for (name, spoof), colour in zip(curves.items(), cycle(_COLOURS), strict=False):
        if spoof.sum() >= MIN_PAGE_CLIPS:
            curve = det_curve(score[bona], score[spoof])
            label = f"{name} ({spoof.sum()})"
            width = 1.8 if name == "all" else 1.0
            x, y = _quantiles(curve.false_alarm), _quantiles(curve.miss)
            axes.plot(x, y, color=colour, linewidth=width, label=label)
    rate = evaluation.figures["pooled_eer"].value
    axes.plot(
        _quantiles(rate), _quantiles(rate), "o", color=_COLOURS[0], label=f"EER {100 * rate:.1f} %"
    )
    for policy, marker in zip(evaluation.policies, "s^vD", strict=False):
        if policy.fpr and policy.fnr:
            x, y = _quantiles(policy.fnr.value), _quantiles(policy.fpr.value)
            axes.plot(x, y, marker, color=_GREY, label=f"{policy.name} {policy.threshold:.2f}")
    axes.set_xlabel("synthetic clips accepted, %", fontsize=9)
    axes.set_ylabel("genuine clips rejected, %", fontsize=9)
    ticks, limits = ndtri(_TICKS), (ndtri(_LEAST_RATE), ndtri(0.95))
    names = [f"{100 * tick:g}" for tick in _TICKS]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.grid(linewidth=0.4)
    axes.legend(fontsize=8, frameon=False)
    return figure


def reliability_picture(table: ScoreTable, evaluation: Evaluation) -> Figure:
    """Draw how often what is stated is the case; on the diagonal, as often as it is stated."""
    figure, axes = _sheet((5.6, 5.4))
    found = reliability(probability(table.llr_synthetic), ~table.is_bonafide)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=(0, (5, 3)))
    axes.plot(found.stated, found.observed, "o-", color=_COLOURS[0], linewidth=1.4)
    for x, y, count in zip(*found, strict=True):
        axes.annotate(
            str(count), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7, color=_GREY
        )
    axes.set_xlabel("p(synthetic) as stated, under a prior of 0.5", fontsize=9)
    axes.set_ylabel("share of synthetic clips, classes alike", fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    cllr = evaluation.figures["cllr"].value
    axes.set_title(f"Cllr {cllr:.3f} bits; numbers are clips", fontsize=9)
    return figure


def systems_picture(table: ScoreTable, evaluation: Evaluation) -> Figure:
    """Draw the EER of each system against all genuine speech, the worst on top."""
    rows = [row for row in evaluation.breakdown.get("system", []) if row.eer is not None]
    rows = sorted(rows, key=lambda row: row.eer or 0.0)[-MAX_SYSTEMS:]
    figure, axes = _sheet((7.0, 1.0 + 0.2 * max(len(rows), 4)))
    rates = [100 * (row.eer or 0.0) for row in rows]
    axes.barh(range(len(rows)), rates, color=_COLOURS[0])
    names = [f"{row.group} ({row.n_spoof})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7, parse_math=False)
    axes.axvline(50, color=_GREY, linewidth=0.8, linestyle=(0, (5, 3)))
    axes.set_xlim(0, max(55.0, *rates) if rates else 55.0)
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_xlabel("EER against all genuine clips, %; dashed: chance", fontsize=9)
    return figure


def scores_picture(table: ScoreTable, evaluation: Evaluation) -> Figure:
    """Draw how the scores of both classes are distributed, and the thresholds of the policies."""
    figure, axes = _sheet((7.0, 4.0))
    llr, bona = table.llr_synthetic, table.is_bonafide
    edges = np.histogram_bin_edges(llr, bins=60).tolist()
    for label, rows, colour in (("genuine", bona, _GENUINE), ("synthetic", ~bona, _SYNTHETIC)):
        count = int(rows.sum())
        weights = np.full(count, 100 / count)
        axes.hist(llr[rows], edges, weights=weights, color=colour, alpha=0.55, label=label)
    for policy, style in zip(evaluation.policies, ("--", ":", "-."), strict=False):
        threshold = logit(policy.threshold) - logit(policy.prior_synthetic)
        axes.axvline(
            threshold, color=_GREY, linewidth=0.9, linestyle=style, label=f"{policy.name} threshold"
        )
    axes.set_xlabel("LLR (synthetic), natural logarithm", fontsize=9)
    axes.set_ylabel("clips of the class, %", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return figure


PICTURES: dict[str, Callable[[ScoreTable, Evaluation], Figure]] = {
    "det": det_picture,
    "reliability": reliability_picture,
    "systems": systems_picture,
    "scores": scores_picture,
}
"""All pictures, by the name of their file."""


def _sheet(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=8, color=_GRID)
    axes.spines[:].set_color(_GRID)
    return figure, axes


def _quantiles(rate: Floats | float) -> Floats:
    return np.asarray(ndtri(np.clip(rate, _LEAST_RATE, 1 - _LEAST_RATE)))


def save_pictures(
    table: ScoreTable, evaluation: Evaluation, folder: str | os.PathLike[str]
) -> list[Path]:
    """Write all pictures as PNG files; clips that no headline figure rests on are left out.

    Parameters
    ----------
    table : ScoreTable
        That was evaluated.
    evaluation : Evaluation
        What came of it.
    folder : path
        Made if need be.

    Returns
    -------
    list of Path
        The files; none if there are clips of one class only.

    Raises
    ------
    ConfigError
        If a file cannot be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    counted = table.select(table.is_counted)
    if not evaluation.figures:
        return []
    files = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, draw in PICTURES.items():
            files.append(Path(folder) / f"{name}.png")
            draw(counted, evaluation).savefig(files[-1])
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror})", name=os.fspath(folder)
        ) from error
    return files
