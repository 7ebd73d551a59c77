"""A report as PDF on A4, with reportlab.

Chinese is set in the reader's own Song typeface, which every reader of PDF knows by name, unless a
TrueType file is given to be embedded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..errors import ConfigError, MissingExtraError
from ..report import printable
from .document import (
    Absent,
    Block,
    Chart,
    Document,
    Inline,
    Line,
    Number,
    Outline,
    Paragraph,
    Section,
    Words,
    sources,
)
from .drawing import DASHES, DIAMOND, OUTLINE, Box, Dot, Drawing, Group, Label, Shape, Stroke, draw

try:
    from reportlab.graphics import shapes
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFError, TTFont
    from reportlab.platypus import (
        BaseDocTemplate,
        CondPageBreak,
        Flowable,
        Frame,
        PageTemplate,
        Spacer,
        TableStyle,
    )
    from reportlab.platypus import Paragraph as PdfParagraph
    from reportlab.platypus import Table as PdfTable

    from .wrapping import ChineseParagraph
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"a PDF is written with {error.name}", hint='pip install "deepfake-audio[assessment]"'
    ) from error

Typeface = Callable[[str], str]
"""The name of the typeface that shows a character."""

SONG = "STSong-Light"
FONT = (
    "on Debian and Ubuntu `apt-get install fonts-wqy-zenhei` brings one, "
    'pdf_font = "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc"'
)
"""How to come by a typeface that can be embedded: those of Noto and Source Han cannot."""

_EMBEDDED = "Embedded"
_MARGIN = 17 * mm
_WIDTH = A4[0] - 2 * _MARGIN

_INK, _QUIET, _RULE = "#1f2328", "#59636e", "#d1d9e0"
_HEAD, _HEAD_GROUND = "#1b3a5c", "#eef3f8"
_TONES = {"good": "#116329", "bad": "#a40e26", "quiet": _QUIET}
_ABSENT = "#7a4b00"

# Everything that the built-in Latin typefaces cannot show: what lies outside of Latin-1.
_OTHER = re.compile("[^\u0000-\u00ff]+")
_CJK = re.compile("[\u2e80-\u9fff\uff00-\uffef]")
_CODE = re.compile("`([^`]*)`")
_DENSE_COLUMNS = 7
_CHART_NEEDS = 14 * mm
_CHAPTER_NEEDS, _HEADING_NEEDS, _CAPTION_NEEDS = 65 * mm, 38 * mm, 38 * mm


def render(document: Document, font: Path | None = None) -> bytes:
    """Return a document as PDF.

    Parameters
    ----------
    document : Document
    font : Path, optional
        TrueType file for what is not Latin, to be embedded.

    Raises
    ------
    ConfigError
        If the font cannot be used.
    """
    typeface = _register(font)
    buffer = BytesIO()
    pages = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title=document.title,
        author="deepfake-audio",
        lang=document.language,
        invariant=True,  # the same report gives the same file
    )
    frame = Frame(_MARGIN, _MARGIN, _WIDTH, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)

    def footer(canvas: Any, template: Any) -> None:
        canvas.saveState()
        canvas.setFillColor(colors.HexColor(_QUIET))
        other = _OTHER.search(document.title)
        canvas.setFont(typeface(other[0][0]) if other else "Helvetica", 8)
        canvas.drawString(_MARGIN, 9 * mm, document.title)
        canvas.setFont("Helvetica", 8)
        canvas.drawRightString(A4[0] - _MARGIN, 9 * mm, str(template.page))
        canvas.restoreState()

    pages.addPageTemplates([PageTemplate("report", [frame], onPage=footer)])
    pages.build(list(_Setter(document, typeface).flow()))
    return buffer.getvalue()


def _register(font: Path | None) -> Typeface:
    """Make the typefaces known, and return a function that says which of them shows a character."""
    pdfmetrics.registerFont(UnicodeCIDFont(SONG))
    if font is None:
        return lambda char: SONG
    try:
        embedded = TTFont(_EMBEDDED, str(font))
    except (OSError, TTFError) as error:
        raise ConfigError(
            f"is no TrueType file that can be embedded ({error})",
            name="pdf_font",
            hint=f"give a .ttf or .ttc with TrueType outlines and Chinese characters: {FONT}",
        ) from error
    pdfmetrics.registerFont(embedded)
    shown = embedded.face.charToGlyph
    return lambda char: _EMBEDDED if ord(char) in shown else SONG


class _Setter:
    """Turns a document into what reportlab lays out."""

    def __init__(self, document: Document, typeface: Typeface) -> None:
        self._document, self._typeface = document, typeface
        self._chinese = document.language == "zh"

    def flow(self) -> Iterator[Flowable]:
        """Yield everything in order."""
        document, outline = self._document, Outline()
        title = self._fonts(document.title)
        yield self._set(title, "title", 20, _HEAD, bold=True, space_after=5 * mm)
        yield from self._block(document.facts, first=True)
        for section in document.sections:
            yield from self._section(section, outline, 0)

    def _section(self, section: Section, outline: Outline, depth: int) -> Iterator[Flowable]:
        title = self._fonts(f"{outline.next(depth)}  {section.title}")
        size, before = ((14, 8 * mm), (11, 5 * mm))[min(depth, 1)]
        # Headings are not tied to what follows: a long table would go to the next page as a whole.
        yield CondPageBreak(_HEADING_NEEDS if depth else _CHAPTER_NEEDS)
        yield self._set(
            title, f"heading{depth}", size, _HEAD, bold=True,
            space_before=before, space_after=1.5 * mm,
        )  # fmt: skip
        for block in section.blocks:
            yield from self._block(block)
        for inner in section.sections:
            yield from self._section(inner, outline, depth + 1)

    def _set(self, markup: str, name: str, size: float, colour: str = _INK, **how: Any) -> Flowable:
        cjk = bool(_CJK.search(markup))
        style = self._style(name, size, colour, cjk=cjk, **how)
        return (ChineseParagraph if cjk else PdfParagraph)(markup, style)

    def _style(
        self,
        name: str,
        size: float,
        colour: str = _INK,
        *,
        bold: bool = False,
        cjk: bool = False,
        space_before: float = 0,
        space_after: float = 0,
    ) -> ParagraphStyle:
        # Chinese has no bold face here: beside it, bold figures and names would stand out.
        return ParagraphStyle(
            name,
            fontName="Helvetica-Bold" if bold and not self._chinese else "Helvetica",
            fontSize=size,
            leading=size * (1.5 if self._chinese else 1.32),
            textColor=colors.HexColor(colour),
            spaceBefore=space_before,
            spaceAfter=space_after,
            wordWrap="CJK" if cjk else None,
        )

    def _block(self, block: Block, *, first: bool = False) -> Iterator[Flowable]:
        if isinstance(block, Paragraph):
            text = self._line(block.line)
            if places := self._sources(block):
                text += f' <font color="{_QUIET}" size="6.8">[{places}]</font>'
            yield self._set(text, "body", 9.5, space_after=1.2 * mm)
            return
        if isinstance(block, Chart):
            yield from self._chart(block)
            return
        if block.caption:
            yield CondPageBreak(_CAPTION_NEEDS)
            yield self._set(
                self._line(block.caption), "caption", 9, _HEAD, bold=True,
                space_before=2.5 * mm, space_after=0.5 * mm,
            )  # fmt: skip
        # Above the table: below it, the line would stand alone at the top of a page now and then.
        places = self._set(self._sources(block), "sources", 6.8, _QUIET, space_after=mm)
        if first:
            yield from (self._table(block, first=True), Spacer(0, mm), places)
        else:
            yield from (places, self._table(block, first=False), Spacer(0, 2.5 * mm))

    def _chart(self, chart: Chart) -> Iterator[Flowable]:
        """Yield caption, sources and picture, on one page."""
        picture = _picture(draw(chart, _WIDTH), self._typeface)
        yield CondPageBreak(picture.height + _CHART_NEEDS)
        yield self._set(
            self._line(chart.caption), "caption", 9, _HEAD, bold=True,
            space_before=2.5 * mm, space_after=0.5 * mm,
        )  # fmt: skip
        yield self._set(self._sources(chart), "sources", 6.8, _QUIET, space_after=mm)
        yield from (picture, Spacer(0, 1.5 * mm))

    def _sources(self, block: Block) -> str:
        found = sources(block)
        return self._fonts(self._document.sources_label + ", ".join(found)) if found else ""

    def _table(self, block: Any, *, first: bool) -> Flowable:
        dense = len(block.header) >= _DENSE_COLUMNS
        size = 10 if first else 7.2 if dense else 8.2
        rows = [[self._set(self._line(line), "cell", size) for line in row] for row in block.rows]
        headed = any(block.header)
        if headed:
            head = [self._fonts(text) for text in block.header]
            rows.insert(0, [self._set(text, "head", size, _HEAD, bold=True) for text in head])
        total = sum(block.widths)
        table = PdfTable(
            rows,
            colWidths=[_WIDTH * width / total for width in block.widths],
            repeatRows=int(headed),
            hAlign="LEFT",
        )
        style: list[Any] = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor(_RULE)),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
        if headed:
            style += [
                ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor(_HEAD_GROUND)),
                ("LINEBELOW", (0, 0), (-1, 0), 0.9, colors.HexColor(_HEAD)),
            ]
        table.setStyle(TableStyle(style))
        return table

    def _line(self, line: Line) -> str:
        return "".join(map(self._inline, line))

    def _inline(self, inline: Inline) -> str:
        if isinstance(inline, Absent):
            return f'<font color="{_ABSENT}">[{self._fonts(inline.text)}]</font>'
        if isinstance(inline, Words):
            text = "".join(
                f'<font name="Courier">{self._fonts(part)}</font>' if i % 2 else self._fonts(part)
                for i, part in enumerate(_CODE.split(inline.text))
            )
            if inline.tone:
                text = f'<font color="{_TONES[inline.tone]}">{text}</font>'
            return f"<b>{text}</b>" if inline.tone == "bad" and not self._chinese else text
        if isinstance(inline, Number):  # with its unit on one line
            return inline.text.replace(" ", "\N{NO-BREAK SPACE}")
        text = self._fonts(printable(inline.text))
        return f'<font name="Courier">{text}</font>' if inline.code else text

    def _fonts(self, text: str) -> str:
        """Escape text, and set what is not Latin in a typeface that shows it."""

        def other(run: re.Match[str]) -> str:
            parts = groupby(run[0], self._typeface)
            return "".join(f'<font name="{name}">{"".join(part)}</font>' for name, part in parts)

        return _OTHER.sub(other, escape(text))


def _picture(drawing: Drawing, typeface: Typeface) -> Any:
    """Return a drawing as reportlab draws it, whose y grows upwards."""
    picture = shapes.Drawing(drawing.width, drawing.height)
    for shape in drawing.shapes:
        for each in shape.shapes if isinstance(shape, Group) else (shape,):
            picture.add(_shape(each, drawing.height, typeface))
    return picture


def _shape(shape: Shape, height: float, typeface: Typeface) -> Any:
    if isinstance(shape, Stroke):
        return shapes.Line(
            shape.x1, height - shape.y1, shape.x2, height - shape.y2,
            strokeColor=colors.HexColor(shape.colour), strokeWidth=shape.width,
            strokeDashArray=list(DASHES) if shape.dashed else None,
        )  # fmt: skip
    if isinstance(shape, Box):
        return shapes.Rect(
            shape.x, height - shape.y - shape.height, shape.width, shape.height,
            fillColor=colors.HexColor(shape.fill), strokeColor=None,
        )  # fmt: skip
    if isinstance(shape, Dot):
        x, y, r = shape.x, height - shape.y, shape.radius
        colour = colors.HexColor(shape.colour)
        if shape.diamond:
            r *= DIAMOND
            corners = [x, y - r, x + r, y, x, y + r, x - r, y]
            return shapes.Polygon(corners, fillColor=colour, strokeColor=None)
        return shapes.Circle(
            x, y, r, fillColor=colors.white, strokeColor=colour, strokeWidth=OUTLINE
        )
    assert isinstance(shape, Label)
    other = _OTHER.search(shape.text)
    latin = "Helvetica-Bold" if shape.bold else "Helvetica"
    return shapes.String(
        shape.x, height - shape.y, shape.text,
        fontName=typeface(other[0][0]) if other else latin, fontSize=shape.size,
        textAnchor=shape.anchor, fillColor=colors.HexColor(shape.colour),
    )  # fmt: skip
