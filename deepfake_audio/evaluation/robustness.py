"""How a detector holds up when its clips arrive by other ways: codecs, background noise, rooms.

The same clips are heard once as they are and once under each condition; conditions are applied to
genuine and synthetic speech alike (attacks to synthetic speech only), and to each clip in the
same way whenever it is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import AudioSource, decode
from ..augment import SoundBank
from ..config import SAMPLE_RATE_HZ, Policy
from ..datasets.cache import to_int16
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio, to_row
from ..decoding import READ_AHEAD_BYTES
from ..detector import Detector
from ..errors import AudioError
from ..readahead import read_ahead
from .attacks import Attacks
from .conditions import ATTACKS, CLEAN, CONDITIONS, Condition, condition, expand
from .evaluate import Evaluation, evaluate_scores
from .table import score_table_from_reports

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


def _heard(
    clips: Sequence[Clip], apply: Callable[[Clip], Condition], order: list[int]
) -> Iterator[AudioSource]:
    """Decode clips and change them, on threads; what cannot be decoded is left to the detector."""

    def work(item: tuple[int, Path | bytes]) -> tuple[int, AudioSource]:
        index, source = item
        clip = clips[index]
        try:
            samples = to_int16(decode(source, name=clip.id).samples[0])
        except AudioError:
            return index, source
        changed = apply(clip)(samples, zlib.crc32(clip.id.encode()))
        return index, changed.astype(np.float32) / 32768.0

    for index, source in read_ahead(
        work,
        iter_audio(clips),
        threads=_THREADS,
        max_items=_MAX_AHEAD,
        max_weight=READ_AHEAD_BYTES,
        weigh=lambda result: getattr(result[1], "nbytes", 0),
    ):
        order.append(index)
        yield source


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
        See :func:`~.conditions.condition`, or topics of :data:`~.conditions.SUITE`; all are
        checked before the first is measured.
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
    """
    names = expand(conditions)
    attacked = any(kind in name for name in names for kind in ATTACKS)
    attacks = Attacks(detector.scorer, clips) if attacked else None
    changes = [
        (condition(name, bank, attacks), condition(name, bank, _no_attack)) for name in names
    ]
    for name, (to_synthetic, to_genuine) in zip(names, changes, strict=True):

        def apply(
            clip: Clip, synthetic: Condition = to_synthetic, genuine: Condition = to_genuine
        ) -> Condition:
            return synthetic if clip.is_synthetic else genuine

        order: list[int] = []
        reports = list(
            detector.detect_many(_heard(clips, apply, order), sample_rate_hz=SAMPLE_RATE_HZ)
        )
        table = score_table_from_reports([to_row(clips[index]) for index in order], reports)
        about = {"model": str(detector.model), "condition": name}
        yield ConditionResult(
            name, evaluate_scores(table, policies, n_bootstrap=n_bootstrap, about=about)
        )


def _no_attack(kind: str, strength_db: float) -> Condition:
    return condition(CLEAN)


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


def to_json(results: Sequence[ConditionResult], **about: Any) -> str:
    """Return strict JSON: the rows, and all evaluations."""
    values = {
        "schema": "deepfake_audio.robustness/1",
        "about": about,
        "rows": [result.row() for result in results],
        "evaluations": [dataclasses.asdict(result.evaluation) for result in results],
    }
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
