"""Metrics of a spoofing detector in front of a speaker verifier: t-DCF, a-DCF, t-EER.

All scores are high for the class to be accepted: bona fide for the detector (CM), the claimed
speaker for the verifier (ASV). A tandem accepts what both accept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError
from .metrics import (
    Floats,
    OperatingPoint,
    check_scores,
    det_curve,
    eer,
    rejected_share,
    thresholds_of,
)

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class TandemCosts:
    """Priors and costs of the three kinds of trial; ASVspoof values by default.

    Attributes
    ----------
    p_target, p_nontarget, p_spoof : float
        Prior probabilities; they sum to one.
    miss, false_alarm, false_alarm_spoof : float
        Cost of rejecting a target, of accepting a non-target, of accepting a spoof.
    """

    p_target: float = 0.9405
    p_nontarget: float = 0.0095
    p_spoof: float = 0.05
    miss: float = 1.0
    false_alarm: float = 10.0
    false_alarm_spoof: float = 10.0

    def __post_init__(self) -> None:
        priors = (self.p_target, self.p_nontarget, self.p_spoof)
        if min(priors) < 0 or abs(sum(priors) - 1) > 1e-6:
            raise ConfigError("priors must be at least zero and sum to one", name="TandemCosts")
        if min(self.miss, self.false_alarm, self.false_alarm_spoof) <= 0:
            raise ConfigError("costs must be above zero", name="TandemCosts")


A_DCF_COSTS = TandemCosts(0.9, 0.05, 0.05, false_alarm_spoof=20.0)
"""Priors and costs that the a-DCF was proposed with."""


class AsvRates(NamedTuple):
    """Error rates of a speaker verifier at a fixed threshold."""

    false_alarm: float
    miss: float
    false_alarm_spoof: float


ASVSPOOF5_ASV_RATES = AsvRates(0.01881016557566423, 0.01880141010575793, 0.4607082907604729)
"""Rates of the verifier that the ASVspoof 5 organisers ran, at its EER threshold."""


class TandemEer(NamedTuple):
    """The t-EER and the pair of thresholds at which it is reached."""

    value: float
    cm_threshold: float
    asv_threshold: float


def asv_rates(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, threshold: float | None = None
) -> AsvRates:
    """Error rates of a verifier at a threshold, its EER threshold by default."""
    tar, non = check_scores(target, "target"), check_scores(nontarget, "nontarget")
    fake = check_scores(spoof, "spoof")
    if threshold is None:
        threshold = eer(tar, non).threshold
    return AsvRates(
        float(np.mean(non >= threshold)),
        float(np.mean(tar < threshold)),
        float(np.mean(fake >= threshold)),
    )


def min_tdcf(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    rates: AsvRates = ASVSPOOF5_ASV_RATES,
    costs: TandemCosts | None = None,
    form: Literal["2019", "revised"] = "revised",
) -> OperatingPoint:
    """Lowest normalised tandem detection cost over all thresholds of the detector.

    Parameters
    ----------
    bonafide, spoof : array_like, shape (clips,)
        Detector scores.
    rates : AsvRates
        The verifier beside it, at its fixed threshold.
    costs : TandemCosts, optional
    form : {"2019", "revised"}
        ``revised`` counts the verifier's own errors too (Kinnunen et al., "Tandem assessment
        of spoofing countermeasures and automatic speaker verification", 2020; ASVspoof 2021
        and 5), ``2019`` leaves that constant out (ASVspoof 2019).

    Raises
    ------
    DatasetError
        If a class is empty or a score is not finite.
    ConfigError
        If the verifier is so poor that rejecting everybody would be cheaper, where the
        measure is not defined.
    """
    if form not in ("2019", "revised"):
        raise ConfigError(f"unknown form {form!r}", name="t-DCF", hint="use 2019 or revised")
    costs = costs or TandemCosts()
    constant = (
        costs.p_target * costs.miss * rates.miss
        + costs.p_nontarget * costs.false_alarm * rates.false_alarm
    )
    of_miss = costs.p_target * costs.miss - constant
    of_false_alarm = costs.p_spoof * costs.false_alarm_spoof * rates.false_alarm_spoof
    if of_miss <= 0 or of_false_alarm <= 0:
        raise ConfigError(
            "the t-DCF is not defined for these verifier rates and costs",
            name="t-DCF",
            hint="the verifier must err less than one that rejects all, and accept some spoofs",
        )
    base = constant if form == "revised" else 0.0
    curve = det_curve(bonafide, spoof)
    cost = base + of_miss * curve.miss + of_false_alarm * curve.false_alarm
    cost /= base + min(of_miss, of_false_alarm)
    at = int(np.argmin(cost))
    return OperatingPoint(float(cost[at]), float(curve.threshold[at]))


def a_dcf(
    target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, costs: TandemCosts = A_DCF_COSTS
) -> OperatingPoint:
    """Lowest normalised cost of a system that gives one score for both tasks.

    Shim et al., "a-DCF: an architecture agnostic metric with application to spoofing-robust
    speaker verification", 2024; normalised by the better of accepting and rejecting all.
    """
    tar, non = check_scores(target, "target"), check_scores(nontarget, "nontarget")
    fake = check_scores(spoof, "spoof")
    threshold = thresholds_of(tar, non, fake)
    reject_all = costs.p_target * costs.miss
    of_non = costs.p_nontarget * costs.false_alarm
    of_fake = costs.p_spoof * costs.false_alarm_spoof
    cost = (
        reject_all * rejected_share(tar, threshold)
        + of_non * (1 - rejected_share(non, threshold))
        + of_fake * (1 - rejected_share(fake, threshold))
    ) / min(reject_all, of_non + of_fake)
    at = int(np.argmin(cost))
    return OperatingPoint(float(cost[at]), float(threshold[at]))


def t_eer(
    bonafide: ArrayLike,
    spoof: ArrayLike,
    asv_target: ArrayLike,
    asv_nontarget: ArrayLike,
    asv_spoof: ArrayLike,
) -> TandemEer:
    """Concurrent tandem equal error rate, in [0, 1].

    The pair of thresholds at which the tandem misses targets, accepts non-targets and accepts
    spoofs equally often, so that the figure does not depend on how common spoofs are. Both
    systems are taken to err independently. Kinnunen et al., "t-EER: parameter-free tandem
    evaluation of countermeasures and biometric comparators", 2023.
    """
    curve = det_curve(bonafide, spoof)
    tar, non = check_scores(asv_target, "asv_target"), check_scores(asv_nontarget, "asv_nontarget")
    fake = check_scores(asv_spoof, "asv_spoof")
    thresholds = thresholds_of(tar, non, fake)
    asv_miss = rejected_share(tar, thresholds)
    asv_fa, asv_fa_spoof = 1 - rejected_share(non, thresholds), 1 - rejected_share(fake, thresholds)

    def tandem(cm: Indices) -> tuple[Floats, Floats, Floats]:
        """Misses, false alarms, spoof false alarms at one CM point for each ASV threshold."""
        passed = 1 - curve.miss[cm]
        return 1 - passed * (1 - asv_miss), passed * asv_fa, curve.false_alarm[cm] * asv_fa_spoof

    def excess(cm: Indices) -> Floats:
        """Misses less false alarms, half of these spoofs; rises with the CM threshold."""
        miss, fa, fa_spoof = tandem(cm)
        return miss - (fa + fa_spoof) / 2

    # The CM point that balances each ASV threshold: bisect for all of them at once.
    low = np.zeros(thresholds.size, dtype=np.intp)
    high = np.full(thresholds.size, curve.threshold.size - 1, dtype=np.intp)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        below = excess(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    cm = np.where(np.abs(excess(high)) < np.abs(excess(low)), high, low)

    # Along that path, the point where all three come closest to each other.
    rates = np.stack(tandem(cm))  # (3, thresholds)
    at = int(np.argmin(np.ptp(rates, axis=0)))
    # The three rates agree but for the steps of the curves; the organisers quote this one.
    value = float(rates[2, at])
    return TandemEer(value, float(curve.threshold[cm[at]]), float(thresholds[at]))
