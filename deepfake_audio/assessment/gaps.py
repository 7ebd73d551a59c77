"""What is missing: an assessment says so, and concludes nothing from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import ERRORS, Cell, Note
from .config import AssessmentConfig
from .evidence import Source
from .texts import Texts

WANTED_AXES = ("family", "codec", "language", "duration", "noise", "surface")
"""By what error rates have to be told apart."""


@dataclass(frozen=True)
class Gap:
    """One thing that is missing.

    Attributes
    ----------
    what : str
        Key of a text below ``gap``, or ``file`` for a file that was not used as given.
    topic : str or None
        Key of the text that completes it.
    why : str
        Key of a text below ``why``.
    source : Source or None
        The file that it is about.
    detail : str or None
        What that file says.
    """

    what: str
    why: str
    topic: str | None = None
    source: Source | None = None
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"source": self.source.id if self.source else None}


@dataclass(frozen=True)
class Found:
    """What was found, as far as gaps show in it."""

    cells: Sequence[Cell]
    notes: Sequence[Note]
    service: dict[str, Any] | None
    robustness: bool
    drill: bool
    data_sheet: bool
    sources: tuple[Source, ...]


def find_gaps(config: AssessmentConfig, found: Found) -> Iterator[Gap]:
    """Yield what is missing, the measurements first."""
    given = "not_given"
    for note in found.notes:
        yield Gap("file", note.why, source=note.source, detail=note.detail or None)
    errors = {cell.axis for cell in found.cells if cell.measure in ERRORS}
    for axis in WANTED_AXES:
        if axis not in errors:
            yield Gap("axis", given, topic=f"axis.{axis}")
    if not found.robustness:
        yield Gap("robustness", given)
    if not found.drill:
        yield Gap("drill", given)
    measures = {cell.measure for cell in found.cells}
    for measure, what in (
        ("abstention", "abstention"), ("disagreement", "reviews"), ("latency_p95_s", "latency"),
        ("drift", "drift"), ("audit", "audit"),
    ):  # fmt: skip
        if measure not in measures:
            yield Gap(what, given)
    if found.service is None:
        yield Gap("service", given)
    elif found.service["audit"]["expected"] is None:
        yield Gap("audit_head", "no_head")
    if not found.data_sheet:
        yield Gap("data_sheet", given)
    for topic in dataclasses.fields(config.scope):
        if getattr(config.scope, topic.name) is None:
            yield Gap("scope", "not_stated", topic=f"scope.{topic.name}")
    for control in Texts("en", config.template).under("control"):
        if control not in config.controls:
            yield Gap("control", "not_stated", topic=f"control.{control}")
    if config.conclusion.text is None:
        yield Gap("conclusion", "not_stated")
    for source in found.sources:
        if source.command is None and source.is_measured:
            yield Gap("command", "no_command", source=source)
