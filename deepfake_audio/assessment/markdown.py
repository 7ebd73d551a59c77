"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..report import printable
from .document import (
    Absent,
    Block,
    Chart,
    Document,
    Given,
    Inline,
    Line,
    Outline,
    Paragraph,
    Section,
    Words,
    sources,
)

# What would start markup, HTML or a new cell; a dash or a number at the start of a line cannot
# stand there, since every line begins with words of ours or lies in a table.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&!])")
_BREAKS = re.compile(r"\s+")


def render(document: Document) -> str:
    """Return a document as Markdown."""
    outline = Outline()
    parts = [f"# {document.title}", *_block(document, document.facts)]
    for section in document.sections:
        parts += _section(document, section, outline, 0)
    return "\n\n".join(parts) + "\n"


def _section(document: Document, section: Section, outline: Outline, depth: int) -> Iterator[str]:
    yield f"{'#' * (depth + 2)} {outline.next(depth)} {section.title}"
    for block in section.blocks:
        yield from _block(document, block)
    for inner in section.sections:
        yield from _section(document, inner, outline, depth + 1)


def _block(document: Document, block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _line(block.line)
    elif isinstance(block, Chart):
        return  # what it shows stands in the table beside it
    else:
        if block.caption:
            yield f"**{_line(block.caption)}**"
        rows = [
            f"| {' | '.join(block.header)} |",
            f"|{'---|' * len(block.header)}",
            *(f"| {' | '.join(map(_line, row))} |" for row in block.rows),
        ]
        yield "\n".join(rows)
    if found := sources(block):
        yield f"_{document.sources_label}{', '.join(map(escape, found))}_"


def _line(line: Line) -> str:
    return "".join(map(_inline, line))


def _inline(inline: Inline) -> str:
    if isinstance(inline, Words):
        # Our own words may hold `code`; a bar would still open a cell.
        return inline.text.replace("|", "\\|")
    if isinstance(inline, Absent):
        return f"**[{inline.text}]**"
    text = escape(printable(inline.text))
    return (
        f"`{_code(printable(inline.text))}`" if isinstance(inline, Given) and inline.code else text
    )


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", _BREAKS.sub(" ", text))


def _code(text: str) -> str:
    # Nothing is escaped inside code, but for the bar in tables.
    return _BREAKS.sub(" ", text).replace("`", "'").replace("|", "\\|")
