"""Labels that other tools wrote, in every container."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import mutagen.id3
import mutagen.mp3
import mutagen.wave
import pytest
from audio_files import encode, speech_like
from labelled_files import FIELDS, KINDS, RATE_HZ, recording, remuxed, save, write_with_mutagen
from mutagen._riff import RiffFile

import deepfake_audio
from deepfake_audio.errors import AudioNotFoundError, UnsupportedFormatError
from deepfake_audio.provenance import read_provenance

TEXT = json.dumps({"AIGC": FIELDS}, ensure_ascii=False)
PLACES = {
    "wav": "RIFF chunk AIGC",
    "mp3": "ID3 TXXX:AIGC",
    "flac": "Vorbis comment AIGC",
    "ogg": "Vorbis comment AIGC",
    "opus": "Vorbis comment AIGC",
    "m4a": "MP4 moov/udta/meta, ----:com.apple.iTunes:AIGC",
    "mp4": "MP4 moov/udta/meta, ----:com.apple.iTunes:AIGC",
    "mov": "MP4 moov/udta/meta, ----:com.apple.iTunes:AIGC",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rf64"])
def test_labels_written_by_mutagen(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    assert read_provenance(path).aigc is None
    write_with_mutagen(path, TEXT)
    found = read_provenance(path)
    assert found.read
    assert found.aigc == {
        "says": "is_generated", "where": PLACES[kind.split(".")[-1]], "fields": FIELDS,
        "deviations": [],
    }  # fmt: skip
    assert (found.c2pa, found.rhythm_s) == (None, None)
    content = path.read_bytes()
    assert read_provenance(content) == read_provenance(io.BytesIO(content)) == found


def test_labels_written_by_ffmpeg(tmp_path: Path) -> None:
    named = remuxed(tmp_path, "a.mp4", {"AIGC": TEXT, "title": "t"}, movflags="use_metadata_tags")
    fragments = remuxed(tmp_path, "b.mp4", {"comment": TEXT}, movflags="frag_keyframe+empty_moov")
    quicktime = remuxed(tmp_path, "c.mov", {"comment": TEXT})
    places = ["moov/udta/meta, AIGC", "moov/udta/meta, ©cmt", "moov/udta/©des"]
    for path, where in zip((named, fragments, quicktime), places, strict=True):
        aigc = read_provenance(path).aigc
        assert aigc is not None
        assert (aigc["says"], aigc["where"]) == ("is_generated", f"MP4 {where}")
        assert aigc["deviations"] == ["is not where the standard has it"]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("encoding", [0, 1, 2, 3])
def test_id3_encodings(version: int, encoding: int, tmp_path: Path) -> None:
    path = save(tmp_path, "mp3")
    text = TEXT if encoding == 0 else TEXT.replace("s1", "签名")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.APIC(encoding=0, mime="image/png", type=3, desc="", data=b"\xff" * 999))
    tags.add(mutagen.id3.TXXX(encoding=encoding, desc="other", text="x"))
    tags.add(mutagen.id3.TXXX(encoding=encoding, desc="AIGC", text=text))
    if version == 3:
        tags.update_to_v23()
    tags.save(path, v2_version=version)
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["fields"], aigc["deviations"]) == (json.loads(text)["AIGC"], [])


def id3_tag(version: int, flags: int, frames: bytes, extended: bytes = b"") -> bytes:
    body = extended + frames
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, flags]) + size + body


def frame(content: bytes, flags: int = 0, name: bytes = b"TXXX") -> bytes:
    return name + len(content).to_bytes(4, "big") + bytes([0, flags]) + content


def test_id3_of_other_times() -> None:
    latin = b"\0AIGC\0" + TEXT.encode()
    utf16 = b"\1" + "AIGC\0".encode("utf-16") + TEXT.encode("utf-16")
    unsynchronised = utf16.replace(b"\xff", b"\xff\0")
    assert len(latin) > 127  # so that the two ways to write a size differ
    safe = bytes([0, 0, len(unsynchronised) >> 7, len(unsynchronised) & 127])
    old = b"TXX" + len(latin).to_bytes(3, "big") + latin
    tags = {
        "2.2": id3_tag(2, 0, old),
        "2.3, unsynchronised": id3_tag(3, 0x80, frame(utf16).replace(b"\xff", b"\xff\0")),
        "2.3, extended header": id3_tag(3, 0x40, frame(latin), b"\0\0\0\6" + bytes(6)),
        "2.4, sizes of 2.3": id3_tag(4, 0, frame(latin) + frame(b"\0x", name=b"TIT2")),
        "2.4, unsynchronised": id3_tag(4, 0, b"TXXX" + safe + b"\0\2" + unsynchronised),
        "two tags": id3_tag(3, 0, frame(b"\0x", name=b"TIT2")) + id3_tag(3, 0, frame(latin)),
    }
    for about, tag in tags.items():
        aigc = read_provenance(tag + recording("mp3")).aigc
        assert aigc is not None, about
        assert (aigc["fields"], aigc["deviations"]) == (FIELDS, []), about


def test_labels_in_unusual_places_of_wav(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    tagged = mutagen.wave.WAVE(path)
    tagged.add_tags()
    tagged.tags.add(mutagen.id3.TXXX(desc="AIGC", text=TEXT))
    tagged.save()
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["where"], aigc["deviations"]) == ("ID3 TXXX:AIGC", [])

    path = save(tmp_path, "wav")
    value = TEXT.encode() + bytes(2 - len(TEXT) % 2)
    with path.open("r+b") as file:
        info = b"INFO" + b"ICMT" + struct.pack("<I", len(value)) + value
        RiffFile(file).insert_chunk("LIST", info)
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["where"], aigc["says"]) == ("INFO list, ICMT", "is_generated")


def test_labels_that_disagree(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    write_with_mutagen(path, TEXT)
    write_with_mutagen(path, "nonsense")
    tagged = mutagen.wave.WAVE(path)
    tagged.add_tags()
    tagged.tags.add(mutagen.id3.TXXX(desc="AIGC", text=TEXT.replace('"1"', '"3"')))
    tagged.save()
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["says"], aigc["where"]) == ("is_generated", "RIFF chunk AIGC")
    assert aigc["deviations"] == ["another label in the file differs"]


def test_a_label_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    write_with_mutagen(path, TEXT + " " * 70_000)
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["says"], aigc["deviations"]) == (None, ["is too long to be read"])


def test_damaged_comments_are_told(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    write_with_mutagen(path, TEXT)
    content = path.read_bytes()
    at = content.index(b"AIGC=") - 4
    path.write_bytes(content[:at] + b"\xff" * 4 + content[at + 4 :])
    found = read_provenance(path)
    assert (found.aigc, found.read) == (None, False)


def test_no_audio_no_provenance(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError):
        read_provenance(b"no audio at all")
    with pytest.raises(AudioNotFoundError):
        read_provenance(tmp_path / "missing.wav")


def test_other_containers_have_no_label() -> None:
    content = encode(speech_like(1.0, RATE_HZ), RATE_HZ, "CAF")
    assert deepfake_audio.read_provenance(content).read


def test_the_package_does_not_need_the_tools_of_the_tests() -> None:
    code = "import sys, deepfake_audio.provenance; print({'mutagen', 'c2pa'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"
