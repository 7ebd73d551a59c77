"""Labels written here, as other people's tools read them; the audio beside them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
from pathlib import Path

import mutagen
import mutagen.flac
import mutagen.id3
import mutagen.oggvorbis
import pytest
import soundfile
from audio_files import encode, speech_like
from labelled_files import (
    FIELDS,
    KINDS,
    RATE_HZ,
    packets,
    pcm,
    read_with_ffmpeg,
    read_with_ffprobe,
    read_with_mutagen,
    recording,
    remuxed,
    save,
    stream_hashes,
    write_with_mutagen,
)
from mutagen.ogg import OggPage

from deepfake_audio.errors import CorruptAudioError, LabelError, UnsupportedFormatError
from deepfake_audio.provenance import AigcLabel, labelling, read_provenance, undo_label, write_label

LABEL = AigcLabel("3", content_propagator="平台-1", propagate_id="42")
TEXT = LABEL.to_json()


def undo_file(path: Path) -> Path:
    return path.with_name(path.name + ".aigc-undo")


@pytest.mark.parametrize("kind", KINDS)
def test_others_read_what_is_written_and_the_audio_is_the_same(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    before = packets(path), hashlib.sha256(pcm(path)).hexdigest()
    written = write_label(path, LABEL)
    assert (written.label, written.has_manifest) == (LABEL, False)
    if kind == "rf64":  # which mutagen does not read; the chunk is the last
        assert path.read_bytes().endswith(TEXT.encode() + bytes(len(TEXT.encode()) % 2))
    else:
        assert read_with_mutagen(path) == [TEXT]
    if not kind.endswith(("wav", "rf64")):
        assert read_with_ffmpeg(path) == TEXT
    assert (packets(path), hashlib.sha256(pcm(path)).hexdigest()) == before
    aigc = read_provenance(path).aigc
    assert aigc is not None
    assert (aigc["says"], aigc["deviations"]) == ("suspected", [])
    undo_label(path)
    assert path.read_bytes() == recording(kind)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="apt-get install ffmpeg")
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_ffmpeg_agree(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    before = stream_hashes(path)
    assert "SHA256=" in before
    write_label(path, LABEL)
    assert stream_hashes(path) == before
    if not kind.endswith(("wav", "rf64")):
        assert read_with_ffprobe(path) == TEXT


@pytest.mark.parametrize("kind", KINDS)
def test_long_labels(kind: str, tmp_path: Path) -> None:
    """Comments of Ogg then take more pages, and fewer again when a shorter label follows."""
    path = save(tmp_path, kind)
    before, sound = packets(path), pcm(path)
    long = AigcLabel("3", content_propagator="x" * 65_200, propagate_id="1")
    write_label(path, long)
    assert read_provenance(path).aigc["fields"]["ContentPropagator"] == "x" * 65_200  # type: ignore[index]
    assert packets(path) == before
    assert pcm(path) == sound  # libogg gives up pages whose checksum is wrong
    long_file = path.read_bytes()
    write_label(path, LABEL)
    assert packets(path) == before
    if kind != "rf64":
        assert read_with_mutagen(path) == [TEXT]
    undo_label(path)
    assert path.read_bytes() == long_file
    undo_label(path)
    assert path.read_bytes() == recording(kind)


@pytest.mark.parametrize("kind", ["ogg", "opus", "ffmpeg.ogg"])
def test_pages_of_ogg_are_numbered_and_sealed(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    for length in (65_200, 10):
        label = AigcLabel("3", content_propagator="x" * length, propagate_id="1")
        write_label(path, label)
        content, position, number = path.read_bytes(), 0, 0
        with path.open("rb") as file:
            while position < len(content):
                page = OggPage(file)
                assert page.sequence == number
                # No packet ends on a page without a position.
                assert (page.position == -1) == (len(page.packets) == 1 and not page.complete)
                # mutagen makes the checksum anew.
                assert page.write() == content[position : position + page.size]
                position, number = position + page.size, number + 1


@pytest.mark.parametrize("kind", ["wav", "odd.wav", "rf64"])
def test_size_of_riff(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    for length in (1, 2):
        write_label(path, AigcLabel("3", content_propagator="x" * length, propagate_id="1"))
        content = path.read_bytes()
        stated = content[20:28] if kind == "rf64" else content[4:8]
        assert int.from_bytes(stated, "little") == len(content) - 8


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rf64"])
def test_a_label_of_somebody_else_is_added_to(kind: str, tmp_path: Path) -> None:
    path, out = save(tmp_path, kind), tmp_path / f"out.{kind}"
    write_with_mutagen(path, json.dumps({"AIGC": FIELDS}))
    original = path.read_bytes()
    added = AigcLabel("1", content_propagator="Q", propagate_id="9")
    write_label(path, added, out=out)
    expected = AigcLabel("1", "00119131011", "v0300", "s1", "Q", "9")
    assert read_with_mutagen(out) == [expected.to_json()]
    assert packets(out) == packets(path)
    assert path.read_bytes() == original
    assert not undo_file(out).exists()
    with pytest.raises(LabelError, match="no record"):
        undo_label(out)


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "opus", "m4a", "front.mp4"])
def test_other_tags_stay(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path, kind)
    tags = mutagen.File(path, easy=True)
    if tags.tags is None:
        tags.add_tags()
    tags["title"], tags["artist"] = "Title ÿþ", "Artist"
    tags.save()
    write_label(path, LABEL)
    tags = mutagen.File(path, easy=True)
    assert (tags["title"], tags["artist"]) == (["Title ÿþ"], ["Artist"])


@pytest.mark.parametrize("version", [3, 4])
def test_frames_of_id3_stay_byte_for_byte(version: int, tmp_path: Path) -> None:
    path = save(tmp_path, "mp3")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.APIC(encoding=0, mime="image/png", type=3, desc="", data=b"\xff\0" * 999))
    tags.add(mutagen.id3.TIT2(encoding=1, text="é"))
    tags.save(path, v2_version=version, padding=lambda _: 2000)
    size = path.stat().st_size
    write_label(path, LABEL)
    assert path.stat().st_size == size  # the padding was used up
    found = mutagen.id3.ID3(path)
    assert found.version[1] == version
    assert found.getall("APIC")[0].data == b"\xff\0" * 999
    assert found["TIT2"].text == ["é"]


def test_an_unsynchronised_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    picture = b"\0image/png\0\3\0" + b"\xff\xfe\0" * 300
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    body = frame.replace(b"\xff", b"\xff\0")
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\x80" + size + body + recording("mp3"))
    before = packets(path)
    write_label(path, LABEL)
    assert mutagen.id3.ID3(path).getall("APIC")[0].data == b"\xff\xfe\0" * 300
    assert read_with_mutagen(path) == [TEXT]
    assert packets(path) == before


def test_padding_of_flac_is_used_up(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    tags = mutagen.flac.FLAC(path)
    tags["title"] = "t"
    tags.save(padding=lambda _: 1000)
    size = path.stat().st_size
    write_label(path, LABEL)
    assert path.stat().st_size == size
    assert read_with_mutagen(path) == [TEXT]


def test_flac_without_comments(tmp_path: Path) -> None:
    path = tmp_path / "bare.flac"
    content = recording("flac")
    audio = mutagen.flac.FLAC(save(tmp_path, "flac"))
    start = audio.info.length and content.index(b"\xff\xf8")
    path.write_bytes(b"fLaC\x80" + content[5:42] + content[start:])
    before = packets(path)
    write_label(path, LABEL)
    assert read_with_mutagen(path) == [TEXT]
    assert packets(path) == before


def test_ogg_streams_that_were_joined(tmp_path: Path) -> None:
    path = tmp_path / "two.ogg"
    second = recording("ogg")  # of the same serial number, which is no reason to number it anew
    path.write_bytes(recording("ogg") + second)
    write_label(path, AigcLabel("3", content_propagator="x" * 65_200, propagate_id="1"))
    assert path.read_bytes().endswith(second)
    with path.open("rb") as file:
        assert len(mutagen.oggvorbis.OggVorbis(file)["AIGC"][0]) > 65_025  # more than a page holds


def test_mp4_with_names_in_a_list(tmp_path: Path) -> None:
    meta = {"AIGC": json.dumps({"AIGC": FIELDS}), "title": "t"}
    path = remuxed(tmp_path, "a.mp4", meta, movflags="use_metadata_tags+faststart")
    before = packets(path)
    write_label(path, AigcLabel("1", content_propagator="Q", propagate_id="9"))
    expected = AigcLabel("1", "00119131011", "v0300", "s1", "Q", "9").to_json()
    assert (read_with_ffmpeg(path), read_with_mutagen(path)) == (expected, [expected])
    assert packets(path) == before


def test_wav_with_more_behind_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(recording("wav") + b"not a chunk")
    write_label(path, LABEL)
    assert read_with_mutagen(path) == [TEXT]
    assert path.read_bytes().endswith(b"not a chunk")


def test_a_link_leads_to_the_labelled_file(tmp_path: Path) -> None:
    path, link = save(tmp_path, "wav"), tmp_path / "link.wav"
    path.chmod(0o640)
    link.symlink_to(path)
    write_label(link, LABEL)
    assert link.is_symlink()
    assert read_with_mutagen(path) == [TEXT]
    assert path.stat().st_mode & 0o777 == 0o640
    undo_label(link)
    assert path.read_bytes() == recording("wav")


BAD = {
    "streamed.wav": recording("wav")[:40] + b"\xff" * 4 + recording("wav")[44:],
    "piped.wav": recording("wav")[:40] + bytes(4) + bytes(len(recording("wav")) - 44),
    "cut.wav": recording("wav")[:-1000],
    "cut.m4a": recording("m4a")[:-1000],
    "nothing.mp4": b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free",
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(CorruptAudioError, match=name):
        write_label(path, LABEL)
    assert path.read_bytes() == BAD[name]
    assert os.listdir(tmp_path) == [name]


def test_files_that_take_no_label(tmp_path: Path) -> None:
    fragments = remuxed(tmp_path, "f.mp4", {}, movflags="frag_keyframe+empty_moov")
    old_tag = tmp_path / "old.mp3"
    old_tag.write_bytes(b"ID3\2\0\0\0\0\0\x0aTT2\0\0\2\0x\0\0" + recording("mp3"))
    aiff = tmp_path / "a.aiff"
    aiff.write_bytes(encode(speech_like(1.0, RATE_HZ), RATE_HZ, "AIFF"))
    big_endian = tmp_path / "rifx.wav"
    rifx = io.BytesIO()
    soundfile.write(rifx, speech_like(1.0, RATE_HZ), RATE_HZ, format="WAV", endian="BIG")
    big_endian.write_bytes(rifx.getvalue())
    assert rifx.getvalue().startswith(b"RIFX")
    encrypted = tmp_path / "encrypted.m4a"
    encrypted.write_bytes(recording("m4a").replace(b"stts", b"saio"))
    for path in (fragments, old_tag, aiff, big_endian, encrypted):
        with pytest.raises(UnsupportedFormatError, match=path.name):
            write_label(path, LABEL)


@pytest.mark.parametrize(
    "label",
    [
        AigcLabel("4", "P", "1"), AigcLabel("1", "P"), AigcLabel("1", propagate_id="1"),
        AigcLabel("1", "\udc80", "1"), AigcLabel("1", "x" * 70_000, "1"),
    ],
)  # fmt: skip
def test_labels_that_say_too_little_or_too_much(label: AigcLabel, tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    with pytest.raises(LabelError, match=path.name):
        write_label(path, label)
    assert path.read_bytes() == recording("wav")


def test_a_label_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    write_with_mutagen(path, "nonsense")
    with pytest.raises(LabelError, match="cannot be read"):
        write_label(path, LABEL)


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    with pytest.raises(LabelError, match="there already"):
        write_label(path, LABEL, out=path)
    with pytest.raises(LabelError, match="cannot be written"):
        write_label(path, LABEL, out=tmp_path / "missing" / "out.wav")
    assert os.listdir(tmp_path) == [path.name]


def test_undo_wants_the_file_as_it_was_written(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    write_label(path, LABEL)
    labelled = path.read_bytes()
    path.write_bytes(labelled + b"x")
    with pytest.raises(LabelError, match="was changed since"):
        undo_label(path)
    path.write_bytes(labelled)
    record = json.loads(undo_file(path).read_text())
    for damaged in ("{", "[]", json.dumps({**record, "edits": [[0, 4, "UklGRg=="]]})):
        undo_file(path).write_text(damaged)
        with pytest.raises(LabelError, match="damaged"):
            undo_label(path)
    assert path.read_bytes() == labelled
    undo_file(path).write_text(json.dumps(record))
    undo_label(path)
    assert path.read_bytes() == recording("wav")


def test_a_crash_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, "wav")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LabelError, match="No space left"):
        write_label(path, LABEL)
    assert path.read_bytes() == recording("wav")
    assert os.listdir(tmp_path) == [path.name]


def test_what_cannot_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, "wav")
    monkeypatch.setitem(labelling.WRITERS, "WAV", lambda *_: [])
    with pytest.raises(LabelError, match="read back"):
        write_label(path, LABEL)
    assert os.listdir(tmp_path) == [path.name]


def test_addresses_of_eight_bytes_move(tmp_path: Path) -> None:
    """FFmpeg writes such only into files past 4 GiB: here stco is made into co64 by hand."""
    content = recording("front.m4a")
    at = content.index(b"stco") - 4
    size, _, version, count = struct.unpack(">I4sII", content[at : at + 16])
    addresses = struct.unpack(f">{count}I", content[at + 16 : at + size])
    growth = 4 * count
    new = struct.pack(">I4sII", size + growth, b"co64", version, count)
    new += struct.pack(f">{count}Q", *(address + growth for address in addresses))
    parts = bytearray(content[:at] + new + content[at + size :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = parts.index(parent) - 4
        (old,) = struct.unpack(">I", parts[place : place + 4])
        parts[place : place + 4] = struct.pack(">I", old + growth)
    path = tmp_path / "a.m4a"
    path.write_bytes(parts)
    before = packets(path)
    assert before == packets(save(tmp_path, "front.m4a"))
    write_label(path, LABEL)
    assert packets(path) == before
    assert read_with_mutagen(path) == [TEXT]
