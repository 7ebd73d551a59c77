"""A drawing as SVG that stands inside of HTML: no style sheet, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .drawing import DASHES, DIAMOND, OUTLINE, Box, Dot, Drawing, Group, Label, Shape, Stroke


def render(drawing: Drawing) -> str:
    """Return a drawing as an element."""
    parts = [
        f'<svg class="chart" role="img" viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(drawing.title)}</title>",
        f"<desc>{escape(drawing.text)}</desc>",
    ]
    for shape in drawing.shapes:
        parts += _shape(shape)
    return "".join([*parts, "</svg>"])


def _shape(shape: Shape) -> Iterator[str]:
    if isinstance(shape, Group):
        yield f"<g><title>{escape(shape.title)}</title>"
        for inner in shape.shapes:
            yield from _shape(inner)
        yield "</g>"
    elif isinstance(shape, Stroke):
        dashes = f' stroke-dasharray="{DASHES[0]:g} {DASHES[1]:g}"' if shape.dashed else ""
        yield (
            f'<line x1="{shape.x1:.1f}" y1="{shape.y1:.1f}" x2="{shape.x2:.1f}" '
            f'y2="{shape.y2:.1f}" stroke="{shape.colour}" stroke-width="{shape.width:g}"{dashes}/>'
        )
    elif isinstance(shape, Box):
        yield (
            f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" '
            f'height="{shape.height:.1f}" fill="{shape.fill}"/>'
        )
    elif isinstance(shape, Dot):
        yield _dot(shape)
    else:
        yield _label(shape)


def _dot(dot: Dot) -> str:
    x, y, r = dot.x, dot.y, dot.radius
    if dot.diamond:
        r *= DIAMOND
        corners = ((x, y - r), (x + r, y), (x, y + r), (x - r, y))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        return f'<polygon points="{points}" fill="{dot.colour}"/>'
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" fill="#ffffff" stroke="{dot.colour}" '
        f'stroke-width="{OUTLINE}"/>'
    )


def _label(label: Label) -> str:
    weight = ' font-weight="bold"' if label.bold else ""
    return (
        f'<text x="{label.x:.1f}" y="{label.y:.1f}" font-size="{label.size:g}" '
        f'text-anchor="{label.anchor}" fill="{label.colour}"{weight}>{escape(label.text)}</text>'
    )
