"""Changing a file without touching the rest of it: a list of edits, and the list that undoes them.

A writer of labels says which bytes become which. All others are copied, so the encoded audio
cannot change, and the way back is known exactly.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, order=True)
class Edit:
    """The bytes from `start` to `end` become `new`."""

    start: int
    end: int
    new: bytes

    @property
    def growth(self) -> int:
        """Bytes by which the file gets longer."""
        return len(self.new) - (self.end - self.start)


def apply(source: BinaryIO, edits: Iterable[Edit], target: BinaryIO) -> None:
    """Copy `source` to `target` with edits that do not overlap."""
    position = 0
    for edit in sorted(edits):
        assert edit.start >= position, "edits overlap"
        _copy(source, position, edit.start, target)
        target.write(edit.new)
        position = edit.end
    _copy(source, position, None, target)


def inverse(source: BinaryIO, edits: Iterable[Edit]) -> list[Edit]:
    """Return the edits that turn the edited file into `source` again."""
    undo, shift = [], 0
    for edit in sorted(edits):
        source.seek(edit.start)
        start = edit.start + shift
        old = source.read(edit.end - edit.start)
        undo.append(Edit(start, start + len(edit.new), old))
        shift += edit.growth
    return undo


def sha256(file: BinaryIO) -> str:
    """Return the hash of a whole file, in hexadecimal."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


class Replacement:
    """A new version of a file, which takes its place whole or not at all.

    Parameters
    ----------
    path : Path
        What will be replaced, or made.
    like : Path, optional
        A file whose permissions the new one gets.

    Attributes
    ----------
    file : binary file object
        To be written; lies in the same folder until :meth:`commit`.
    """

    def __init__(self, path: Path, like: Path | None = None) -> None:
        self._path = path
        self._like = like
        descriptor, self._temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        self.file = os.fdopen(descriptor, "w+b")

    def commit(self) -> None:
        """Put the file in its place; after a power failure there is the old one or the new."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self._like is not None:
            shutil.copymode(self._like, self._temporary)
        os.replace(self._temporary, self._path)
        with suppress(OSError):  # not every system can sync a folder
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._temporary)


def _copy(source: BinaryIO, start: int, end: int | None, target: BinaryIO) -> None:
    source.seek(start)
    while end is None or start < end:
        chunk = source.read(_COPY_BYTES if end is None else min(_COPY_BYTES, end - start))
        if not chunk:
            break
        target.write(chunk)
        start += len(chunk)
