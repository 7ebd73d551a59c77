"""The docstrings of the package in the form that the reference is made from.

They are written for whoever reads the code, with Sphinx's roles and with parameters of one meaning
in one entry; griffe knows neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, GriffeError, Object

_ROLE = re.compile(r":(?:class|meth|func|mod|data|attr):`(~?)([\w.]+)`")
_SEVERAL = re.compile(
    r"^(?P<indent> *)(?P<names>\w+(?:, \w+)+)\n(?P<text>(?:(?P=indent) +\S.*\n?|\n(?= ))+)",
    re.MULTILINE,
)


class HouseStyle(Extension):
    """Makes links of roles, and an entry of each of several parameters without a type."""

    def on_package(self, *, pkg: Any, **kwargs: Any) -> None:
        """Change all docstrings, once all names are known."""
        for found in _objects(pkg):
            if found.docstring:
                text = found.docstring.value
                text = _SEVERAL.sub(_one_by_one, text)
                found.docstring.value = _ROLE.sub(lambda role, at=found: _link(role, at), text)


def _objects(found: Object) -> Iterator[Object]:
    yield found
    for member in found.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _one_by_one(entry: re.Match[str]) -> str:
    text = entry["text"] if entry["text"].endswith("\n") else entry["text"] + "\n"
    return "".join(f"{entry['indent']}{name}\n{text}" for name in entry["names"].split(", "))


def _link(role: re.Match[str], found: Object) -> str:
    """Return a link to what a role names, or its name if the reference does not show it."""
    short, name = role[1], role[2].lstrip(".")
    first, _, rest = name.partition(".")
    try:
        full = found.resolve(first) + (f".{rest}" if rest else "")
    except GriffeError:
        full = name
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref identifier="{full}" optional><code>{shown}</code></autoref>'
