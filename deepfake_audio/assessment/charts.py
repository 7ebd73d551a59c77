"""Which charts a report has; what they look like is a matter of :mod:`.drawing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cells import ERRORS, is_threshold
from .document import Chart, ChartRow, Curve, CurveChart, DotChart, HeatMap, Mark, Number, Words
from .evidence import Source
from .findings import Judged
from .material import Material
from .rates import by_group, group_of
from .texts import Texts

CHARTED = ("family", "codec", "noise", "drill")
"""Axes whose error rates are drawn."""

_MOST_ROWS = 32  # on a page
_COLUMNS = ("genuine_short", "synthetic_short")
_SHADES = {
    "pooled_eer": "eer", "genuine_flagged": "flagged", "synthetic_not_flagged": "missed",
}  # fmt: skip


def rates(found: Material, axis: str, texts: Texts) -> Iterator[Chart]:
    """Draw the error rates of an axis, where there is something to compare."""
    groups = list(by_group(found, axis).items())
    if axis not in CHARTED or len(groups) < 2:
        return
    names = {
        measure: name
        for measure, name in zip(ERRORS, _COLUMNS, strict=True)
        if any(measure in by_measure for _, by_measure in groups)
    }
    columns = tuple(texts[f"column.{name}"] for name in names.values())
    caption = (
        *texts.words(f"by.{axis}"), Words(texts["colon"]), *texts.words("text.chart_rates"),
    )  # fmt: skip
    for start in range(0, len(groups), _MOST_ROWS):
        rows = tuple(
            ChartRow(
                group_of(axis, group, found.place(next(iter(by_measure.values()))), texts),
                tuple(_mark(found, by_measure.get(measure)) for measure in names),
            )
            for group, by_measure in groups[start : start + _MOST_ROWS]
        )
        yield DotChart(caption, columns, rows, texts["text.chart_key"])


def _mark(found: Material, judged: Judged | None) -> Mark | None:
    if judged is None:
        return None
    cell, place = judged.cell, found.place(judged)
    low, high = (
        None if end is None else Number(end, "percent", place / name)
        for name, end in (("low", cell.low), ("high", cell.high))
    )
    state = "quiet" if not judged.enough else "bad" if judged.above else "good"
    target = Number(judged.target, "percent", place / "target")
    return Mark(Number(cell.value, "percent", place / "value"), low, high, target, state)


def heat_map(found: Material, source: Source, texts: Texts) -> Chart:
    """Draw the measurements of robustness of one source."""
    values = found.read(source.ref)
    rows = tuple(
        ChartRow(
            texts.given(row["condition"], source.ref / "rows" / i / "condition"),
            tuple(_shade(found, values, source, i, key) for key in _SHADES),
        )
        for i, row in enumerate(values["rows"])
    )
    columns = tuple(texts[f"column.{name}"] for name in _SHADES.values())
    return HeatMap(texts.words("text.chart_robustness"), columns, rows)


def _shade(
    found: Material, values: dict[str, Any], source: Source, i: int, key: str
) -> Number | None:
    said = values["rows"][i][key]
    if said is None or not (key == "pooled_eer" or in_force(found, values, i)):
        return None
    return Number(said, "percent", source.ref / "rows" / i / key)


def in_force(found: Material, values: dict[str, Any], i: int) -> bool:
    """Tell whether the rates of a row of robustness are those of the threshold in force.

    Rows state the rates of the first policy, which may be another.
    """
    policies = values["evaluations"][i]["policies"]
    return bool(policies) and is_threshold(policies[0], found.subject.point.threshold)


def trade_off(found: Material, texts: Texts) -> Chart | None:
    """Draw what other thresholds would give, where a score table says so."""
    source = found.trade_off
    if source is None:
        return None
    points = found.read(source.ref)["points"]
    at = source.ref / "points"
    curves = tuple(
        Curve(
            texts[f"column.{name}"],
            tuple(
                (
                    Number(point["threshold"], "plain", at / i / "threshold"),
                    Number(point[measure], "percent", at / i / measure),
                )
                for i, point in enumerate(points)
            ),
        )
        for measure, name in zip(ERRORS, _COLUMNS, strict=True)
    )
    threshold = found.model.ref / "operating_point" / "threshold"
    return CurveChart(
        texts.words("text.chart_trade_off"),
        curves,
        Number(found.subject.point.threshold, "plain", threshold),
        texts["text.chart_in_force"],
        texts["text.chart_threshold"],
        texts["text.chart_share"],
    )
