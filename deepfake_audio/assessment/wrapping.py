"""Lines of Chinese text, broken as Chinese is set.

No line begins with a closing mark or ends with an opening one, and Latin words, numbers and names
among the characters stay whole where they fit. reportlab knows the marks of Japanese alone, and
lets them hang over the edge of a table's cell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from reportlab.platypus import Paragraph
from reportlab.platypus.paragraph import ParaLines, cjkU, makeCJKParaLine

_FUZZ = 1e-6
_CLOSING = ("Pe", "Pf", "Po")
_OPENING = ("Ps", "Pi")


class ChineseParagraph(Paragraph):  # type: ignore[misc]  # reportlab has no types
    """A paragraph whose style asks for ``wordWrap="CJK"``."""

    def breakLinesCJK(self, max_widths: Any) -> Any:  # noqa: N802
        """Return the lines, the first in the first width, and so on."""
        if getattr(self, "_splitpara", 0) and hasattr(self, "blPara"):
            return self.blPara
        self.height = 0
        widths = max_widths if isinstance(max_widths, list | tuple) else [max_widths]
        units = [cjkU(char, each, "utf8") for each in self.frags for char in each.text]
        lines: list[Any] = []
        start = 0
        for end in _ends(units, widths):
            width, used = _at(widths, len(lines)), sum(unit.width for unit in units[start:end])
            line = units[start:end], width, used, width - used, False, False
            lines.append(makeCJKParaLine(*line))
            start = end
        return ParaLines(kind=1, lines=lines)


def _ends(units: Sequence[Any], widths: Sequence[float]) -> Iterator[int]:
    """Yield where each line ends."""
    start = number = at = 0
    used = 0.0
    while at < len(units):
        used += units[at].width
        if used > _at(widths, number) + _FUZZ and at > start and units[at] != " ":
            places = range(at, start, -1)
            # A word that is wider than a line is broken where the line is full.
            end = next((place for place in places if may_break(units, place)), at)
            yield end
            start = at = end
            number, used = number + 1, 0.0
            continue
        at += 1
    if start < len(units):
        yield len(units)


def may_break(text: Sequence[str], place: int) -> bool:
    """Tell whether a line may end before a character."""
    before, after = str(text[place - 1]), str(text[place])
    if after == " ":
        return False  # it hangs over the end of the line, where nobody sees it
    if before == " ":
        return True
    if not (_is_wide(before) or _is_wide(after)):
        return False
    return not (
        (unicodedata.category(after) in _CLOSING and after not in "/\\@#&*")
        or unicodedata.category(before) in _OPENING
    )


def _is_wide(char: str) -> bool:
    """Tell whether it is a character of Chinese, or a mark among them."""
    return unicodedata.east_asian_width(char) in "WF" or char in "\u201c\u201d\u2018\u2019"


def _at(widths: Sequence[float], number: int) -> float:
    return widths[min(number, len(widths) - 1)]
