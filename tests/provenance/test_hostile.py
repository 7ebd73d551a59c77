"""Files are written by strangers: whatever is in them, reading ends soon and in order."""

from __future__ import annotations

import io
import struct
import time
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import mutagen.id3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_files import FIELDS, KINDS, recording, save, write_with_mutagen

from deepfake_audio.errors import DeepfakeAudioError
from deepfake_audio.provenance import AigcLabel, read_provenance, undo_label, write_label
from deepfake_audio.provenance.aigc import read_label
from deepfake_audio.provenance.reading import FINDERS, best_label, search

TEXT = AigcLabel(*FIELDS.values()).to_json()
LABEL = AigcLabel("1", content_propagator="Q", propagate_id="9")
CONTAINERS = {"wav": "WAV", "mp3": "MP3", "flac": "FLAC", "ogg": "OGG", "opus": "OGG", "m4a": "M4A"}


@cache
def labelled(kind: str) -> bytes:
    """Return a recording with a label and, in an ID3 tag, something that passes for a manifest."""
    with TemporaryDirectory() as folder:
        path = save(Path(folder), kind)
        write_with_mutagen(path, TEXT)
        if kind == "mp3":
            tags = mutagen.id3.ID3(path)
            tags.add(mutagen.id3.GEOB(mime="application/c2pa", data=b"x" * 300))
            tags.save(path)
        return path.read_bytes()


def near_the_label(content: bytes) -> int:
    return content.find(b"AIGC")


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """Change some bytes, most of them where labels are and sizes stand, and cut or repeat."""
    content = bytearray(labelled(kind))
    at = near_the_label(content)
    place = st.one_of(
        st.integers(0, min(400, len(content) - 1)),
        st.integers(max(0, at - 200), min(len(content) - 1, at + 200)),
        st.integers(0, len(content) - 1),
    )
    byte = st.one_of(st.sampled_from([0, 1, 127, 128, 255]), st.integers(0, 255))
    for position, value in draw(st.lists(st.tuples(place, byte), min_size=1, max_size=6)):
        content[position] = value
    if draw(st.booleans()):
        del content[draw(place) :]
    if draw(st.booleans()):
        begin = draw(place)
        content[begin:begin] = content[begin : begin + draw(st.integers(1, 300))]
    return bytes(content)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_damaged_files_are_read_without_a_crash(kind: str) -> None:
    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(damaged(kind))
    def check(content: bytes) -> None:
        for container in {CONTAINERS[kind], *FINDERS}:
            found, _ = search(io.BytesIO(content), len(content), container)
            best_label(found)

    check()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_damaged_files_are_refused_or_labelled_and_restored(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    written = 0

    @settings(max_examples=80, deadline=None, derandomize=True, database=None)
    @given(damaged(kind))
    def check(content: bytes) -> None:
        nonlocal written
        path.write_bytes(content)
        try:
            write_label(path, LABEL)
        except DeepfakeAudioError:
            assert path.read_bytes() == content
            return
        written += 1
        undo_label(path)
        assert path.read_bytes() == content

    check()
    assert written  # not all were refused


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_label_can_be_read(value: bytes | str) -> None:
    read_label(value)


def wav(chunks: bytes) -> bytes:
    return recording("wav")[:36] + chunks + recording("wav")[36:]


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def item() -> bytes:
    data = box(b"data", bytes(8) + b"x")
    return box(b"----", box(b"name", bytes(4) + b"AIGC") + data)


def moov(items: bytes) -> bytes:
    meta = box(b"meta", bytes(4) + box(b"ilst", items))
    return box(b"ftyp", b"M4A \0\0\0\0") + box(b"moov", box(b"udta", meta))


def ogg_page(flags: int, content: bytes, lacing: bytes) -> bytes:
    return struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 1, 0, 0, len(lacing)) + lacing + content


HOSTILE = {
    "a million chunks": ("WAV", wav(b"AIGC\0\0\0\0" * 1_000_000)),
    "a chunk as long as can be": ("WAV", wav(b"AIGC\xff\xff\xff\xff")),
    "a million items": ("M4A", moov(item() * 200_000)),
    "nested boxes": ("M4A", moov(box(b"----", box(b"data") * 9_000) * 100)),
    "a box of no length": ("M4A", moov(b"\0\0\0\0----" + bytes(100))),
    "a box of negative length": ("M4A", moov(b"\0\0\0\1----" + b"\xff" * 8)),
    "a million frames": (
        "MP3", b"ID3\3\0\0\x01\x00\x00\x00" + b"TXXX\0\0\0\6\0\0\0AIGC\0" * 131_000 + bytes(9999),
    ),
    "a million blocks": ("FLAC", b"fLaC" + b"\4\0\0\0" * 1_000_000),
    "four thousand million comments": (
        "FLAC", b"fLaC\x84\0\0\x08\0\0\0\0\xff\xff\xff\xff",
    ),
    "a million empty pages": (
        "OGG", ogg_page(2, b"\x01vorbis", b"\7") + ogg_page(0, b"", b"") * 300_000,
    ),
    "a packet without an end": (
        "OGG", ogg_page(2, b"OpusHead", b"\x08")
        + ogg_page(0, b"x" * 65_025, b"\xff" * 255) * 600,
    ),
    "a bomb": (
        "MP3",
        b"ID3\3\0\0\0\0\x08\0" + b"TXXX\0\0\x04\0\0\x80" + zlib.compress(bytes(10**7)),
    ),
}  # fmt: skip


class CountingFile(io.BytesIO):
    reads = 0

    def read(self, count: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(count)


@pytest.mark.parametrize("about", HOSTILE)
def test_hostile_files_do_not_keep_us(about: str) -> None:
    container, content = HOSTILE[about]
    began = time.monotonic()
    file = CountingFile(content)
    found, _ = search(file, len(content), container)
    best_label(found)
    assert len(found) <= 16
    assert file.reads <= 100_000
    assert time.monotonic() - began < 5  # far from it; there to catch a loop without end


def test_names_cannot_inject_anything(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    write_with_mutagen(path, TEXT.replace("ProduceID", "\\u001b[31m\\n<b>"))
    report_lines = read_provenance(path).phrases()
    assert report_lines == ["AIGC: is generated"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_recordings_themselves_are_fine(kind: str) -> None:
    assert read_provenance(recording(kind)).read
