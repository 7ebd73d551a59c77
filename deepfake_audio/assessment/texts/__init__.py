"""The words of the report, by language and template: two TOML files with the same keys.

The texts are ours. Articles of laws are cited, not quoted.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from ..config import Text
from ..document import Absent, Given, Inline, Line, Words
from ..evidence import Ref

_PLACE = re.compile(r"\{(\w+)\}")


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return all texts of a language by their dotted keys."""
    file = resources.files(__package__) / f"{language}.toml"
    return dict(_flat(tomllib.loads(file.read_text(encoding="utf-8")), ""))


def _flat(values: dict[str, Any], before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        found += (
            _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(before + key, value)]
        )
    return found


class Texts:
    """The texts of one report.

    Parameters
    ----------
    language : str
    template : str
        Its own wording comes before the general one.
    """

    def __init__(self, language: str, template: str) -> None:
        self.language = language
        self.template = template
        self._texts = catalogue(language)

    def __getitem__(self, key: str) -> str:
        own = f"template.{self.template}.{key}"
        return self._texts[own if own in self._texts else key]

    def has(self, key: str) -> bool:
        """Tell whether there is such a text."""
        return key in self._texts or f"template.{self.template}.{key}" in self._texts

    def under(self, key: str) -> list[str]:
        """Return the last parts of the keys of this template under a key, in order."""
        before = f"template.{self.template}.{key}."
        return [each.removeprefix(before) for each in self._texts if each.startswith(before)]

    def say(self, key: str, **values: Inline) -> Line:
        """Return a sentence with evidence in the places that it leaves for it."""
        line: list[Inline] = []
        text, last = self[key], 0
        for place in _PLACE.finditer(text):
            if before := text[last : place.start()]:
                line.append(Words(before))
            line.append(values[place[1]])
            last = place.end()
        return (*line, Words(text[last:])) if last < len(text) else tuple(line)

    def words(self, key: str, tone: str = "") -> Line:
        """Return words alone, as a line."""
        return (Words(self[key], tone),)

    def missing(self, key: str = "missing") -> Line:
        """Return a gap, as a line."""
        return (Absent(self[key]),)

    def given(self, text: Text | None, ref: Ref, *, code: bool = False) -> Line:
        """Return what the operator says, in this language if possible; a gap if nothing."""
        if isinstance(text, dict):
            chosen = self.language if self.language in text else next(iter(text), None)
            return self.missing() if chosen is None else (Given(text[chosen], ref / chosen, code),)
        return self.missing() if text is None else (Given(text, ref, code),)
