"""A report as a tree: sections of paragraphs and tables, made of words and of evidence.

Words come from the catalogue of texts; everything else is a number or a quotation that knows where
it is from, or says that there is nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .evidence import Ref


@dataclass(frozen=True)
class Words:
    """Words of this package; ``tone`` is ``good``, ``bad``, ``quiet`` or empty."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Number:
    """A number that was read from somewhere.

    Attributes
    ----------
    value : float
    form : str
        ``percent``, ``count``, ``seconds``, ``digits``: a whole number that stands for itself, or
        ``plain``: four significant digits.
    ref : Ref
    """

    value: float
    form: str
    ref: Ref

    @property
    def text(self) -> str:
        """The number for people."""
        if self.form == "percent":
            return f"{100 * self.value:.1f} %"
        if self.form == "count":
            return f"{self.value:,.0f}"
        if self.form == "seconds":
            return f"{self.value:.2f} s"
        if self.form == "digits":
            return f"{self.value:.0f}"
        return f"{self.value:.4g}"


@dataclass(frozen=True)
class Given:
    """Text that was read from somewhere; ``code`` if it is a name, a hash or a command."""

    text: str
    ref: Ref
    code: bool = False


@dataclass(frozen=True)
class Absent:
    """What is missing, said in words of this package."""

    text: str


Inline = Words | Number | Given | Absent
Line = tuple[Inline, ...]


@dataclass(frozen=True)
class Paragraph:
    """One line of text."""

    line: Line


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes
    ----------
    header : tuple of str
        Words of this package.
    rows : tuple of tuple of Line
    widths : tuple of int
        Of the columns, relative to each other.
    caption : Line
        Above it; may be empty.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Line, ...], ...]
    widths: tuple[int, ...]
    caption: Line = ()


@dataclass(frozen=True)
class Mark:
    """A rate in a chart.

    Attributes
    ----------
    value, low, high, target : Number
        The ends of the interval are None where there is none.
    state : str
        ``good``: at or under the target; ``bad``: above it; ``quiet``: not judged.
    """

    value: Number
    low: Number | None
    high: Number | None
    target: Number
    state: str


@dataclass(frozen=True)
class ChartRow:
    """A group, and for each column what is known of it."""

    label: Line
    cells: tuple[Mark | Number | None, ...]


@dataclass(frozen=True)
class DotChart:
    """Rates with their intervals against their targets, one panel a column; cells are marks."""

    caption: Line
    columns: tuple[str, ...]
    rows: tuple[ChartRow, ...]
    key: str


@dataclass(frozen=True)
class HeatMap:
    """Shares as shades of grey, written out as well; cells are numbers, 0.5 is the darkest."""

    caption: Line
    columns: tuple[str, ...]
    rows: tuple[ChartRow, ...]


@dataclass(frozen=True)
class Curve:
    """A share by threshold: (threshold, share) by (threshold, share), from left to right."""

    name: str
    points: tuple[tuple[Number, Number], ...]


@dataclass(frozen=True)
class CurveChart:
    """Shares over the threshold, in [0, 1] both, and the threshold in force."""

    caption: Line
    curves: tuple[Curve, ...]
    threshold: Number
    threshold_label: str
    x_label: str
    y_label: str


Chart = DotChart | HeatMap | CurveChart
Block = Paragraph | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report in one language.

    Attributes
    ----------
    language : str
    title : str
    facts : Table
        On the first page: who, what, when.
    sections : tuple of Section
    sources_label, missing_label : str
        What stands before the sources of a block; what marks a gap for readers of plain text.
    """

    language: str
    title: str
    facts: Table
    sections: tuple[Section, ...]
    sources_label: str
    missing_label: str = ""


def inlines(node: Document | Section | Block) -> Iterator[Inline]:
    """Yield everything that is printed, in order, but for headings and headers."""
    if isinstance(node, Paragraph):
        yield from node.line
    elif isinstance(node, DotChart | HeatMap):
        yield from node.caption
        for chart_row in node.rows:
            yield from chart_row.label
            for cell in chart_row.cells:
                yield from _numbers(cell)
    elif isinstance(node, CurveChart):
        yield from (*node.caption, node.threshold)
        for curve in node.curves:
            for point in curve.points:
                yield from point
    elif isinstance(node, Table):
        yield from node.caption
        for row in node.rows:
            for line in row:
                yield from line
    else:
        if isinstance(node, Document):
            yield from inlines(node.facts)
        else:
            for block in node.blocks:
                yield from inlines(block)
        for section in node.sections:
            yield from inlines(section)


def _numbers(cell: Mark | Number | None) -> Iterator[Number]:
    if isinstance(cell, Mark):
        parts = (cell.value, cell.low, cell.high, cell.target)
        yield from (part for part in parts if part is not None)
    elif cell is not None:
        yield cell


def sources(block: Block) -> list[str]:
    """Return where the numbers of a block are from: each source, and what the places share."""
    places: dict[str, list[list[str]]] = {}
    for inline in inlines(block):
        # What is said of files themselves stands beside their names.
        if isinstance(inline, Number | Given) and not inline.ref.is_fact:
            places.setdefault(inline.ref.source, []).append(inline.ref.parts)
    found = []
    for source, pointers in sorted(places.items(), key=lambda item: int(item[0][1:])):
        shared: list[str] = []
        for parts in zip(*pointers, strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        found.append(f"{source} /{'/'.join(shared)}" if shared else source)
    return found


def to_dict(node: Any) -> Any:
    """Return a tree as plain JSON types, each node with its kind."""
    if isinstance(node, Ref):
        return {"source": node.source, "pointer": node.pointer}
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        values = {f.name: to_dict(getattr(node, f.name)) for f in dataclasses.fields(node)}
        if isinstance(node, Number):
            values["text"] = node.text
        return {"kind": type(node).__name__.lower(), **values}
    return [to_dict(each) for each in node] if isinstance(node, tuple | list) else node


@dataclass
class Outline:
    """Numbers of headings: 1, 1.1, 1.2, 2, ..."""

    counts: list[int] = field(default_factory=list)

    def next(self, depth: int) -> str:
        """Return the number of the next heading of a depth, which starts at 0."""
        self.counts = [*self.counts[: depth + 1], *[0] * (depth + 1 - len(self.counts))]
        self.counts[depth] += 1
        return ".".join(map(str, self.counts))
