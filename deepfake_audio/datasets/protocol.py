"""Official protocols: one line a trial, plain or gzipped."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from ..errors import DatasetError

PathLike = str | os.PathLike[str]

LABELS = ("bonafide", "spoof")

# Where protocols of the later challenges name codec or transmission: columns -> index.
_CHANNEL_COLUMN = {8: 2, 9: 2, 10: 3, 13: 2}


class ProtocolRow(NamedTuple):
    """One trial of a countermeasure protocol; ``attack`` is empty for bona fide speech."""

    speaker: str
    id: str
    attack: str
    label: str
    channel: str = ""


def read_protocol(path: PathLike) -> list[ProtocolRow]:
    """Read a protocol: ``speaker id - attack key`` (2019), or that of 2021 or ASVspoof 5.

    The key is the column that says ``bonafide`` or ``spoof`` last, the attack the one before.

    Raises
    ------
    DatasetError
        If the file cannot be read, a line is malformed, or an id occurs twice.
    """
    rows = []
    for number, fields in read_lines(path):
        row = protocol_row(fields)
        if row is None:
            raise DatasetError(
                f"line {number} is not 'speaker id - attack key'", name=Path(path).name
            )
        rows.append(row)
    require_unique((row.id for row in rows), path)
    return rows


def protocol_row(fields: list[str]) -> ProtocolRow | None:
    """Return the trial that a line names, or None if it names none."""
    at = max((i for i, field in enumerate(fields) if field in LABELS), default=-1)
    if at < 3:
        return None
    attack = "" if fields[at - 1] in ("-", *LABELS) else fields[at - 1]
    column = _CHANNEL_COLUMN.get(len(fields))
    channel = "" if column is None or fields[column] == "-" else fields[column]
    return ProtocolRow(fields[0], fields[1], attack, fields[at], channel)


@contextmanager
def open_text(path: PathLike, mode: str) -> Iterator[TextIO]:
    """Open a text file, gzipped if its name says so."""
    compressed = os.fspath(path).endswith(".gz")
    with (
        gzip.open(path, mode, encoding="utf-8")
        if compressed
        else open(path, mode, encoding="utf-8") as file
    ):
        yield file  # type: ignore[misc]


def read_lines(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    """Give number and fields of each line that is not blank."""
    try:
        with open_text(path, "rt") as file:
            for number, line in enumerate(file, start=1):
                if fields := line.split():
                    yield number, fields
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"cannot be read: {reason}", name=Path(path).name) from error


def require_unique(ids: Iterable[str], path: PathLike) -> None:
    """Refuse a file in which an id occurs twice, or none at all."""
    seen: set[str] = set()
    for i in ids:
        if i in seen:
            raise DatasetError(f"id {i} occurs more than once", name=Path(path).name)
        seen.add(i)
    if not seen:
        raise DatasetError("holds no trials", name=Path(path).name)
