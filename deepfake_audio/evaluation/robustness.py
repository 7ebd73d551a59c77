"""How a detector holds up when its clips arrive by other ways: codecs, background noise, rooms.

The same clips are heard once as they are and once under each condition; conditions are applied to
genuine and synthetic speech alike, and to each clip in the same way whenever it is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..audio import AudioSource, decode
from ..augment import NO_AUGMENTATION, ChannelSimulator, SoundBank
from ..augment.codecs import CODECS, transcode
from ..config import SAMPLE_RATE_HZ, Policy
from ..datasets.cache import to_int16
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio, to_row
from ..detector import Detector
from ..errors import AudioError, ConfigError
from .evaluate import Evaluation, evaluate_scores
from .table import score_table_from_reports

Samples = np.ndarray
"""int16, shape (samples,), 16 kHz."""

CLEAN = "clean"

CONDITIONS = (
    CLEAN,
    *("mp3:32000", "mp3:64000", "aac:32000", "aac:64000"),
    *("opus:12000", "opus:24000", "vorbis"),
    *("a-law", "mu-law", "amr-nb:12200", "g722"),
    *("noise:20", "noise:10", "reverb"),
)
"""What is measured unless other conditions are named."""


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


def condition(name: str, bank: SoundBank | None = None) -> Callable[[Samples, int], Samples]:
    """Return what a condition does to a clip, given a seed of its own.

    Parameters
    ----------
    name : str
        ``clean``; a codec of :data:`~deepfake_audio.augment.codecs.CODECS`, with a bit rate after
        a colon where it has several (``opus:12000``); ``noise:10``, background at so many decibels
        under the speech; ``reverb``, a room.
    bank : SoundBank, optional
        Noise, music, babble and rooms; made up where there are none.

    Raises
    ------
    ConfigError
        If there is no such condition.
    """
    kind, _, value = name.partition(":")
    number = float(value) if value.replace(".", "", 1).isdigit() else None
    if kind == CLEAN and not value:
        return lambda samples, seed: samples
    if kind in CODECS and (number is not None) == bool(CODECS[kind].bit_rates):
        bit_rate = None if number is None else int(number)
        return lambda samples, seed: transcode(samples, kind, bit_rate)
    if kind == "noise" and number is not None:
        config = NO_AUGMENTATION.replace(noise=1.0, snr_db=(number, number))
    elif name == "reverb":
        config = NO_AUGMENTATION.replace(reverb=1.0)
    else:
        raise ConfigError(
            f"unknown condition {name!r}",
            hint=f"use {CLEAN}, noise:DECIBELS, reverb, or a codec with its bit rate if it has "
            f"several: {', '.join(CODECS)}",
        )
    simulate = ChannelSimulator(config, bank or SoundBank())

    def apply(samples: Samples, seed: int) -> Samples:
        waveform = torch.from_numpy(samples.astype(np.float32) / 32768.0)[None]
        return to_int16(simulate(waveform, [np.random.default_rng(seed)])[0].numpy())

    return apply


def _heard(
    clips: Sequence[Clip], apply: Callable[[Samples, int], Samples], order: list[int]
) -> Iterator[AudioSource]:
    """Decode clips and apply a condition; what cannot be decoded is left to the detector."""
    for index, source in iter_audio(clips):
        order.append(index)
        try:
            samples = to_int16(decode(source, name=clips[index].id).samples[0])
        except AudioError:
            yield source
            continue
        changed = apply(samples, zlib.crc32(clips[index].id.encode()))
        yield changed.astype(np.float32) / 32768.0


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
        See :func:`condition`; all are checked before the first is measured.
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
    named = [(name, condition(name, bank)) for name in conditions]
    for name, apply in named:
        order: list[int] = []
        reports = list(
            detector.detect_many(_heard(clips, apply, order), sample_rate_hz=SAMPLE_RATE_HZ)
        )
        table = score_table_from_reports([to_row(clips[index]) for index in order], reports)
        about = {"model": str(detector.model), "condition": name}
        yield ConditionResult(
            name, evaluate_scores(table, policies, n_bootstrap=n_bootstrap, about=about)
        )


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
