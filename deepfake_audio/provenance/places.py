"""What the readers of all containers share: bounded reading, and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._containers import SeekableFile
from ..errors import CorruptAudioError

MAX_LABEL_BYTES = 64 * 1024
"""A longer label is not read; those of the standard take some hundred bytes."""

MAX_TAG_BYTES = 32 * 1024**2
"""Tags with pictures are long; a longer one is not looked into."""

MAX_ITEMS = 10_000
"""Most chunks, boxes, frames or comments visited in a row; hostile files have millions."""

MAX_READS = 100_000
"""Most pieces read in the search through one file, however they are nested."""

AIGC = "AIGC"
"""The name of the field; GB 45438-2025, appendix E."""

_MAX_POSITION = 1 << 62


@dataclass(frozen=True)
class Found:
    """Something that was found in a file.

    Attributes
    ----------
    kind : {"aigc", "c2pa"}
        An AIGC label or a C2PA manifest.
    where : str
        The place in the words of the container, such as ``RIFF chunk AIGC``.
    n_bytes : int
        Its size.
    value : bytes or str or None
        The label, as text where the container states its encoding; None for a manifest, and for
        a label of more than :data:`MAX_LABEL_BYTES`.
    """

    kind: Literal["aigc", "c2pa"]
    where: str
    n_bytes: int
    value: bytes | str | None = None


class Metered:
    """A file that is given up as damaged once there were more reads than :data:`MAX_READS`."""

    def __init__(self, file: SeekableFile) -> None:
        self._file = file
        self._left = MAX_READS

    def read(self, count: int, /) -> bytes:
        """Return up to `count` bytes."""
        self._left -= 1
        if self._left < 0:
            raise CorruptAudioError("has too many parts", hint="write the file anew")
        return self._file.read(count)

    def seek(self, offset: int, /) -> int:
        """Move to an absolute position."""
        return self._file.seek(offset)


def read_at(file: SeekableFile, position: int, count: int) -> bytes:
    """Return up to `count` bytes from a position, which may be absurd in a damaged file."""
    if count <= 0 or position >= _MAX_POSITION:
        return b""
    file.seek(position)
    return file.read(count)


def label(where: str, value: bytes | str) -> Found:
    """Return a label that was found; without its text if that is too long."""
    return Found("aigc", where, len(value), value if len(value) <= MAX_LABEL_BYTES else None)


def is_label(name: str, value: bytes | str) -> bool:
    """Tell whether a named text is an AIGC label.

    The name has to contain ``AIGC``; some tools put the same JSON into a comment.
    """
    start = value[:64].lstrip()
    begins = start.startswith(b'{"AIGC"') if isinstance(start, bytes) else start[:7] == '{"AIGC"'
    return AIGC in name.upper() or begins
