"""AIGC labels and C2PA manifests in MP4 and M4A (ISO 14496-12) and QuickTime.

The label is an item ``----`` named ``com.apple.iTunes``, ``AIGC`` in ``moov/udta/meta/ilst``; a
manifest is a box ``uuid`` (C2PA specification, embedding in BMFF). Where the index ``moov`` stands
in front of the samples, their addresses in it move with them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._containers import SeekableFile
from ..errors import CorruptAudioError, UnsupportedFormatError
from .edits import Edit
from .places import AIGC, MAX_ITEMS, MAX_LABEL_BYTES, Found, is_label, label, read_at

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_C2PA_PURPOSES = (b"manifest", b"original", b"update")
_ITUNES = b"com.apple.iTunes"
_MAX_INDEX_BYTES = 64 * 1024**2
_ADDRESSES = {b"stco": ">u4", b"co64": ">u8"}
_ENCRYPTED = b"saio"  # has addresses, too, of a kind that is not moved here


@dataclass(frozen=True)
class _Box:
    """A box: its header begins at `start`, its content lies between `begin` and `end`."""

    kind: bytes
    start: int
    begin: int
    end: int


def find(file: SeekableFile, size: int) -> Iterator[Found]:
    """Yield what an MP4 file of `size` bytes holds."""
    for box in _boxes(file, 0, size):
        if box.kind == b"uuid" and read_at(file, box.begin, 16) == C2PA_UUID:
            purpose = read_at(file, box.begin + 20, 16).split(b"\0")[0]  # behind version and flags
            if purpose in _C2PA_PURPOSES:
                begin = box.begin + 20 + len(purpose) + 1 + 8
                yield Found("c2pa", "MP4 uuid box", max(0, box.end - begin))
        elif box.kind == b"moov":
            for child in _boxes(file, box.begin, box.end):
                if child.kind == b"meta":
                    yield from _find_items(file, child, "moov/meta")
                elif child.kind == b"udta":
                    yield from _find_user_data(file, child)


def edits(file: SeekableFile, size: int, text: str) -> list[Edit]:
    """Return how to write a label into an MP4 file, in place of any that is there.

    Raises
    ------
    CorruptAudioError
        If the file has no index, or one that cannot be read.
    UnsupportedFormatError
        If the file is in fragments or encrypted, or has no room for larger numbers.
    """
    top = list(_boxes(file, 0, size))
    moov = next((box for box in top if box.kind == b"moov"), None)
    if moov is None or top[-1].end > size or len(top) == MAX_ITEMS:
        raise CorruptAudioError("its index cannot be read", hint="write the file anew")
    if any(box.kind == b"moof" for box in top):
        raise UnsupportedFormatError("is in fragments", hint="join them into one MP4 file")
    changes, parents = _item_edits(file, moov, text)
    growth = sum(change.growth for change in changes)
    changes += [_resized(file, box, growth) for box in parents]
    changes += _moved_addresses(file, moov, growth)
    return changes


def _find_user_data(file: SeekableFile, udta: _Box) -> Iterator[Found]:
    for box in _boxes(file, udta.begin, udta.end):
        if box.kind == b"meta":
            yield from _find_items(file, box, "moov/udta/meta")
        else:
            name = box.kind.decode("latin-1")
            value = read_at(file, box.begin, min(box.end - box.begin, MAX_LABEL_BYTES + 5))
            if name.startswith("\xa9"):  # text of QuickTime, behind its length and language
                value = value[4:]
            if is_label(name, value):
                yield label(f"MP4 moov/udta/{name}", value)


def _find_items(file: SeekableFile, meta: _Box, where: str) -> Iterator[Found]:
    names: list[str] = []
    for box in _boxes(file, _meta_begin(file, meta), meta.end):
        if box.kind == b"keys":
            names = _key_names(file, box)
        elif box.kind == b"ilst":
            for item in _boxes(file, box.begin, box.end):
                name, value = _item(file, item, names)
                if is_label(name, value):
                    yield label(f"MP4 {where}, {name[:60]}", value)


def _item(file: SeekableFile, item: _Box, names: list[str]) -> tuple[str, bytes]:
    """Return the name and the text of an item of metadata."""
    mean, name, value = b"", b"", b""
    for box in _boxes(file, item.begin, item.end):
        content = read_at(file, box.begin, min(box.end - box.begin, MAX_LABEL_BYTES + 9))
        if box.kind == b"mean":
            mean = content[4:]
        elif box.kind == b"name":
            name = content[4:]
        elif box.kind == b"data" and not value:
            value = content[8:]
    if item.kind == b"----":
        return f"----:{mean.decode('latin-1')}:{name.decode('latin-1')}", value
    index = int.from_bytes(item.kind, "big")
    return (names[index - 1] if 0 < index <= len(names) else item.kind.decode("latin-1")), value


def _key_names(file: SeekableFile, keys: _Box) -> list[str]:
    content = read_at(file, keys.begin, min(keys.end - keys.begin, 16 * MAX_LABEL_BYTES))
    names: list[str] = []
    position = 8
    while position + 8 <= len(content) and len(names) < MAX_ITEMS:
        length = max(8, int.from_bytes(content[position : position + 4], "big"))
        names.append(content[position + 8 : position + length].decode("utf-8", "replace"))
        position += length
    return names


def _item_edits(file: SeekableFile, moov: _Box, text: str) -> tuple[list[Edit], list[_Box]]:
    """Return the edits that put the label among the items, and the boxes that grow by them."""
    new = _label_item(text)
    udta = _child(file, moov, b"udta")
    if udta is None:
        return [_insert(moov.end, _box(b"udta", _new_meta(new)))], [moov]
    meta = _child(file, udta, b"meta")
    if meta is None:
        # In front: QuickTime's user data may end with a zero that is no box.
        return [_insert(udta.begin, _new_meta(new))], [moov, udta]
    begin = _meta_begin(file, meta)
    children = list(_boxes(file, begin, meta.end))
    ilst = next((box for box in children if box.kind == b"ilst"), None)
    if ilst is None:
        return [_insert(meta.end, _box(b"ilst", new))], [moov, udta, meta]
    # FFmpeg can number the names of items and list them apart; the item `----` has its own.
    keys = next((box for box in children if box.kind == b"keys"), None)
    names = _key_names(file, keys) if keys else []
    old = [
        Edit(item.start, item.end, b"")
        for item in _boxes(file, ilst.begin, ilst.end)
        if is_label(*_item(file, item, names))
    ]
    return [*old, _insert(ilst.end, new)], [moov, udta, meta, ilst]


def _resized(file: SeekableFile, box: _Box, growth: int) -> Edit:
    length = box.end - box.start + growth
    if box.begin - box.start >= 16:
        return Edit(box.start + 8, box.start + 16, struct.pack(">Q", length))
    if read_at(file, box.start, 4) == bytes(4):  # to the end of the file, however long
        return Edit(box.start, box.start, b"")
    if length >= 1 << 32:
        raise UnsupportedFormatError("has no room for a label in its index")
    return Edit(box.start, box.start + 4, struct.pack(">I", length))


def _moved_addresses(file: SeekableFile, moov: _Box, growth: int) -> Iterator[Edit]:
    """Yield the tables of addresses behind the index, moved by its growth."""
    for table in _address_tables(file, moov):
        if table.kind == _ENCRYPTED:
            raise UnsupportedFormatError("is encrypted", hint="label it before it is")
        kind = np.dtype(_ADDRESSES[table.kind])
        content = read_at(file, table.begin + 8, table.end - table.begin - 8)
        count = int.from_bytes(read_at(file, table.begin + 4, 4), "big")
        if table.end - table.begin > _MAX_INDEX_BYTES or count * kind.itemsize > len(content):
            raise CorruptAudioError("its index cannot be read", hint="write the file anew")
        content = content[: count * kind.itemsize]
        addresses = np.frombuffer(content, kind)
        moved = addresses.astype(np.uint64)
        moved[addresses >= moov.end] += np.uint64(growth) if growth >= 0 else np.uint64(0)
        if growth < 0:
            moved[addresses >= moov.end] -= np.uint64(-growth)
        if count and moved.max() > np.iinfo(kind).max:
            raise UnsupportedFormatError("too long for the addresses in its index")
        if (moved != addresses).any():
            begin = table.begin + 8
            yield Edit(begin, begin + len(content), moved.astype(kind).tobytes())


def _address_tables(file: SeekableFile, moov: _Box) -> Iterator[_Box]:
    boxes = [box for box in _boxes(file, moov.begin, moov.end) if box.kind == b"trak"]
    for kinds in ((b"mdia",), (b"minf",), (b"stbl",), (*_ADDRESSES, _ENCRYPTED)):
        boxes = [
            child
            for box in boxes
            for child in _boxes(file, box.begin, box.end)
            if child.kind in kinds
        ][:MAX_ITEMS]
    yield from boxes


def _boxes(file: SeekableFile, position: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two positions; the last may reach beyond."""
    for _ in range(MAX_ITEMS):
        header = read_at(file, position, 16)
        if position + 8 > end or len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header[:8])
        begin = position + 8
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
            begin += 8
        elif length == 0:
            length = end - position
        if length < begin - position:
            return
        yield _Box(kind, position, begin, position + length)
        position += length


def _child(file: SeekableFile, parent: _Box, kind: bytes) -> _Box | None:
    for box in _boxes(file, parent.begin, parent.end):
        if box.kind == kind:
            if box.end > parent.end:
                raise CorruptAudioError("its metadata cannot be read", hint="write the file anew")
            return box
    return None


def _meta_begin(file: SeekableFile, meta: _Box) -> int:
    """Return where the children of a meta box begin: it has version and flags, but not in MOV."""
    return meta.begin + (0 if read_at(file, meta.begin + 4, 4) == b"hdlr" else 4)


def _insert(position: int, new: bytes) -> Edit:
    return Edit(position, position, new)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _new_meta(item: bytes) -> bytes:
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return _box(b"meta", bytes(4) + handler + _box(b"ilst", item))


def _label_item(text: str) -> bytes:
    mean = _box(b"mean", bytes(4) + _ITUNES)
    name = _box(b"name", bytes(4) + AIGC.encode())
    data = _box(b"data", struct.pack(">II", 1, 0) + text.encode())  # 1 is UTF-8
    return _box(b"----", mean + name + data)
