"""Cells: one measure of one group of recordings, with its interval and where it is from."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DatasetError
from ..report import Verdict
from .evidence import Evidence, Ref, Source

ERRORS = ("false_positive", "miss")
"""Measures that need labels."""

AXES = (
    "overall", "family", "codec", "language", "duration", "noise", "surface", "channel", "attack",
    "condition", "drill",
)  # fmt: skip
"""By what error rates are told apart."""

CONDITION = "condition"
DRILL = "drill"
_AXIS_OF_TOPIC = {
    "codecs": "codec", "double": "codec", "background": "noise",
    "durations": "duration", "attacks": "attack",
}  # fmt: skip
_ATTRIBUTES = ("family", "language", "channel")
_COPIES = (
    "codec"  # family of human speech through a neural codec, which is not counted as synthetic
)
_UNDECIDED = (Verdict.UNCERTAIN, Verdict.INCONCLUSIVE)
_ROW_KEYS = (
    "pooled_eer", "page_macro_eer", "cllr", "genuine_flagged", "synthetic_not_flagged",
    "without_score",
)  # fmt: skip
_Z_95 = 1.959963984540054
_SAME = 1e-9


@dataclass(frozen=True)
class Cell:
    """A measure of a group.

    Attributes
    ----------
    measure, axis, group : str
        What, by what, of which: ``miss``, ``codec``, ``amr-nb:12200``.
    value : float
        A rate in [0, 1], seconds, or a count.
    low, high : float or None
        Ends of the 95 % interval.
    n, errors : int or None
        Recordings that the rate is of, and how many of them count.
    method : str
        Of the interval: ``wilson``, ``bootstrap`` or ``none``.
    origin : Ref
        Where the value, or what it was counted from, lies.
    origin_file, origin_sha256, measured_at : str
        That file as it was kept, its hash and its time.
    threshold : float or None
        On ``p_synthetic``, where the measure depends on it.
    """

    measure: str
    axis: str
    group: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    errors: int | None
    method: str
    origin: Ref
    origin_file: str
    origin_sha256: str
    measured_at: str
    threshold: float | None = None

    @property
    def key(self) -> str:
        """Name of the cell, the same from one assessment to the next."""
        return f"{self.measure}/{self.axis}/{self.group}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {"key": self.key, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Note:
    """Why a source, or a part of it, is not used; or what it leaves open."""

    source: Source
    why: str
    detail: str


def wilson(errors: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson, 1927).

    Unlike the interval of a normal distribution it says something of 0 errors, too.
    """
    rate, square = errors / n, _Z_95**2
    centre = (rate + square / (2 * n)) / (1 + square / n)
    half = _Z_95 * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    # Of none and of all the formula gives 0 and 1, but for the last digits.
    return (0.0 if errors == 0 else centre - half), (1.0 if errors == n else centre + half)


def rate(
    name: tuple[str, str, str],
    errors: int,
    n: int,
    origin: Ref,
    source: Source,
    threshold: float | None = None,
) -> Cell:
    """Make the cell of a share."""
    low, high = wilson(errors, n)
    return Cell(
        *name, errors / n, low, high, n, errors, "wilson",
        origin, source.kept, source.sha256, source.modified_at, threshold,
    )  # fmt: skip


def amount(name: tuple[str, str, str], value: float, origin: Ref, source: Source) -> Cell:
    """Make the cell of something that has no interval."""
    return Cell(
        *name, value, None, None, None, None, "none",
        origin, source.kept, source.sha256, source.modified_at,
    )  # fmt: skip


def evaluation_cells(evidence: Evidence, source: Source, threshold: float) -> Iterator[Cell | Note]:
    """Read error rates from the ``metrics.json`` of ``deepfake-audio evaluate``.

    Parameters
    ----------
    evidence : Evidence
    source : Source
        The file.
    threshold : float
        Rates at other thresholds are not this deployment's.
    """
    values = _checked(evidence, source, "deepfake_audio.evaluation/")
    policies = values["policies"]
    at = _at_threshold(policies, threshold)
    if at is None:
        yield Note(source, "other_threshold", _thresholds(policies))
        return
    yield from _policy_cells(values, source.ref, source, at, ("overall", "all"))
    if at == 0:  # the policy that the verdicts are by
        yield from _abstentions(values["verdicts"], source, threshold)
    judged = {"threshold": values.get("settings", {}).get("breakdown_threshold")}
    if judged["threshold"] is None:  # older files: at `balanced`, or at the first policy
        judged = min(policies, key=lambda policy: policy["name"] != "balanced")
    if not is_threshold(judged, threshold):
        yield Note(source, "breakdown_threshold", _thresholds([judged]))
        return
    for attribute in _ATTRIBUTES:
        for i, row in enumerate(values["breakdown"].get(attribute, [])):
            if attribute == "family" and row["group"] == _COPIES:
                continue
            place = source.ref / "breakdown" / attribute / i
            for measure, key, n in (
                ("false_positive", "fpr", row["n_bonafide"]),
                ("miss", "fnr", row["n_spoof"]),
            ):
                if row[key] is not None and n:
                    name = (measure, attribute, row["group"])
                    cell = rate(name, round(row[key] * n), n, place / key, source, threshold)
                    yield dataclasses.replace(cell, value=row[key])


def _abstentions(
    verdicts: dict[str, dict[str, int]], source: Source, threshold: float
) -> Iterator[Cell]:
    counts: Counter[str] = Counter()
    for of_label in verdicts.values():
        counts.update(of_label)
    if n := sum(counts[verdict] for verdict in Verdict):
        undecided = sum(counts[verdict] for verdict in _UNDECIDED)
        name = ("abstention", "overall", "labelled")
        yield rate(name, undecided, n, source.ref / "verdicts", source, threshold)


def robustness_cells(evidence: Evidence, source: Source, threshold: float) -> Iterator[Cell | Note]:
    """Read error rates under conditions from the JSON of ``deepfake-audio robustness``."""
    values = _checked(evidence, source, "deepfake_audio.robustness/")
    topics = _topics()
    for i, (row, evaluation) in enumerate(zip(values["rows"], values["evaluations"], strict=True)):
        at = _at_threshold(evaluation["policies"], threshold)
        if at is None:
            yield Note(source, "other_threshold", _thresholds(evaluation["policies"]))
            return
        condition = row["condition"]
        if missing := set(_ROW_KEYS) - set(row):
            raise KeyError(min(missing))
        axis = _AXIS_OF_TOPIC.get(topics.get(condition.partition(":")[0], ""), CONDITION)
        if "+" in condition:
            axis = _AXIS_OF_TOPIC.get(topics.get(condition, ""), CONDITION)
        place = source.ref / "evaluations" / i
        yield from _policy_cells(evaluation, place, source, at, (axis, condition))


def _policy_cells(
    values: dict[str, Any], place: Ref, source: Source, at: int, where: tuple[str, str]
) -> Iterator[Cell]:
    """Yield both error rates of an evaluation at a policy, with its own intervals if it has any."""
    policy = values["policies"][at]
    for measure, key, n in (
        ("false_positive", "fpr", values["clips"]["bonafide"]),
        ("miss", "fnr", values["clips"]["spoof"]),
    ):
        figure = policy[key]
        if figure is None or not n:
            continue
        origin = place / "policies" / at / key / "value"
        cell = rate(
            (measure, *where), round(figure["value"] * n), n, origin, source, policy["threshold"]
        )
        cell = dataclasses.replace(cell, value=figure["value"])
        if figure["low"] is not None:
            cell = dataclasses.replace(
                cell, low=figure["low"], high=figure["high"], method="bootstrap"
            )
        yield cell


def _topics() -> dict[str, str]:
    """Return the topic of each kind of condition, and of those of several steps."""
    from ..augment.conditions import SUITE

    return {
        name if "+" in name else name.partition(":")[0]: topic
        for topic, names in SUITE.items()
        for name in names
    } | {"babble": "background"}


def _checked(evidence: Evidence, source: Source, schema: str) -> dict[str, Any]:
    values = evidence.read(source.ref)
    if not isinstance(values, dict) or not str(values.get("schema", "")).startswith(schema):
        raise DatasetError(
            f"is no {schema.rstrip('/')} file", name=source.path, hint="check the key it stands at"
        )
    return values


def _at_threshold(policies: Sequence[dict[str, Any]], threshold: float) -> int | None:
    return next((i for i, each in enumerate(policies) if is_threshold(each, threshold)), None)


def is_threshold(policy: dict[str, Any], threshold: float) -> bool:
    """Tell whether a policy in evidence has this threshold."""
    return bool(abs(policy["threshold"] - threshold) <= _SAME)


def _thresholds(policies: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{policy['threshold']:g}" for policy in policies) or "-"


def latest(cells: Sequence[Cell]) -> list[Cell]:
    """Keep one cell of each name, the one that was given last, in the order of the names."""
    by_key: dict[str, Cell] = {}
    for cell in cells:
        by_key.pop(cell.key, None)
        by_key[cell.key] = cell
    return sorted(by_key.values(), key=_order)


def _order(cell: Cell) -> tuple[int, int, str]:
    axis = AXES.index(cell.axis) if cell.axis in AXES else len(AXES)
    measure = ERRORS.index(cell.measure) if cell.measure in ERRORS else len(ERRORS)
    return measure, axis, cell.group
