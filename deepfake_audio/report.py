"""What is said about one input: verdict, numbers with their meaning, and where in time.

A report never says "97 % fake". It gives a probability under a stated prior, the likelihood ratio
behind it, and what the threshold costs on genuine speech.
"""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Self

from .labels import Claim, Provenance, printable

__all__ = [
    "SCHEMA", "VERDICT_COLOURS", "Claim", "InputInfo", "ModelInfo", "PolicyInfo", "Provenance",
    "Reason", "Report", "Segment", "Timing", "Verdict", "describe_policy", "json_schema",
    "printable",
]  # fmt: skip

SCHEMA = "deepfake_audio.report/1"


class Verdict(StrEnum):
    """The four things a report can say."""

    LIKELY_SYNTHETIC = "likely_synthetic"
    UNCERTAIN = "uncertain"
    LIKELY_AUTHENTIC = "likely_authentic"
    INCONCLUSIVE = "inconclusive"

    @property
    def phrase(self) -> str:
        """The verdict as words."""
        return self.value.replace("_", " ")


class Reason(StrEnum):
    """Why a verdict is inconclusive."""

    TOO_SHORT = "too_short"
    NO_SPEECH = "no_speech"
    UNREADABLE_PART = "unreadable_part"

    @property
    def phrase(self) -> str:
        """The reason as words."""
        return _REASONS[self]


_REASONS = {
    Reason.TOO_SHORT: "under 1 s of audio or of speech",
    Reason.NO_SPEECH: "no speech found",
    Reason.UNREADABLE_PART: "the file breaks off, and under 1 s of speech could be read",
}


@dataclass(frozen=True)
class Segment:
    """The score of one stretch of speech in one channel.

    Attributes
    ----------
    channel : int
        From 0.
    start_s, end_s : float
        Seconds from the start of the recording. Neighbouring segments overlap.
    p_synthetic : float
        Probability under the prior of the policy.
    llr_synthetic : float
        Natural logarithm of the likelihood ratio; above 0 speaks for synthetic.
    """

    channel: int
    start_s: float
    end_s: float
    p_synthetic: float
    llr_synthetic: float


@dataclass(frozen=True)
class InputInfo:
    """What was scored; durations in seconds, ``sha256`` of the bytes as they were given."""

    name: str
    sha256: str | None
    format: str
    sample_rate_hz: int
    channels: int
    duration_s: float
    speech_s: float


@dataclass(frozen=True)
class PolicyInfo:
    """The operating point in force; ``expected_fpr`` is unknown for a threshold of one's own.

    Above ``max_novelty``, if there is one, a verdict is ``uncertain`` whatever the score. From
    ``threshold`` on ``p_synthetic`` is ``likely_synthetic``, below ``authentic_below``
    ``likely_authentic``; older reports do not state the latter.
    """

    name: str
    threshold: float
    expected_fpr: float | None
    prior_synthetic: float
    max_novelty: float | None = None
    authentic_below: float | None = None


@dataclass(frozen=True)
class ModelInfo:
    """Which model spoke."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return name, version and the start of the hash."""
        return f"{self.name} {self.version} ({self.sha256[:8]})"


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent on this input."""

    decode: float
    score: float


@dataclass(frozen=True)
class Report:
    """All that is said about one input; see ``report.schema.json`` for the JSON form.

    Attributes
    ----------
    input : InputInfo
        What was scored.
    verdict : Verdict
        The conclusion at the policy's threshold.
    reason : Reason or None
        Why the verdict is inconclusive.
    p_synthetic, llr_synthetic : float or None
        Probability under ``policy.prior_synthetic``, and the log-likelihood ratio (natural
        logarithm) behind it; None if nothing could be scored.
    policy : PolicyInfo
        The operating point.
    warnings : tuple of str
        Quality flags of the audio; ``mixed_segments`` if parts of a recording that is not
        ``likely_synthetic`` as a whole are; ``unknown_source`` if its novelty is very high.
    segments : tuple of Segment
        Stretches of speech, by channel and time.
    provenance : Provenance
        Labels found in the file.
    model : ModelInfo
        Which model spoke.
    timing_ms : Timing
        What it took.
    novelty : float or None
        Share of the model's calibration recordings that are less far from the speech it learned
        from; see :mod:`deepfake_audio.novelty`. None if inconclusive, or if the model cannot tell.
    """

    input: InputInfo
    verdict: Verdict
    reason: Reason | None
    p_synthetic: float | None
    llr_synthetic: float | None
    policy: PolicyInfo
    warnings: tuple[str, ...]
    segments: tuple[Segment, ...]
    model: ModelInfo
    timing_ms: Timing
    provenance: Provenance = field(default_factory=Provenance)
    novelty: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        values = dataclasses.asdict(self)
        values["verdict"] = self.verdict.value
        values["reason"] = self.reason.value if self.reason else None
        values["warnings"] = list(self.warnings)
        values["segments"] = list(values["segments"])
        return {"schema": SCHEMA, **{key: values[key] for key in _JSON_ORDER}}

    def to_json(self, *, indent: int | None = None, ensure_ascii: bool = False) -> str:
        """Return the report as JSON text; never NaN or Infinity."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from :meth:`to_dict`.

        Raises
        ------
        ValueError
            If the schema is another one, or a field is missing or unknown.
        """
        if values.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} object: schema is {values.get('schema')!r}")
        try:
            return cls(
                input=InputInfo(**values["input"]),
                verdict=Verdict(values["verdict"]),
                reason=Reason(values["reason"]) if values["reason"] else None,
                p_synthetic=values["p_synthetic"],
                llr_synthetic=values["llr_synthetic"],
                policy=PolicyInfo(**values["policy"]),
                warnings=tuple(values["warnings"]),
                segments=tuple(Segment(**segment) for segment in values["segments"]),
                model=ModelInfo(**values["model"]),
                timing_ms=Timing(**values["timing_ms"]),
                provenance=Provenance(**values["provenance"]),
                novelty=values.get("novelty"),  # older reports have none
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a {SCHEMA} object: {error}") from error

    def with_provenance(self, found: Provenance) -> Self:
        """Return the report with labels beside the verdict, which stays as it is."""
        return dataclasses.replace(self, provenance=found)

    def summary(self) -> str:
        """Return the report in one line, without the file name."""
        parts = [f"{self.verdict.phrase:<16}"]
        if self.reason:
            parts.append(f"({self.reason.phrase})")
        if self.p_synthetic is not None and self.llr_synthetic is not None:
            parts.append(f"p {self.p_synthetic:.3f}  LLR {self.llr_synthetic:+.1f}")
        parts.append(f"{self.input.speech_s:.1f} s speech")
        if self.warnings:
            parts.append(f"[{', '.join(self.warnings)}]")
        if labels := self.provenance.phrases():
            parts.append(f"<{'; '.join(labels)}>")
        return "  ".join(parts)

    def __str__(self) -> str:
        """Return the report as a few readable lines."""
        return "\n".join([f"{printable(self.input.name)}: {self.verdict.phrase}", *self._lines()])

    def _lines(self) -> list[str]:
        """Return the report below its headline, one fact a line."""
        lines = []
        if self.reason:
            lines.append(f"  reason     {self.reason.phrase}")
        if self.p_synthetic is not None and self.llr_synthetic is not None:
            lines.append(
                f"  score      p(synthetic) {self.p_synthetic:.3f} under a prior of "
                f"{self.policy.prior_synthetic:g}, LLR {self.llr_synthetic:+.2f}"
            )
        if self.novelty is not None:
            lines.append(f"  novelty    {describe_novelty(self.novelty)}")
        lines.append(f"  threshold  {describe_policy(self.policy)}")
        lines.append(f"  heard      {self._heard()}")
        if self.warnings:
            lines.append(f"  warnings   {', '.join(self.warnings)}")
        lines += [f"  labels     {line}" for line in self.provenance.lines()]
        lines.append(f"  model      {self.model}")
        return lines

    def _heard(self) -> str:
        where = f"{self.input.speech_s:.1f} s of speech in {self.input.duration_s:.1f} s"
        if self.input.channels > 1:
            where += f", {self.input.channels} channels"
        if len(self.segments) > 1:
            top = max(self.segments, key=lambda segment: segment.llr_synthetic)
            where += f"; highest p {top.p_synthetic:.3f} at {top.start_s:.1f}-{top.end_s:.1f} s"
            if self.input.channels > 1:
                where += f" of channel {top.channel}"
        return where

    def _repr_html_(self) -> str:
        """Return the notebook view; everything that comes from the input is escaped."""
        rows = [line.strip().split(maxsplit=1) for line in self._lines()]
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in rows
        )
        return (
            f"<div><b style='color:{VERDICT_COLOURS[self.verdict]}'>"
            f"{html.escape(self.verdict.phrase)}</b> "
            f"<code>{html.escape(printable(self.input.name))}</code>"
            f"<table>{body}</table></div>"
        )


_JSON_ORDER = (
    "input", "verdict", "reason", "p_synthetic", "llr_synthetic", "novelty", "policy", "warnings",
    "segments", "provenance", "model", "timing_ms",
)  # fmt: skip

VERDICT_COLOURS = {
    Verdict.LIKELY_SYNTHETIC: "#b3261e",
    Verdict.UNCERTAIN: "#9a6700",
    Verdict.LIKELY_AUTHENTIC: "#1a6b3c",
    Verdict.INCONCLUSIVE: "#57606a",
}
"""One colour a verdict, legible on white; wherever a verdict is drawn."""


def describe_policy(policy: PolicyInfo) -> str:
    """Say what the threshold is and what it costs on genuine speech."""
    text = f"{policy.threshold:g} ({policy.name})"
    if policy.authentic_below not in (None, policy.threshold):
        text += f", likely authentic below {policy.authentic_below:.3g}"
    if policy.max_novelty is not None:
        text += f", uncertain above novelty {policy.max_novelty:g}"
    if policy.expected_fpr is None:
        return text + ": false-positive rate not measured"
    per_hundred = f"{100 * policy.expected_fpr:.1f}".removesuffix(".0")
    return (
        f"{text}: flags about {per_hundred} in 100 genuine clips of the calibration set, "
        "more of other sources"
    )


def describe_novelty(novelty: float) -> str:
    """Say what a novelty is measured by."""
    per_hundred = f"{100 * novelty:.1f}".removesuffix(".0")
    return (
        f"{novelty:.3f}: further from what the model knows than {per_hundred} in 100 clips "
        "of the calibration set"
    )


@cache
def json_schema() -> dict[str, Any]:
    """Return the JSON schema of :meth:`Report.to_dict`."""
    schema: dict[str, Any] = json.loads(
        files("deepfake_audio").joinpath("report.schema.json").read_text(encoding="utf-8")
    )
    return schema
