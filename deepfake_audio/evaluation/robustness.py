"""How a detector holds up when its clips arrive by other ways: codecs, background noise, rooms.

The same clips are heard once as they are and once under each condition; conditions are applied to
genuine and synthetic speech alike (attacks to synthetic speech only), and to each clip in the
same way whenever it is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import AudioSource, decode
from ..augment import SoundBank
from ..augment.conditions import ATTACKS, CLEAN, CONDITIONS, Condition, condition, expand
from ..config import SAMPLE_RATE_HZ, Policy
from ..datasets.cache import to_int16
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio, to_row
from ..decoding import READ_AHEAD_BYTES
from ..detector import Detector
from ..errors import AudioError, ConfigError, DatasetError
from ..readahead import read_ahead
from .attacks import Attacks
from .durations import pieces
from .evaluate import Evaluation, evaluate_scores
from .splices import SpliceResult
from .table import score_table_from_reports

Heard = tuple[Clip, AudioSource]
"""A clip, and what the detector hears of it."""

_THREADS = 2
_MAX_AHEAD = 32


@dataclass(frozen=True)
class ConditionResult:
    """Figures under one condition, rates in [0, 1].

    Attributes
    ----------
    condition : str
        As it was named.
    evaluation : Evaluation
        Everything about it.
    """

    condition: str
    evaluation: Evaluation

    def row(self) -> dict[str, Any]:
        """Return the headline figures; those that cannot be had are None."""
        evaluation = self.evaluation
        figures = {
            name: evaluation.figures[name].value if name in evaluation.figures else None
            for name in ("pooled_eer", "page_macro_eer", "cllr")
        }
        policy = evaluation.policies[0] if evaluation.policies else None
        return {
            "condition": self.condition,
            **figures,
            "genuine_flagged": policy.fpr.value if policy and policy.fpr else None,
            "synthetic_not_flagged": policy.fnr.value if policy and policy.fnr else None,
            "without_score": evaluation.clips["without_score"],
        }


def _changed(clips: Sequence[Clip], change: Callable[[Clip], Condition]) -> Iterator[Heard]:
    """Decode clips and change them, on threads; what cannot be decoded is left to the detector."""

    def work(item: tuple[int, Path | bytes]) -> Heard:
        index, source = item
        clip = clips[index]
        try:
            samples = to_int16(decode(source, name=clip.id).samples[0])
        except AudioError:
            return clip, source
        changed = change(clip)(samples, zlib.crc32(clip.id.encode()))
        return clip, changed.astype(np.float32) / 32768.0

    return read_ahead(
        work,
        iter_audio(clips),
        threads=_THREADS,
        max_items=_MAX_AHEAD,
        max_weight=READ_AHEAD_BYTES,
        weigh=lambda heard: getattr(heard[1], "nbytes", 0),
    )


def measure_robustness(
    detector: Detector,
    clips: Sequence[Clip],
    conditions: Sequence[str] = CONDITIONS,
    *,
    policies: Sequence[Policy] = (),
    bank: SoundBank | None = None,
    n_bootstrap: int = 0,
) -> Iterator[ConditionResult]:
    """Evaluate a detector on the same clips under one condition after the other.

    Parameters
    ----------
    detector : Detector
        What is measured.
    clips : sequence of Clip
        Labelled clips; the first channel of each is heard.
    conditions : sequence of str
        See :func:`~deepfake_audio.augment.conditions.condition`, or topics of its ``SUITE``;
        all are checked before the first is measured.
    policies : sequence of Policy
        The first gives the rates of a row.
    bank : SoundBank, optional
        Background sounds; best ones that the model was not trained with.
    n_bootstrap : int
        Replicates behind the intervals of each evaluation; 0 gives none.

    Yields
    ------
    ConditionResult
        One for each condition, in order.

    Raises
    ------
    ConfigError
        If a condition is unknown.
    DatasetError
        If there is too little of each voice for a duration.
    """
    names = expand(conditions)
    attacked = any(kind in name for name in names for kind in ATTACKS)
    attacks = Attacks(detector.scorer, clips) if attacked else None
    prepared = [_heard_as(name, clips, bank, attacks) for name in names]
    for name, recordings in zip(names, prepared, strict=True):
        order: list[Clip] = []
        reports = list(
            detector.detect_many(_noting(recordings, order), sample_rate_hz=SAMPLE_RATE_HZ)
        )
        if not order:
            raise DatasetError("the clips give no recording so long", name=name)
        table = score_table_from_reports([to_row(clip) for clip in order], reports)
        about = {"model": str(detector.model), "condition": name}
        yield ConditionResult(
            name, evaluate_scores(table, policies, n_bootstrap=n_bootstrap, about=about)
        )


def _heard_as(
    name: str, clips: Sequence[Clip], bank: SoundBank | None, attacks: Attacks | None
) -> Iterator[Heard]:
    """Check the name of a condition now, and return what is to be heard under it."""
    kind, _, value = name.partition(":")
    if kind == "duration":
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not 0.1 <= float(value) <= 600:
            raise ConfigError(f"unknown condition {name!r}", hint="use duration:SECONDS")
        return pieces(clips, float(value))
    to_synthetic = condition(name, bank, attacks)
    to_genuine = condition(name, bank, _no_attack)
    return _changed(clips, lambda clip: to_synthetic if clip.is_synthetic else to_genuine)


def _noting(recordings: Iterator[Heard], order: list[Clip]) -> Iterator[AudioSource]:
    for clip, source in recordings:
        order.append(clip)
        yield source


def _no_attack(kind: str, strength_db: float) -> Condition:
    return condition(CLEAN)


def one_line(result: ConditionResult) -> str:
    """Say the headline figures of a condition in a line, in per cent."""
    row = result.row()
    names = {
        "EER": "pooled_eer",
        "genuine flagged": "genuine_flagged",
        "synthetic not flagged": "synthetic_not_flagged",
    }
    figures = [
        f"{said} {_percent(row[name])} %" for said, name in names.items() if row[name] is not None
    ]
    return f"{row['condition']}: {', '.join(figures) or 'measured'}"


def robustness_table(results: Sequence[ConditionResult]) -> str:
    """Lay results out as a Markdown table, in per cent, with the change against the first row."""
    lines = [
        "| condition | pooled EER % | change | page-macro EER % | Cllr | genuine flagged % | "
        "synthetic not flagged % | without score |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = results[0].row()["pooled_eer"] if results else None
    for row in (result.row() for result in results):
        change = None if None in (first, row["pooled_eer"]) else row["pooled_eer"] - first
        lines.append(
            f"| {row['condition']} | {_percent(row['pooled_eer'])} | {_percent(change, '+')} | "
            f"{_percent(row['page_macro_eer'])} | {_number(row['cllr'])} | "
            f"{_percent(row['genuine_flagged'])} | {_percent(row['synthetic_not_flagged'])} | "
            f"{row['without_score']} |"
        )
    return "\n".join(lines)


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def to_dict(
    results: Sequence[ConditionResult],
    splices: Sequence[SpliceResult] = (),
    *,
    complete: bool = True,
    **about: Any,
) -> dict[str, Any]:
    """Return the rows, what was measured on partly synthetic recordings, and all evaluations.

    ``complete`` says that nothing of what was asked for is still to come.
    """
    return {
        "schema": "deepfake_audio.robustness/1",
        "complete": complete,
        "about": about,
        "rows": [result.row() for result in results],
        "splices": [dataclasses.asdict(result) for result in splices],
        "evaluations": [dataclasses.asdict(result.evaluation) for result in results],
    }


def dump(values: dict[str, Any]) -> str:
    """Return strict JSON."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
