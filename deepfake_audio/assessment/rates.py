"""Error rates as they stand in the report: figures with their intervals, and tables of them."""

from __future__ import annotations

from typing import Any

from .cells import ERRORS
from .document import Given, Line, Number, Table
from .evidence import Ref
from .findings import Judged
from .material import Material
from .texts import Texts

_RATES = (*ERRORS, "abstention", "failure", "disagreement")
_NAMED_GROUPS = ("all", "service", "labelled", "reports", "chain")


def form_of(measure: str) -> str:
    """Return how the values of a measure are written."""
    return "percent" if measure in _RATES else "seconds" if measure.endswith("_s") else "count"


def figure(values: dict[str, Any], measure: str, place: Ref, texts: Texts) -> Line:
    """Return a value and its interval, as they stand at a place."""
    form = form_of(measure)
    number = Number(values["value"], form, place / "value")
    if values["low"] is None:
        return (number,)
    ends = {end: Number(values[end], form, place / end) for end in ("low", "high")}
    return texts.say("interval", value=number, **ends)


def group_of(axis: str, group: str, place: Ref, texts: Texts) -> Line:
    """Return the name of a group."""
    if group in _NAMED_GROUPS and axis == "overall":
        return texts.words(f"group.{group}")
    return (Given(group, place / "group"),)


def state_of(judged: Judged, texts: Texts) -> Line:
    """Return how a cell stands to its target, in a word."""
    if not judged.enough:
        return texts.words("state.few", "quiet")
    if judged.above:
        return texts.words("state.above", "bad")
    if judged.unproven:
        return texts.words("state.unproven", "quiet")
    return texts.words("state.under", "good")


def by_group(found: Material, axis: str) -> dict[str, dict[str, Judged]]:
    """Return the error rates of an axis by group and measure."""
    groups: dict[str, dict[str, Judged]] = {}
    for judged in found.judged:
        cell = judged.cell
        if cell.axis == axis and cell.measure in ERRORS:
            groups.setdefault(cell.group, {})[cell.measure] = judged
    return dict(sorted(groups.items()))


def rates_table(found: Material, axis: str, texts: Texts) -> Table | None:
    """Return both error rates by one axis."""
    rows = []
    for group, by_measure in by_group(found, axis).items():
        anchor = found.place(next(iter(by_measure.values())))
        row: list[Line] = [group_of(axis, group, anchor, texts)]
        for measure in ERRORS:
            judged_cell = by_measure.get(measure)
            row += rate_cells(found, judged_cell, texts) if judged_cell else [(), (), ()]
        rows.append(tuple(row))
    if not rows:
        return None
    header = (
        texts["column.group"], texts["column.n_genuine"], texts["column.genuine"],
        texts["column.state"], texts["column.n_synthetic"], texts["column.synthetic"],
        texts["column.state"],
    )  # fmt: skip
    return Table(header, tuple(rows), (11, 5, 12, 8, 6, 13, 8), texts.words(f"by.{axis}"))


def rate_cells(found: Material, judged: Judged, texts: Texts) -> list[Line]:
    """Return recordings, rate with interval, and state."""
    cell, place = judged.cell, found.place(judged)
    n: Line = () if cell.n is None else (Number(cell.n, "count", place / "n"),)
    values = {"value": cell.value, "low": cell.low, "high": cell.high}
    return [n, figure(values, cell.measure, place, texts), state_of(judged, texts)]
