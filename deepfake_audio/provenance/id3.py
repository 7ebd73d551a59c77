"""AIGC labels and C2PA manifests in ID3v2 tags: of MP3, and inside of FLAC, AAC, WAV and AIFF.

The label is a frame ``TXXX`` with the description ``AIGC``, a manifest a frame ``GEOB`` with the
type ``application/c2pa`` (id3.org, ID3v2.2, 2.3.0 and 2.4.0).
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .._containers import SeekableFile
from ..errors import CorruptAudioError, UnsupportedFormatError
from .edits import Edit
from .places import AIGC, MAX_ITEMS, MAX_LABEL_BYTES, MAX_TAG_BYTES, Found, is_label, label, read_at

_UNSYNCHRONISED, _EXTENDED, _FOOTER = 0x80, 0x40, 0x10  # flags of a tag
_C2PA_TYPES = ("application/c2pa", "application/x-c2pa-manifest-store")
_FRAME_NAME = re.compile(rb"[A-Z0-9]{3,4}")
_MAX_TAGS = 8


@dataclass(frozen=True)
class _Tag:
    """A tag, and its frames with the padding behind them."""

    version: int
    start: int
    end: int
    flags: int
    frames: bytes


@dataclass(frozen=True)
class _Frame:
    """A frame: its bytes as they stand in the tag, and its content made readable."""

    name: str
    raw: bytes
    content: bytes


def find(file: SeekableFile, size: int) -> Iterator[Found]:
    """Yield what the tags at the beginning of a file hold."""
    yield from find_in_chunk(file, 0, size)


def find_in_chunk(file: SeekableFile, start: int, end: int) -> Iterator[Found]:
    """Yield what the tags hold that begin at `start` and follow each other until `end`."""
    for _ in range(_MAX_TAGS):
        length = tag_bytes(file, start)
        if not length or start >= end:
            return
        tag = _read_tag(file, start)
        if tag is not None:
            for frame in _frames(tag):
                yield from _found(frame)
        start += length


def tag_bytes(file: SeekableFile, start: int) -> int:
    """Return the length of the tag that begins at `start`, 0 if there is none."""
    head = read_at(file, start, 10)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
        return 0
    return 10 + _synchsafe(head[6:]) + (10 if head[5] & _FOOTER else 0)


def edits(file: SeekableFile, size: int, text: str) -> list[Edit]:
    """Return how to write a label into the first tag of an MP3 file, or into a tag of its own.

    The other frames stay as they are. What is given up is what would no longer be true: the
    extended header with its checksum, and unsynchronisation, which no player needs any more.

    Raises
    ------
    CorruptAudioError, UnsupportedFormatError
        If there is a tag that cannot be rewritten.
    """
    length = tag_bytes(file, 0)
    if not length:
        frame = _text_frame(3, text)
        return [Edit(0, 0, _header(3, 0, len(frame)) + frame)]
    tag = _read_tag(file, 0)
    if tag is None or length > size:
        raise CorruptAudioError("its ID3 tag cannot be read", hint="repair or remove the tag")
    if tag.version == 2:
        raise UnsupportedFormatError(
            "has an ID3v2.2 tag, which is too old to be changed", hint="convert the tag to ID3v2.3"
        )
    frames = list(_frames(tag))
    kept = [frame.raw for frame in frames if not any(f.kind == "aigc" for f in _found(frame))]
    used = sum(len(frame.raw) for frame in frames)
    if tag.frames[used:].strip(b"\0"):
        raise CorruptAudioError("its ID3 tag cannot be read", hint="repair or remove the tag")
    body = b"".join([*kept, _text_frame(tag.version, text)])
    if tag.version == 3 or not tag.flags & _UNSYNCHRONISED:
        flags = tag.flags & ~(_UNSYNCHRONISED | _EXTENDED | _FOOTER)
    else:
        flags = _UNSYNCHRONISED  # says so of each frame as it stands; ours holds no byte 255
    # The padding is used up first, so that often nothing behind the tag moves.
    body = body.ljust(length - 10, b"\0")
    return [Edit(0, length, _header(tag.version, flags, len(body)) + body)]


def _read_tag(file: SeekableFile, start: int) -> _Tag | None:
    length = tag_bytes(file, start)
    if not length or length > MAX_TAG_BYTES:
        return None
    data = read_at(file, start, length)
    version, flags = data[3], data[5]
    if version not in (2, 3, 4) or len(data) < length:
        return None
    frames = data[10 : length - (10 if flags & _FOOTER else 0)]
    if version < 4 and flags & _UNSYNCHRONISED:
        frames = _resynchronised(frames)
    if version > 2 and flags & _EXTENDED and len(frames) >= 4:
        # In 2.3 the size leaves out its own four bytes.
        extended = 4 + int.from_bytes(frames[:4], "big") if version == 3 else _synchsafe(frames[:4])
        frames = frames[extended:]
    return _Tag(version, start, start + length, flags, frames)


def _frames(tag: _Tag) -> Iterator[_Frame]:
    data, position = tag.frames, 0
    n_name, n_header = (3, 6) if tag.version == 2 else (4, 10)
    for _ in range(MAX_ITEMS):
        header = data[position : position + n_header]
        if len(header) < n_header or not _FRAME_NAME.fullmatch(header[:n_name]):
            return
        length = _frame_bytes(tag.version, data, position)
        end = position + n_header + length
        if end > len(data):
            return
        raw = data[position:end]
        flags = header[9] if tag.version > 2 else 0
        content = _content(tag, flags, raw[n_header:])
        yield _Frame(header[:n_name].decode("ascii"), raw, content)
        position = end


def _frame_bytes(version: int, data: bytes, position: int) -> int:
    if version == 2:
        return int.from_bytes(data[position + 3 : position + 6], "big")
    stated = data[position + 4 : position + 8]
    plain = int.from_bytes(stated, "big")
    if version == 3:
        return plain
    length = _synchsafe(stated)
    # Old versions of iTunes wrote sizes of eight bits a byte into tags of version 2.4.
    if length != plain and not _leads_on(data, position + 10 + length):
        return plain if max(stated) > 127 or _leads_on(data, position + 10 + plain) else length
    return length


def _leads_on(data: bytes, position: int) -> bool:
    """Tell whether a frame, padding or the end is here."""
    following = data[position : position + 4]
    return position <= len(data) and (
        not following.strip(b"\0") or bool(_FRAME_NAME.fullmatch(following))
    )


def _content(tag: _Tag, flags: int, content: bytes) -> bytes:
    """Undo what was done to the content of a frame; empty if that is not possible."""
    if tag.version == 3:
        compressed, encrypted, grouped = flags & 0x80, flags & 0x40, flags & 0x20
        skip = (4 if compressed else 0) + (1 if grouped else 0)
    elif tag.version == 4:
        compressed, encrypted, grouped = flags & 0x08, flags & 0x04, flags & 0x40
        skip = (4 if flags & 0x01 else 0) + (1 if grouped else 0)
        if flags & 0x02 or tag.flags & _UNSYNCHRONISED:
            content = _resynchronised(content)
    else:
        return content
    if encrypted:
        return b""
    content = content[skip:]
    if not compressed:
        return content
    try:
        return zlib.decompressobj().decompress(content, MAX_LABEL_BYTES + 1024)
    except zlib.error:
        return b""


def _found(frame: _Frame) -> Iterator[Found]:
    if frame.name in ("TXXX", "TXX"):
        name, value = _split(frame.content[1:], frame.content[:1])
        text = _as_text(value, frame.content[:1])
        if is_label(described := _described(name, frame.content[:1]), text):
            yield label(f"ID3 TXXX:{described[:40]}", text)
    elif frame.name in ("COMM", "COM"):
        name, value = _split(frame.content[4:], frame.content[:1])  # behind a language
        text = _as_text(value, frame.content[:1])
        if is_label(_described(name, frame.content[:1]), text):
            yield label("ID3 COMM", text)
    elif frame.name in ("GEOB", "GEO"):
        kind, _, rest = frame.content[1:].partition(b"\0")
        if kind.decode("latin-1").lower() in _C2PA_TYPES:
            for _ in ("file name", "description"):
                _, rest = _split(rest, frame.content[:1])
            yield Found("c2pa", "ID3 GEOB", len(rest))


def _split(content: bytes, encoding: bytes) -> tuple[bytes, bytes]:
    """Return a text up to its terminator, and what is behind that."""
    if encoding not in (b"\1", b"\2"):
        first, _, rest = content.partition(b"\0")
        return first, rest
    at = content.find(b"\0\0")
    while at >= 0 and at % 2:  # two zeros that belong to two characters
        at = content.find(b"\0\0", at + 1)
    return (content[:at], content[at + 2 :]) if at >= 0 else (content, b"")


def _described(name: bytes, encoding: bytes) -> str:
    text = _as_text(name[:512], encoding)
    return text if isinstance(text, str) else text.decode("latin-1")


def _as_text(value: bytes, encoding: bytes) -> bytes | str:
    """Return a text; what is said to be Latin-1 stays bytes, as it often is something else."""
    if encoding == b"\1":
        big = value[:2] == b"\xfe\xff"
        marked = big or value[:2] == b"\xff\xfe"
        text = value[2 if marked else 0 :].decode("utf-16-be" if big else "utf-16-le", "replace")
        return text.split("\0")[0]
    if encoding == b"\2":
        return value.decode("utf-16-be", "replace").split("\0")[0]
    return value.split(b"\0")[0]


def _text_frame(version: int, text: str) -> bytes:
    """Return a TXXX frame; of the encodings each version has, the plainest that will do."""
    name = AIGC.encode()
    if text.isascii():
        content = b"\0" + name + b"\0" + text.encode()
    elif version == 4:
        content = b"\3" + name + b"\0" + text.encode()
    else:
        encoded = (part.encode("utf-16-le") for part in (AIGC + "\0", text))
        content = b"\1" + b"".join(itertools.chain.from_iterable((b"\xff\xfe", e) for e in encoded))
    size = _to_synchsafe(len(content)) if version == 4 else len(content).to_bytes(4, "big")
    return b"TXXX" + size + b"\0\0" + content


def _header(version: int, flags: int, length: int) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + _to_synchsafe(length)


def _synchsafe(size: bytes) -> int:
    """Read four bytes of seven bits each."""
    value = 0
    for byte in size:
        value = value << 7 | (byte & 0x7F)
    return value


def _to_synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def _resynchronised(data: bytes) -> bytes:
    return data.replace(b"\xff\0", b"\xff")
