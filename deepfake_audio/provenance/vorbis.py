"""AIGC labels in Vorbis comments, the list of `NAME=value` that FLAC and Ogg share."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CorruptAudioError
from .places import AIGC, MAX_ITEMS, Found, is_label, label


@dataclass(frozen=True)
class Comments:
    """A list of comments as bytes, none of them changed by reading and writing.

    Attributes
    ----------
    vendor : bytes
        Who encoded the audio.
    entries : tuple of bytes
        ``NAME=value``.
    rest : bytes
        What follows the list.
    """

    vendor: bytes
    entries: tuple[bytes, ...]
    rest: bytes

    @classmethod
    def parse(cls, data: bytes) -> Comments:
        """Read a list.

        Raises
        ------
        CorruptAudioError
            If it is longer than its bytes, or has too many entries.
        """
        vendor, position = _take(data, 0)
        (count,) = struct.unpack("<I", data[position : position + 4].ljust(4, b"\xff"))
        if count > MAX_ITEMS:
            raise _broken()
        position += 4
        entries = []
        for _ in range(count):
            entry, position = _take(data, position)
            entries.append(entry)
        return cls(vendor, tuple(entries), data[position:])

    def with_label(self, text: str) -> Comments:
        """Return the list with a label in place of any other."""
        kept = tuple(entry for entry in self.entries if not _is_label(entry))
        return Comments(self.vendor, (*kept, f"{AIGC}={text}".encode()), self.rest)

    def to_bytes(self) -> bytes:
        """Return the list as it is stored."""
        fields = [_counted(self.vendor), struct.pack("<I", len(self.entries))]
        return b"".join([*fields, *map(_counted, self.entries), self.rest])

    def find(self, where: str) -> Iterator[Found]:
        """Yield the labels among the entries; `where` says what the list belongs to."""
        for entry in self.entries:
            if _is_label(entry):
                name, _, value = entry.partition(b"=")
                yield label(f"{where} {name[:40].decode('latin-1').upper()}", value)


def _is_label(entry: bytes) -> bool:
    name, _, value = entry.partition(b"=")
    return is_label(name[:512].decode("latin-1"), value)


def _take(data: bytes, position: int) -> tuple[bytes, int]:
    begin = position + 4
    length = int.from_bytes(data[position:begin], "little")
    end = begin + length
    if begin > len(data) or end > len(data):
        raise _broken()
    return data[begin:end], end


def _counted(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _broken() -> CorruptAudioError:
    return CorruptAudioError("its comments cannot be read", hint="write the tags anew")
