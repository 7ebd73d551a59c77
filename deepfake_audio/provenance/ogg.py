"""AIGC labels in Ogg (RFC 3533): Vorbis, Opus, Speex and FLAC.

The comments are the second packet of a stream and may fill many pages. If a label makes them fill
another number of pages, all later pages of the stream are numbered anew, checksums included; their
content stays.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from .._containers import SeekableFile
from ..errors import CorruptAudioError
from .edits import Edit
from .places import MAX_ITEMS, MAX_TAG_BYTES, Found, read_at
from .vorbis import Comments

_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST = 1, 2
_SEGMENTS = 255  # of up to as many bytes: the most a page holds
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# First bytes of the first packet, and those in front of the comments in the second. FLAC has the
# header of a metadata block there, with the length of the comments.
_CODECS = ((b"\x01vorbis", b"\x03vorbis"), (b"OpusHead", b"OpusTags"), (b"Speex   ", b""))
_FLAC = b"\x7fFLAC"


@dataclass(frozen=True)
class _Page:
    """A page: its header begins at `start`, its packets lie between `begin` and `end`."""

    start: int
    end: int
    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes

    @property
    def begin(self) -> int:
        return self.start + _HEADER.size + len(self.lacing)


@dataclass
class _Head:
    """The pages from the comments up to where the codec's headers end on a page."""

    prefix: bytes
    first: bytes
    pages: list[_Page] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)


def find(file: SeekableFile, size: int) -> Iterator[Found]:
    """Yield the labels of the first stream of sound in an Ogg file."""
    head = _read_head(file)
    if head is not None:
        comments = Comments.parse(head.packets[0][len(head.prefix) :])
        yield from comments.find("Vorbis comment")


def edits(file: SeekableFile, size: int, text: str) -> list[Edit]:
    """Return how to write a label among the comments of the first stream of sound.

    Raises
    ------
    CorruptAudioError
        If the comments cannot be read, or the pages behind them.
    """
    head = _read_head(file)
    if head is None:
        raise CorruptAudioError("its comments cannot be read", hint="write the file anew")
    packet, *others = head.packets
    comments = Comments.parse(packet[len(head.prefix) :])
    if head.prefix[:4] == b"Opus" and comments.rest and not comments.rest[0] & 1:
        # Padding, unless its first bit says that it is to be kept (RFC 7845, 5.2).
        comments = Comments(comments.vendor, comments.entries, b"")
    body = comments.with_label(text).to_bytes()
    prefix = head.prefix
    if head.first.startswith(_FLAC):
        prefix = prefix[:1] + len(body).to_bytes(3, "big")
    first, *rest = head.pages
    pages = _paginate([prefix + body, *others], first)
    changes = [Edit(first.start, first.end, b"".join(pages))]
    changes += [Edit(page.start, page.end, b"") for page in rest]
    added = len(pages) - len(head.pages)
    if added:
        changes += _renumbered(file, head.pages[-1], added)
    return changes


def _read_head(file: SeekableFile) -> _Head | None:
    """Find the first stream of sound, and read its pages with headers; None if there is none."""
    head: _Head | None = None
    serial, held, packet = -1, 0, bytearray()
    for count, page in enumerate(_pages(file, 0)):
        if count > MAX_ITEMS or held > MAX_TAG_BYTES:
            return None
        if head is None:
            if not page.flags & _FIRST:
                return None
            head = _begin(read_at(file, page.begin, min(64, page.end - page.begin)))
            serial = page.serial
            continue
        if page.serial != serial:
            continue
        head.pages.append(page)
        content = read_at(file, page.begin, page.end - page.begin)
        if len(content) < page.end - page.begin:
            return None
        held += len(content)
        position = 0
        for length in page.lacing:
            packet += content[position : position + length]
            position += length
            if length < 255:
                head.packets.append(bytes(packet))
                packet.clear()
        if head.packets and page.lacing[-1:] != b"\xff":
            return _checked(head)
    return None


def _begin(packet: bytes) -> _Head | None:
    for first, prefix in _CODECS:
        if packet.startswith(first):
            return _Head(prefix, packet)
    return _Head(b"\4\0\0\0", packet) if packet.startswith(_FLAC) else None


def _checked(head: _Head) -> _Head | None:
    comments = head.packets[0]
    if head.first.startswith(_FLAC):
        if comments[:1] and comments[0] & 0x7F == 4:
            head.prefix = comments[:4]
            return head
        return None
    return head if comments.startswith(head.prefix) else None


def _pages(file: SeekableFile, position: int) -> Iterator[_Page]:
    """Yield the pages that follow each other from a position on."""
    while True:
        header = read_at(file, position, _HEADER.size + _SEGMENTS)
        if len(header) < _HEADER.size or header[:5] != b"OggS\0":
            return
        _, _, flags, granule, serial, number, _, n_segments = _HEADER.unpack(header[: _HEADER.size])
        lacing = header[_HEADER.size : _HEADER.size + n_segments]
        end = position + _HEADER.size + n_segments + sum(lacing)
        yield _Page(position, end, flags, granule, serial, number, lacing)
        position = end


def _paginate(packets: list[bytes], first: _Page) -> list[bytes]:
    """Lay packets onto as few pages as hold them, numbered from the first page's number on."""
    lacing = bytearray()
    for packet in packets:
        full, left = divmod(len(packet), 255)
        lacing += b"\xff" * full + bytes([left])
    content, position = b"".join(packets), 0
    pages: list[bytes] = []
    for at in range(0, len(lacing), _SEGMENTS):
        part = bytes(lacing[at : at + _SEGMENTS])
        continued = _CONTINUED if at and lacing[at - 1] == 255 else 0
        # A page on which no packet ends has no position.
        granule = 0 if min(part) < 255 else -1
        number = first.number + len(pages)
        header = _HEADER.pack(b"OggS", 0, continued, granule, first.serial, number, 0, len(part))
        pages.append(_sealed(header + part + content[position : position + sum(part)]))
        position += sum(part)
    return pages


def _renumbered(file: SeekableFile, last: _Page, added: int) -> Iterator[Edit]:
    """Yield new numbers and checksums for the pages of a stream behind `last`."""
    for page in _pages(file, last.end):
        if page.serial != last.serial:
            continue
        if page.flags & _FIRST:  # another recording that was joined to this one
            return
        content = read_at(file, page.start, page.end - page.start)
        if len(content) < page.end - page.start:
            raise CorruptAudioError("breaks off in the middle of a page", hint="write it anew")
        number = struct.pack("<I", (page.number + added) & 0xFFFFFFFF)
        sealed = _sealed(content[:18] + number + content[22:])
        yield Edit(page.start + 18, page.start + 26, sealed[18:26])


def _sealed(page: bytes) -> bytes:
    """Return a page with its checksum."""
    blank = page[:22] + bytes(4) + page[26:]
    # The CRC of Ogg is that of zlib with bits in the other order, and with nothing inverted.
    inverted = zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    crc = int(f"{inverted:032b}"[::-1], 2)
    return page[:22] + struct.pack("<I", crc) + page[26:]
