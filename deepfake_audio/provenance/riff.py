"""AIGC labels and C2PA manifests in WAV (RIFF and RF64) and AIFF.

The label is a chunk ``AIGC``; tools that know no such chunk put it into the INFO list or an ID3
tag. A new one goes behind all others: players that expect the samples at byte 44 find them there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .._containers import SeekableFile
from ..errors import CorruptAudioError, UnsupportedFormatError
from . import id3
from .edits import Edit
from .places import AIGC, MAX_ITEMS, MAX_LABEL_BYTES, Found, is_label, label, read_at

_UNKNOWN = 0xFFFFFFFF
_ID = AIGC.encode()


@dataclass(frozen=True)
class _Chunk:
    """A chunk: its header begins at `start`, its content lies between `begin` and `end`."""

    name: bytes
    start: int
    end: int

    @property
    def begin(self) -> int:
        return self.start + 8


def find(file: SeekableFile, size: int) -> Iterator[Found]:
    """Yield what a WAV or AIFF file of `size` bytes holds."""
    for chunk in _chunks(file, size):
        n_bytes = chunk.end - chunk.begin
        if chunk.name.upper() == _ID:
            content = read_at(file, chunk.begin, min(n_bytes, MAX_LABEL_BYTES + 1))
            yield label(f"RIFF chunk {_text(chunk.name)}", content)
        elif chunk.name == b"C2PA":
            yield Found("c2pa", "RIFF chunk C2PA", n_bytes)
        elif chunk.name == b"LIST" and n_bytes <= 16 * MAX_LABEL_BYTES:
            yield from _find_info(read_at(file, chunk.begin, n_bytes))
        elif chunk.name.upper() == b"ID3 ":
            yield from id3.find_in_chunk(file, chunk.begin, chunk.end)


def edits(file: SeekableFile, size: int, text: str) -> list[Edit]:
    """Return how to write a label into a WAV file, in place of any in its AIGC chunk.

    Raises
    ------
    CorruptAudioError
        If chunks are longer than the file, or of unknown length.
    UnsupportedFormatError
        If the file would become too long for its format, or is no WAV.
    """
    head = read_at(file, 0, 12)
    if head[:4] not in (b"RIFF", b"RF64"):
        raise UnsupportedFormatError("labels are written into RIFF and RF64 files only")
    chunks = list(_chunks(file, size))
    end = chunks[-1].end + (chunks[-1].end & 1) if chunks else 0
    names = [chunk.name for chunk in chunks]
    # Of a program that writes to a pipe; what follows is sound, and not chunks.
    unfinished = any(chunk.name == b"data" and chunk.end == chunk.begin for chunk in chunks)
    complete = b"data" in names and chunks[-1].end <= size and len(chunks) < MAX_ITEMS
    if unfinished or not complete:
        raise CorruptAudioError(
            "its chunks do not end where the file does", hint="write the file anew, and label that"
        )
    content = text.encode()
    new = _ID + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)
    changes = [
        Edit(chunk.start, min(size, chunk.end + (chunk.end & 1)), b"")
        for chunk in chunks
        if chunk.name.upper() == _ID
    ]
    padding = (
        b"\0" * (end - size) if end > size and not (changes and changes[-1].end == size) else b""
    )
    changes.append(Edit(min(end, size), min(end, size), padding + new))
    riff_bytes = min(end, size) + sum(edit.growth for edit in changes) - 8
    if head[:4] == b"RF64":
        if names[0] != b"ds64":
            raise CorruptAudioError("an RF64 file without its sizes", hint="write it anew")
        at = chunks[0].begin
        return [*changes, Edit(at, at + 8, struct.pack("<Q", riff_bytes))]
    if riff_bytes >= _UNKNOWN:
        raise UnsupportedFormatError("too long for a RIFF file", hint="convert it to RF64")
    return [*changes, Edit(4, 8, struct.pack("<I", riff_bytes))]


def _chunks(file: SeekableFile, size: int) -> Iterator[_Chunk]:
    """Yield the chunks; the last may be longer than the file."""
    head = read_at(file, 0, 12)
    order = ">" if head[:4] in (b"FORM", b"RIFX") else "<"
    position, data_bytes, limit = 12, 0, size
    if len(head) == 12 and head[:4] != b"RF64":
        (stated,) = struct.unpack(order + "I", head[4:8])
        # Bytes behind the end that is stated are not chunks; programs that write to a pipe state 0.
        if 12 < stated + 8 <= size:
            limit = stated + 8
    for _ in range(MAX_ITEMS):
        header = read_at(file, position, 8)
        if len(header) < 8 or position + 8 > limit:
            return
        name, length = header[:4], struct.unpack(order + "I", header[4:])[0]
        if name == b"ds64":
            sizes = read_at(file, position + 8, 16)
            data_bytes = struct.unpack("<Q", sizes[8:])[0] if len(sizes) == 16 else 0
        if name == b"data" and length == _UNKNOWN and head[:4] == b"RF64":
            length = data_bytes
        chunk = _Chunk(name, position, position + 8 + length)
        yield chunk
        position = chunk.end + (length & 1)


def _find_info(content: bytes) -> Iterator[Found]:
    position = 4
    while content[:4] == b"INFO" and position + 8 <= len(content):
        name, length = struct.unpack("<4sI", content[position : position + 8])
        value = content[position + 8 : position + 8 + length].rstrip(b"\0")
        if is_label(_text(name), value):
            yield label(f"INFO list, {_text(name)}", value)
        position += 8 + length + (length & 1)


def _text(name: bytes) -> str:
    return name.decode("latin-1")
