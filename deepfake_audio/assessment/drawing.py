"""Charts as lines, boxes, dots and labels: laid out once, for every form of the report.

Lengths are points, y grows downwards. Nothing is told by colour alone: what is above its target is
a filled diamond, what is not a hollow circle, what is not judged a cross, and shades have their
numbers written in them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..report import printable
from .document import (
    Chart,
    ChartRow,
    CurveChart,
    DotChart,
    HeatMap,
    Line,
    Mark,
    Number,
)

INK, QUIET, RULE, BAD, GOOD = "#1f2328", "#59636e", "#d1d9e0", "#a40e26", "#116329"
DASHES = (5.0, 3.0)
DIAMOND = 1.3
"""Reach of a diamond, of the radius of a circle."""
OUTLINE = 1.4
"""Of a circle, points."""

_SIZE, _SMALL = 7.5, 6.5
_ROW, _HEAD, _FOOT = 13.0, 18.0, 16.0
_GAP = 22.0
_EDGE = 10.0  # for the half of the last number that is right of its stroke
_LABEL_SHARE = 0.26
_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_DARKEST = 0.5
"""Of a heat map: an equal error rate of a half is chance."""

_STEPS = 4  # of a scale
_CURVES_HEIGHT = 150.0
_NARROW, _WIDE = 0.52, 1.0
"""Width of a character, of its size."""


@dataclass(frozen=True)
class Stroke:
    """A line, dashed or not."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str = INK
    width: float = 0.8
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Dot:
    """A hollow circle, or a filled diamond."""

    x: float
    y: float
    radius: float
    colour: str
    diamond: bool


@dataclass(frozen=True)
class Label:
    """Text that starts, ends or has its middle at a point; ``y`` is its base line."""

    x: float
    y: float
    text: str
    size: float = _SIZE
    anchor: str = "start"
    colour: str = INK
    bold: bool = False


@dataclass(frozen=True)
class Group:
    """Shapes that mean one thing, and that in words."""

    title: str
    shapes: tuple[Stroke | Box | Dot | Label, ...]


Shape = Stroke | Box | Dot | Label | Group


@dataclass(frozen=True)
class Drawing:
    """A picture.

    Attributes
    ----------
    width, height : float
        Points.
    title, text : str
        What it is, and what can be read off it, for those who do not see it.
    shapes : tuple of Shape
    """

    width: float
    height: float
    title: str
    text: str
    shapes: tuple[Shape, ...]


def draw(chart: Chart, width: float) -> Drawing:
    """Lay a chart out.

    Parameters
    ----------
    chart : Chart
    width : float
        Points.
    """
    if isinstance(chart, DotChart):
        height = _HEAD + _ROW * len(chart.rows) + 2 * _FOOT
        shapes = _dots(chart, width)
    elif isinstance(chart, HeatMap):
        height = _HEAD + _ROW * len(chart.rows) + 4
        shapes = _heat(chart, width)
    else:
        height = _HEAD + _CURVES_HEIGHT + 2 * _FOOT
        shapes = _curves(chart, width)
    found = tuple(shapes)
    said = "; ".join(shape.title for shape in found if isinstance(shape, Group))
    return Drawing(width, height, plain(chart.caption), said, found)


def plain(line: Line) -> str:
    """Return a line as plain text."""
    return "".join(printable(part.text) for part in line)


def fitted(text: str, width: float, size: float) -> str:
    """Return text, cut where it would be wider."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "\N{HORIZONTAL ELLIPSIS}", size) > width:
        text = text[:-1]
    return text + "\N{HORIZONTAL ELLIPSIS}"


def text_width(text: str, size: float) -> float:
    """Return about how wide text is, points."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return size * (_WIDE * wide + _NARROW * (len(text) - wide))


def _columns(n: int, width: float) -> tuple[float, list[tuple[float, float]]]:
    """Return the width of the labels, and where each panel starts and ends."""
    labels = _LABEL_SHARE * width
    panel = (width - labels - _GAP * n - _EDGE) / n
    starts = [labels + _GAP + i * (panel + _GAP) for i in range(n)]
    return labels, [(start, start + panel) for start in starts]


def _dots(chart: DotChart, width: float) -> Iterator[Shape]:
    labels, panels = _columns(len(chart.columns), width)
    bottom = _HEAD + _ROW * len(chart.rows)
    for i, row in enumerate(chart.rows):
        y = _HEAD + _ROW * (i + 0.5)
        text = fitted(plain(row.label), labels, _SIZE)
        yield Label(labels, y + 0.35 * _SIZE, text, anchor="end")
        yield Stroke(panels[0][0], y, panels[-1][1], y, RULE, 0.4)
    for at, (title, (left, right)) in enumerate(zip(chart.columns, panels, strict=True)):
        yield Label(left, _HEAD - 8, title, bold=True)
        marks = [mark for row in chart.rows if isinstance(mark := row.cells[at], Mark)]
        end = _end(marks)
        for step in range(_STEPS + 1):
            x, share = left + (right - left) * step / _STEPS, end * step / _STEPS
            yield Stroke(x, _HEAD - 2, x, bottom, RULE, 0.4)
            unit = " %" if step == _STEPS else ""
            yield Label(x, bottom + 9, f"{100 * share:g}{unit}", _SMALL, "middle", QUIET)
        for i, row in enumerate(chart.rows):
            mark = row.cells[at]
            if isinstance(mark, Mark):
                y = _HEAD + _ROW * (i + 0.5)
                title_of = f"{plain(row.label)}, {title}: {_said(mark)}"
                yield Group(title_of, tuple(_mark(mark, left, right, end, y)))
    yield Label(panels[0][0], bottom + 9 + _FOOT, chart.key, _SMALL, colour=QUIET)


def _end(marks: list[Mark]) -> float:
    """Return where the scale of a panel ends: no further than it has to."""
    most = max((max(_top(mark), mark.target.value) for mark in marks), default=1.0)
    return next((end for end in _ENDS if end >= most), 1.0)


def _top(mark: Mark) -> float:
    return mark.value.value if mark.high is None else mark.high.value


def _mark(
    mark: Mark, left: float, right: float, end: float, y: float
) -> Iterator[Stroke | Box | Dot | Label]:
    def x(share: float) -> float:
        return left + (right - left) * min(share / end, 1.0)

    colour = {"bad": BAD, "good": GOOD}.get(mark.state, QUIET)
    target = x(mark.target.value)
    yield Stroke(target, y - 0.42 * _ROW, target, y + 0.42 * _ROW, INK, 1.4)
    if mark.low is not None and mark.high is not None:
        yield Stroke(x(mark.low.value), y, x(mark.high.value), y, colour, 1.2)
        for share in (mark.low.value, mark.high.value):
            yield Stroke(x(share), y - 2, x(share), y + 2, colour, 1.0)
    at, reach = x(mark.value.value), 2.6
    if mark.state == "quiet":
        yield Stroke(at - reach, y - reach, at + reach, y + reach, colour, OUTLINE)
        yield Stroke(at - reach, y + reach, at + reach, y - reach, colour, OUTLINE)
    else:
        yield Dot(at, y, 3.0, colour, mark.state == "bad")


def _said(mark: Mark) -> str:
    interval = (
        "" if mark.low is None or mark.high is None else f" [{mark.low.text}, {mark.high.text}]"
    )
    return f"{mark.value.text}{interval} / {mark.target.text}"


def _heat(chart: HeatMap, width: float) -> Iterator[Shape]:
    labels = _LABEL_SHARE * width
    panel = (width - labels - _GAP) / len(chart.columns)
    for at, title in enumerate(chart.columns):
        left = labels + _GAP + at * panel
        yield Label(
            left + panel / 2, _HEAD - 6, fitted(title, panel, _SIZE), anchor="middle", bold=True
        )
        for i, row in enumerate(chart.rows):
            yield from _tile(row, title, row.cells[at], left, _HEAD + _ROW * i, panel)
    for i, row in enumerate(chart.rows):
        text = fitted(plain(row.label), labels, _SIZE)
        yield Label(labels, _HEAD + _ROW * (i + 0.5) + 0.35 * _SIZE, text, anchor="end")


def _tile(
    row: ChartRow, title: str, cell: Mark | Number | None, x: float, y: float, width: float
) -> Iterator[Shape]:
    middle = x + width / 2, y + 0.5 * _ROW + 0.35 * _SIZE
    if not isinstance(cell, Number):
        yield Label(*middle, "-", anchor="middle", colour=QUIET)
        return
    depth = min(cell.value / _DARKEST, 1.0)
    grey = round(255 - 190 * depth)
    fill = f"#{grey:02x}{grey:02x}{grey:02x}"
    ink = "#ffffff" if depth > 0.55 else INK
    shapes = (
        Box(x, y, width - 1, _ROW - 1, fill),
        Label(*middle, cell.text, anchor="middle", colour=ink),
    )
    yield Group(f"{plain(row.label)}, {title}: {cell.text}", shapes)


def _curves(chart: CurveChart, width: float) -> Iterator[Shape]:
    left, right = 30.0, width - 8
    top, bottom = _HEAD, _HEAD + _CURVES_HEIGHT

    def spot(threshold: float, share: float) -> tuple[float, float]:
        return left + (right - left) * threshold, bottom - _CURVES_HEIGHT * share

    for step in range(_STEPS + 1):
        x, y = spot(step / _STEPS, step / _STEPS)
        yield Stroke(left, y, right, y, RULE, 0.4)
        yield Stroke(x, top, x, bottom, RULE, 0.4)
        yield Label(left - 4, y + 2.5, f"{100 * step / _STEPS:g}", _SMALL, "end", QUIET)
        yield Label(x, bottom + 9, f"{step / _STEPS:g}", _SMALL, "middle", QUIET)
    yield Label(right, bottom + 9 + _FOOT / 2 + 3, chart.x_label, _SMALL, "end", QUIET)
    yield Label(2, top - 8, chart.y_label, _SMALL, colour=QUIET)
    x, _ = spot(chart.threshold.value, 0)
    side = "end" if x > (left + right) / 2 else "start"
    said = f"{chart.threshold_label}: {chart.threshold.text}"
    yield Stroke(x, top, x, bottom, INK, 1.2)
    yield Label(x + (-4 if side == "end" else 4), top + 8, said, anchor=side, bold=True)
    for at, curve in enumerate(chart.curves):
        spots = [spot(x.value, y.value) for x, y in curve.points]
        colour = (INK, BAD)[at % 2]
        strokes = tuple(
            Stroke(*a, *b, colour, 1.4, dashed=bool(at % 2)) for a, b in pairwise(spots)
        )
        yield Group(curve.name, strokes)
        yield from _legend(curve.name, at, colour, left + 60 + at * 190, bottom + 9 + _FOOT)


def _legend(name: str, at: int, colour: str, x: float, y: float) -> Iterator[Shape]:
    yield Stroke(x, y - 2.5, x + 22, y - 2.5, colour, 1.4, dashed=bool(at % 2))
    yield Label(x + 27, y, name)
