"""From a table of scores to everything that is reported about a detector."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Policy
from ..errors import ConfigError, DatasetError
from .bootstrap import (
    Figure,
    Statistic,
    confidence_intervals,
    figure_statistics,
    half_of_both,
    mean_over,
)
from .breakdown import ATTRIBUTES, BreakdownRow, break_down
from .matched import MatchedBins, matched_bins
from .metrics import DcfCosts, eer, page_macro_eer
from .nuisances import Column
from .protocol import AsvScores
from .table import ScoreTable
from .tandem import A_DCF_COSTS, TandemCosts, a_dcf, asv_rates, min_tdcf, t_eer

SCHEMA = "deepfake_audio.evaluation/1"


@dataclass(frozen=True)
class PolicyRates:
    """What a policy does to the clips of the evaluation, codec copies left out.

    Attributes
    ----------
    name : str
    threshold, authentic_below : float
        On ``p_synthetic``.
    prior_synthetic : float
        That ``p_synthetic`` is stated under.
    fpr, fnr, hter : Figure or None
        Share of genuine clips at or above ``threshold``, of spoofs below it; the mean of both.
    uncertain_bonafide, uncertain_spoof : float or None
        Share of the clips of each label that falls into the abstain band.
    """

    name: str
    threshold: float
    authentic_below: float
    prior_synthetic: float
    fpr: Figure | None
    fnr: Figure | None
    hter: Figure | None
    uncertain_bonafide: float | None
    uncertain_spoof: float | None


@dataclass(frozen=True)
class Evaluation:
    """Figures of one detector on one set of clips; rates lie in [0, 1].

    Attributes
    ----------
    clips : dict of str to int
        ``bonafide`` and ``spoof`` clips that the figures rest on, ``codec`` clips left out of
        them, clips ``without_score``, and the ``total``.
    figures : dict of str to Figure
        Pooled and page-macro EER, minDCF, actDCF, Cllr, AUC; empty if a label is missing.
    pages : dict of str to float
        EER within each source with enough clips of both labels.
    policies : tuple of PolicyRates
    breakdown : dict of str to list of BreakdownRow
        By attribute; error rates at the first policy.
    tandem : dict of str to float
        With a speaker verifier: its rates, min t-DCF in both forms, t-EER, a-DCF.
    verdicts : dict of str to dict of str to int
        Clips by label and verdict, as the reports had them.
    without_score : tuple of (str, str)
        Id and reason of each clip that has no score.
    nuisances : tuple of MatchedBins
        The EER within bins of each nuisance; empty unless asked for.
    settings : dict
        Costs, number of replicates and seed.
    about : dict
        Whatever the caller wants kept beside the figures (data, model, version).
    """

    clips: dict[str, int]
    figures: dict[str, Figure]
    pages: dict[str, float]
    policies: tuple[PolicyRates, ...]
    breakdown: dict[str, list[BreakdownRow]]
    tandem: dict[str, float]
    verdicts: dict[str, dict[str, int]]
    without_score: tuple[tuple[str, str], ...]
    nuisances: tuple[MatchedBins, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """Return strict JSON: indented, ASCII only outside of names, no NaN."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Return a report for people."""
        from .render import markdown

        return markdown(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``metrics.json`` and ``report.md`` into a folder, made if need be."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "metrics.json").write_text(self.to_json() + "\n", encoding="utf-8")
        (path / "report.md").write_text(self.to_markdown(), encoding="utf-8")


def evaluate_scores(
    table: ScoreTable,
    policies: Sequence[Policy] = (),
    *,
    asv: AsvScores | None = None,
    nuisances: Mapping[str, Column] | None = None,
    costs: DcfCosts | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    about: dict[str, Any] | None = None,
) -> Evaluation:
    """Evaluate scores that are already there.

    Parameters
    ----------
    table : ScoreTable
        Clips without a score are counted and listed, but no figure uses them; neither does a
        headline figure use spoofs of family ``codec``, human speech through a codec.
    policies : sequence of Policy
        Operating points to judge; the first one is used in the breakdowns.
    asv : AsvScores, optional
        Scores of a speaker verifier, for the tandem figures.
    nuisances : mapping of str to ndarray, shape (clips,), optional
        As from :func:`~deepfake_audio.evaluation.nuisances.nuisance_columns`, in the order of the
        table, for the EER within bins of each.
    costs : DcfCosts, optional
        For minDCF and actDCF; those of ASVspoof 5 by default.
    n_bootstrap : int
        Replicates behind each interval; 0 gives no intervals.
    seed : int
        Of the bootstrap.
    about : dict, optional
        Kept in the result as it is.

    Raises
    ------
    DatasetError
        If no clip has a score.
    """
    costs = costs or DcfCosts()
    scored = table.select(table.has_score)
    if len(scored) == 0:
        raise DatasetError(f"none of {len(table)} clips has a score")
    counted = table.is_counted
    core = table.select(counted)
    bona = core.is_bonafide
    both = bool(bona.any() and not bona.all())

    statistics: dict[str, Statistic] = {}
    by_page: dict[str, float] = {}
    if both:
        statistics |= figure_statistics(core.bonafide_score, bona, core.source, costs)
        by_page = page_macro_eer(core.bonafide_score, bona, core.source)[1]
    # All intervals come from the same replicates: cheaper, and figures stay comparable.
    rates = _policy_statistics(core, policies)
    strata = np.char.add(np.char.add(core.source.astype(str), "\n"), core.label)
    estimates = confidence_intervals(
        statistics | rates, strata, n_replicates=n_bootstrap, seed=seed
    )

    within = {name: column[counted] for name, column in (nuisances or {}).items()} if both else {}

    missing = table.select(~table.has_score)
    threshold = policies[0].threshold if policies else None
    return Evaluation(
        clips={
            "bonafide": int(bona.sum()),
            "spoof": int((~bona).sum()),
            "codec": len(scored) - len(core),
            "without_score": len(missing),
            "total": len(table),
        },
        figures={name: estimates[name] for name in statistics},
        pages=by_page,
        policies=tuple(_policy_rates(core, policy, estimates) for policy in policies),
        breakdown={
            name: rows for name in ATTRIBUTES if (rows := break_down(scored, name, threshold))
        },
        tandem={} if asv is None else tandem_figures(core, asv),
        verdicts=_verdicts(table),
        without_score=tuple(
            (str(i), str(why or verdict))
            for i, why, verdict in zip(missing.id, missing.reason, missing.verdict, strict=True)
        ),
        nuisances=matched_bins(core, within, strata, n_bootstrap=n_bootstrap, seed=seed),
        settings={
            "n_bootstrap": n_bootstrap,
            "seed": seed,
            "level": 0.95,
            "costs": dataclasses.asdict(costs),
            "breakdown_threshold": threshold,
        },
        about=dict(about or {}),
    )


def _policy_statistics(table: ScoreTable, policies: Sequence[Policy]) -> dict[str, Statistic]:
    names = [policy.name for policy in policies]
    if len(set(names)) != len(names):
        raise ConfigError("two policies have the same name", name="policies")
    bona = table.is_bonafide
    statistics = {}
    for policy in policies:
        flagged = table.p_synthetic >= policy.threshold
        fpr, fnr = mean_over(flagged, bona), mean_over(~flagged, ~bona)
        if bona.any():
            statistics[f"fpr {policy.name}"] = fpr
        if not bona.all():
            statistics[f"fnr {policy.name}"] = fnr
        if bona.any() and not bona.all():
            statistics[f"hter {policy.name}"] = half_of_both(fpr, fnr)
    return statistics


def _policy_rates(table: ScoreTable, policy: Policy, estimates: dict[str, Figure]) -> PolicyRates:
    p, bona = table.p_synthetic, table.is_bonafide
    between = (p >= policy.authentic_below) & (p < policy.threshold)
    return PolicyRates(
        name=policy.name,
        threshold=policy.threshold,
        authentic_below=policy.authentic_below,
        prior_synthetic=policy.prior_synthetic,
        fpr=estimates.get(f"fpr {policy.name}"),
        fnr=estimates.get(f"fnr {policy.name}"),
        hter=estimates.get(f"hter {policy.name}"),
        uncertain_bonafide=float(between[bona].mean()) if bona.any() else None,
        uncertain_spoof=float(between[~bona].mean()) if not bona.all() else None,
    )


def tandem_figures(table: ScoreTable, asv: AsvScores) -> dict[str, float]:
    """Figures of the detector together with a speaker verifier.

    Parameters
    ----------
    table : ScoreTable
        The detector's scores.
    asv : AsvScores
        The verifier's. Where they name their clips, the a-DCF of the sum of both scores is
        given too, over the trials that have both.

    Returns
    -------
    dict of str to float
        ``asv_eer``, the verifier's rates at that threshold, ``min_tdcf_2019``,
        ``min_tdcf_revised``, ``t_eer``, ``a_dcf_asv`` (the verifier alone) and, where it can be
        had, ``a_dcf`` (both), each a-DCF also with the costs of ASVspoof 5.
    """
    table = table.select(table.has_score)
    bona, score = table.is_bonafide, table.bonafide_score
    cm = score[bona], score[~bona]
    trials = asv.of("target"), asv.of("nontarget"), asv.of("spoof")
    rates = asv_rates(*trials)
    figures = {
        "asv_eer": eer(*trials[:2]).value,
        "asv_false_alarm": rates.false_alarm,
        "asv_miss": rates.miss,
        "asv_false_alarm_spoof": rates.false_alarm_spoof,
        "min_tdcf_2019": min_tdcf(*cm, rates, form="2019").value,
        "min_tdcf_revised": min_tdcf(*cm, rates).value,
        "t_eer": t_eer(*cm, *trials).value,
    }
    systems = {"a_dcf_asv": trials}
    of_clip = dict(zip(table.id.tolist(), score.tolist(), strict=True))
    if asv.id is not None and (both := np.isin(asv.id, table.id)).any():
        fused = asv.score[both] + np.array([of_clip[i] for i in asv.id[both].tolist()])
        joint = AsvScores(asv.key[both], fused)
        systems["a_dcf"] = joint.of("target"), joint.of("nontarget"), joint.of("spoof")
    for name, classes in systems.items():
        figures[name] = a_dcf(*classes, A_DCF_COSTS).value
        figures[f"{name}_asvspoof5_costs"] = a_dcf(*classes, TandemCosts()).value
    return figures


def _verdicts(table: ScoreTable) -> dict[str, dict[str, int]]:
    counts = Counter(zip(table.label.tolist(), table.verdict.tolist(), strict=True))
    verdicts: dict[str, dict[str, int]] = {}
    for (label, verdict), count in sorted(counts.items()):
        if verdict:
            verdicts.setdefault(label, {})[verdict] = count
    return verdicts
