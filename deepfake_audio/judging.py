"""From a score to what is said about it: the operating point, the verdict, the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

from .audio import AudioInfo
from .calibration import probability
from .config import Policy
from .errors import ConfigError
from .novelty import UNKNOWN_SOURCE, KnownSpeech
from .reduction import Score, SegmentScores
from .report import (
    InputInfo,
    ModelInfo,
    PolicyInfo,
    Reason,
    Report,
    Segment,
    Timing,
    Verdict,
)


@dataclass(frozen=True)
class Judge:
    """An operating point of a model.

    Attributes
    ----------
    policy : Policy
        Thresholds and prior.
    model : ModelInfo
        Whose scores are judged.
    known : KnownSpeech, optional
        What novelty is measured from; without it reports state none.

    Raises
    ------
    ConfigError
        If the policy abstains on novelty and the model cannot tell it.
    """

    policy: Policy
    model: ModelInfo
    known: KnownSpeech | None = None

    def __post_init__(self) -> None:
        if self.policy.max_novelty is not None and self.known is None:
            raise ConfigError(
                f"the model {self.model.name} cannot tell novelty",
                name="policy.max_novelty",
                hint="leave it out, or take a model that can",
            )

    def report(
        self, info: AudioInfo, flags: tuple[str, ...], score: Score, *, decode_s: float = 0.0
    ) -> Report:
        """Say what a score means.

        Parameters
        ----------
        info : AudioInfo
            What was scored.
        flags : tuple of str
            Quality flags of the audio.
        score : Score
            What the network makes of it.
        decode_s : float
            Seconds that reading it took.
        """
        policy = self.policy
        reason = score.reason
        if reason is Reason.TOO_SHORT and "truncated" in flags:
            reason = Reason.UNREADABLE_PART
        # A number without speech behind it would only mislead.
        llr = None if reason is Reason.NO_SPEECH or score.llr is None else round(score.llr, 4)
        p = None if llr is None else self.probability(llr)
        verdict = self.verdict(p, reason)
        warnings = list(flags)
        if verdict is not Verdict.LIKELY_SYNTHETIC and self._has_synthetic_part(score):
            warnings.append("mixed_segments")
            if verdict is Verdict.LIKELY_AUTHENTIC:
                verdict = Verdict.UNCERTAIN  # much genuine speech does not clear the rest
        novelty = self._novelty(score) if reason is None else None  # short ones always look odd
        if novelty is not None and novelty >= UNKNOWN_SOURCE:
            warnings.append("unknown_source")
        too_novel = policy.max_novelty is not None and (novelty or 0) > policy.max_novelty
        if too_novel and verdict is not Verdict.INCONCLUSIVE:
            verdict = Verdict.UNCERTAIN
        return Report(
            input=InputInfo(
                name=info.name,
                sha256=info.sha256,
                format=info.format,
                sample_rate_hz=info.sample_rate_hz,
                channels=info.channels,
                duration_s=round(info.duration_s, 3),
                speech_s=round(score.speech_s, 3),
            ),
            verdict=verdict,
            reason=reason,
            p_synthetic=p,
            llr_synthetic=llr,
            policy=PolicyInfo(
                policy.name,
                policy.threshold,
                policy.expected_fpr,
                policy.prior_synthetic,
                policy.max_novelty,
                policy.authentic_below,
            ),
            warnings=tuple(warnings),
            segments=self.segments(score.segments),
            model=self.model,
            timing_ms=Timing(round(decode_s * 1e3, 1), round(score.elapsed_s * 1e3, 1)),
            novelty=novelty,
        )

    def segments(self, found: SegmentScores) -> tuple[Segment, ...]:
        """Return scored windows as they stand in reports, numbers rounded."""
        p = probability(found.llr, self.policy.prior_synthetic)
        columns = (
            found.channel.tolist(),
            found.start_s.round(3).tolist(),
            found.end_s.round(3).tolist(),
            p.round(6).tolist(),
            found.llr.round(4).tolist(),
        )
        return tuple(Segment(*row) for row in zip(*columns, strict=True))

    def probability(self, llr: float) -> float:
        """Return ``p_synthetic`` under the policy's prior."""
        # Rounded before it meets the threshold, so that what is printed explains the verdict.
        return round(float(probability(llr, self.policy.prior_synthetic)), 6)

    def verdict(self, p: float | None, reason: Reason | None) -> Verdict:
        """Return the verdict on a probability, if there is one that supports any."""
        if p is None or reason is not None:
            return Verdict.INCONCLUSIVE
        if p >= self.policy.threshold:
            return Verdict.LIKELY_SYNTHETIC
        if p < self.policy.authentic_below:
            return Verdict.LIKELY_AUTHENTIC
        return Verdict.UNCERTAIN

    def _novelty(self, score: Score) -> float | None:
        if self.known is None or score.distance is None:
            return None
        return round(self.known.novelty(score.distance), 4)

    def _has_synthetic_part(self, score: Score) -> bool:
        """Tell whether some seconds in a row reach the threshold, whatever the whole does."""
        peak = score.peak_llr
        return peak is not None and self.probability(peak) >= self.policy.threshold


def choose_policy(
    known: Mapping[str, Policy], policy: str | Policy, threshold: float | None
) -> Policy:
    """Return an operating point by name or as given, with another threshold if there is one.

    Raises
    ------
    ConfigError
        If the name is unknown or the threshold outside [0, 1].
    """
    if isinstance(policy, str):
        if policy not in known:
            raise ConfigError(
                f"unknown policy {policy!r}", hint=f"this model has {', '.join(known)}"
            )
        policy = known[policy]
    if threshold is None:
        return policy
    if not (isinstance(threshold, Real) and 0 <= threshold <= 1):
        raise ConfigError(f"must be a number in [0, 1], not {threshold!r}", name="threshold")
    return policy.replace(threshold=float(threshold))
