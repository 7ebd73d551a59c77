"""AIGC labels and C2PA manifests in FLAC (RFC 9639): the metadata blocks in front of the audio.

The label is a Vorbis comment ``AIGC``. A manifest is in an ID3 tag in front of the file, or, from
older tools, in an APPLICATION block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .._containers import SeekableFile
from ..errors import CorruptAudioError, UnsupportedFormatError
from . import id3
from .edits import Edit
from .places import MAX_ITEMS, Found, read_at
from .vorbis import Comments

_PADDING, _APPLICATION, _COMMENTS = 1, 2, 4
_LAST = 0x80


@dataclass(frozen=True)
class _Block:
    """A metadata block: its header begins at `start`, its content lies from `begin` to `end`."""

    kind: int
    is_last: bool
    start: int
    end: int

    @property
    def begin(self) -> int:
        return self.start + 4


def find(file: SeekableFile, size: int) -> Iterator[Found]:
    """Yield what a FLAC file holds."""
    yield from id3.find(file, size)
    for block in _blocks(file):
        if block.kind == _COMMENTS:
            yield from Comments.parse(_content(file, block)).find("Vorbis comment")
        elif block.kind == _APPLICATION and read_at(file, block.begin, 4) == b"c2pa":
            yield Found("c2pa", "FLAC APPLICATION block", block.end - block.begin - 4)


def edits(file: SeekableFile, size: int, text: str) -> list[Edit]:
    """Return how to write a label among the comments; padding is used up before the file grows.

    Raises
    ------
    CorruptAudioError, UnsupportedFormatError
        If the blocks cannot be read, or there is no room for the label in one.
    """
    blocks = list(_blocks(file))
    if not blocks or not blocks[-1].is_last or blocks[-1].end > size:
        raise CorruptAudioError("its metadata blocks cannot be read", hint="write the file anew")
    there = next((block for block in blocks if block.kind == _COMMENTS), None)
    if there is None:
        # Right behind STREAMINFO, which comes first and may have been the last.
        first = blocks[0]
        comments = Comments(b"", (), b"").with_label(text).to_bytes()
        new = _header(_COMMENTS, first.is_last, len(comments)) + comments
        changes = [Edit(first.end, first.end, new)]
        if first.is_last:
            kind = read_at(file, first.start, 1)[0] & ~_LAST
            changes.append(Edit(first.start, first.start + 1, bytes([kind])))
    else:
        comments = Comments.parse(_content(file, there)).with_label(text).to_bytes()
        new = _header(_COMMENTS, there.is_last, len(comments)) + comments
        changes = [Edit(there.start, there.end, new)]
    growth = sum(change.growth for change in changes)
    for block in blocks:
        room = block.end - block.begin
        if block.kind == _PADDING and 0 < growth <= room:
            header = _header(_PADDING, block.is_last, room - growth)
            changes += [
                Edit(block.start, block.begin, header),
                Edit(block.end - growth, block.end, b""),
            ]
            break
    return changes


def _blocks(file: SeekableFile) -> Iterator[_Block]:
    start = 0
    for _ in range(8):
        start += id3.tag_bytes(file, start)
    if read_at(file, start, 4) != b"fLaC":
        return
    start += 4
    for _ in range(MAX_ITEMS):
        header = read_at(file, start, 4)
        if len(header) < 4:
            return
        end = start + 4 + int.from_bytes(header[1:], "big")
        block = _Block(header[0] & ~_LAST, bool(header[0] & _LAST), start, end)
        yield block
        if block.is_last:
            return
        start = end


def _content(file: SeekableFile, block: _Block) -> bytes:
    return read_at(file, block.begin, block.end - block.begin)  # 16 MiB at most


def _header(kind: int, is_last: bool, length: int) -> bytes:
    if length >= 1 << 24:
        raise UnsupportedFormatError("no room for a label in its comments", hint="remove pictures")
    return bytes([kind | (_LAST if is_last else 0)]) + length.to_bytes(3, "big")
