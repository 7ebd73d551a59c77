"""A report as one HTML file: no scripts, nothing fetched, made to be printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from importlib import resources

from ..report import printable
from . import svg
from .document import (
    Absent,
    Block,
    Chart,
    Document,
    Given,
    Inline,
    Line,
    Number,
    Outline,
    Paragraph,
    Section,
    Words,
    sources,
)
from .drawing import draw

_CODE = re.compile("`([^`]*)`")
_PERCENT = 100
_CHART_WIDTH = 520.0  # points; the page scales it


def render(document: Document) -> str:
    """Return a document as HTML."""
    style = (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    outline = Outline()
    title = escape(document.title)
    parts = [
        "<!doctype html>",
        f'<html lang="{document.language}">',
        '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Even if something hostile slipped through, nothing of it could run or be fetched.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{title}</title>",
        f"<style>\n{style}</style></head>",
        f"<body><header><h1>{title}</h1>",
        *_block(document, document.facts),
        "</header><main>",
    ]
    for section in document.sections:
        parts += _section(document, section, outline, 0)
    return "\n".join([*parts, "</main></body></html>"]) + "\n"


def _section(document: Document, section: Section, outline: Outline, depth: int) -> Iterator[str]:
    level = depth + 2
    yield f"<section><h{level}>{outline.next(depth)} {escape(section.title)}</h{level}>"
    for block in section.blocks:
        yield from _block(document, block)
    for inner in section.sections:
        yield from _section(document, inner, outline, depth + 1)
    yield "</section>"


def _block(document: Document, block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield f"<p>{_line(block.line)}</p>"
    elif isinstance(block, Chart):
        drawing = draw(block, _CHART_WIDTH)
        caption = f"<figcaption>{_line(block.caption)}</figcaption>"
        yield f"<figure>{caption}{svg.render(drawing)}</figure>"
    else:
        yield "<table>"
        if block.caption:
            yield f"<caption>{_line(block.caption)}</caption>"
        total = sum(block.widths)
        columns = (f'<col style="width:{_PERCENT * w / total:.1f}%">' for w in block.widths)
        yield f"<colgroup>{''.join(columns)}</colgroup>"
        if any(block.header):
            cells = "".join(f"<th>{escape(text)}</th>" for text in block.header)
            yield f"<thead><tr>{cells}</tr></thead>"
        yield "<tbody>"
        for row in block.rows:
            yield f"<tr{_anchor(row)}>{''.join(f'<td>{_line(line)}</td>' for line in row)}</tr>"
        yield "</tbody></table>"
    if found := sources(block):
        places = ", ".join(map(_source, found))
        yield f'<p class="sources">{escape(document.sources_label)}{places}</p>'


def _anchor(row: tuple[Line, ...]) -> str:
    """Return the name of a row of the appendix, for the sources below tables to lead to."""
    first = row[0][0] if row[0] else None
    is_source = isinstance(first, Given) and first.ref.pointer == "@id"
    return f' id="{escape(first.text)}"' if is_source and isinstance(first, Given) else ""


def _source(place: str) -> str:
    name, _, pointer = place.partition(" ")
    return f'<a href="#{escape(name)}">{escape(name)}</a> {escape(pointer)}'.rstrip()


def _line(line: Line) -> str:
    return "".join(map(_inline, line))


def _inline(inline: Inline) -> str:
    if isinstance(inline, Words):
        text = _CODE.sub(r"<code>\1</code>", escape(inline.text))
        return f'<span class="{inline.tone}">{text}</span>' if inline.tone else text
    if isinstance(inline, Absent):
        return f'<span class="absent">{escape(inline.text)}</span>'
    title = escape(f"{inline.ref.source} {inline.ref.pointer}")
    if isinstance(inline, Number):
        # A number and its unit stay on one line.
        return f'<data title="{title}">{escape(inline.text).replace(" ", "&nbsp;")}</data>'
    tag = "code" if inline.code else "span"
    return f'<{tag} title="{title}">{escape(printable(inline.text))}</{tag}>'
