"""``deepfake-audio label`` and ``detect --provenance``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from labelled_files import FIELDS, read_with_ffmpeg, recording, save, write_with_mutagen
from typer.testing import CliRunner, Result

from deepfake_audio import provenance
from deepfake_audio.cli import detect as detect_module
from deepfake_audio.cli.tools import app
from deepfake_audio.errors import AudioError
from deepfake_audio.provenance import places
from deepfake_audio.report import json_schema

MakeWav = Callable[..., Path]
TEXT = json.dumps({"AIGC": FIELDS})
SPREAD = ("--propagator", "Q", "--propagate-id", "9")


def label(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


def detect(*arguments: object, stdin: bytes | None = None) -> Result:
    words = ["--model", "unittest", "--device", "cpu", *map(str, arguments)]
    return CliRunner().invoke(detect_module.app, words, input=stdin)


def test_in_place_and_back(tmp_path: Path) -> None:
    path = save(tmp_path, "flac")
    result = label(path, "--label", "suspected", *SPREAD, "--in-place")
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    text = read_with_ffmpeg(path)
    assert text == (
        '{"AIGC":{"Label":"3","ContentProducer":"","ProduceID":"","ReservedCode1":"",'
        '"ContentPropagator":"Q","PropagateID":"9","ReservedCode2":""}}'
    )
    assert result.stderr == f"{text}\n"
    undone = label(path, "--undo")
    assert (undone.exit_code, undone.stderr) == (0, "restored, byte for byte\n")
    assert path.read_bytes() == recording("flac")
    again = label(path, "--undo")
    assert again.exit_code == 4
    assert "no record" in again.stderr


def test_a_copy_with_all_fields(tmp_path: Path) -> None:
    path, out = save(tmp_path, "m4a"), tmp_path / "out.m4a"
    producer = ("--producer", "P", "--produce-id", "1", "--reserved-code1", "a")
    result = label(path, "--label", "is", *producer, *SPREAD, "--reserved-code2", "b", "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert json.loads(read_with_ffmpeg(out) or "")["AIGC"] == {
        "Label": "1", "ContentProducer": "P", "ProduceID": "1", "ReservedCode1": "a",
        "ContentPropagator": "Q", "PropagateID": "9", "ReservedCode2": "b",
    }  # fmt: skip
    assert path.read_bytes() == recording("m4a")
    assert label(path, "--label", "may-be", *SPREAD, "--out", out).exit_code == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("--label", "is", *SPREAD),
        ("--label", "is", *SPREAD, "--in-place", "--out", "x"),
        ("--label", "perhaps", *SPREAD, "--in-place"),
        ("--undo", "--in-place"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    assert label(path, *arguments).exit_code == 2
    assert path.read_bytes() == recording("wav")


def test_errors_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("hello")
    for path in (text, tmp_path / "missing.wav", tmp_path):
        result = label(path, "--label", "is", *SPREAD, "--in-place")
        assert result.exit_code == 4
        [line] = result.stderr.splitlines()
        assert line.startswith(f"{path}: ")
    path = save(tmp_path, "wav")
    assert label(path, "--label", "is", "--in-place").exit_code == 4
    assert "has no label yet" in label(path, *SPREAD, "--in-place").stderr


def test_a_platform_adds_its_elements_to_whatever_is_there(tmp_path: Path) -> None:
    path = save(tmp_path, "ogg")
    write_with_mutagen(path, TEXT)
    result = label(path, *SPREAD, "--in-place")
    assert result.exit_code == 0
    expected = {**FIELDS, "ContentPropagator": "Q", "PropagateID": "9", "ReservedCode2": ""}
    assert json.loads(read_with_ffmpeg(path) or "")["AIGC"] == expected


def test_damaged_tags_are_told(speech_wav: MakeWav, monkeypatch: pytest.MonkeyPatch) -> None:
    path = speech_wav("a.wav", 2)
    monkeypatch.setattr(places, "MAX_READS", 1)
    result = detect(path, "--provenance", "--json")
    assert result.exit_code == 0
    assert result.stderr == f"{path}: its tags are damaged; labels may be missing\n"
    assert not json.loads(result.stdout)[0]["provenance"]["read"]


def test_detect_shows_labels(speech_wav: MakeWav, tmp_path: Path) -> None:
    plain, labelled = speech_wav("a.wav", 2), speech_wav("b.wav", 2)
    write_with_mutagen(labelled, TEXT)
    without = json.loads(detect(plain, labelled, "--json").stdout)
    result = detect(plain, labelled, "--json", "--provenance")
    assert result.exit_code == 0
    reports = json.loads(result.stdout)
    for report, other in zip(reports, without, strict=True):
        jsonschema.validate(report, json_schema())
        assert other["provenance"] == {"aigc": None, "c2pa": None, "rhythm_s": None, "read": False}
        kept = ("input", "verdict", "p_synthetic", "llr_synthetic", "segments", "warnings")
        assert [report[key] for key in kept] == [other[key] for key in kept]
    assert reports[0]["provenance"]["aigc"] is None
    assert reports[0]["provenance"]["read"]
    assert reports[1]["provenance"]["aigc"]["fields"] == FIELDS
    assert "AIGC: is generated (RIFF chunk AIGC)" in detect(labelled, "--provenance").stdout
    assert "none found" in detect(plain, "--provenance").stdout
    assert "<AIGC: is generated>" in detect(plain, labelled, "--provenance").stdout
    rows = list(
        csv.DictReader(io.StringIO(detect(plain, labelled, "--provenance", "--csv").stdout))
    )
    assert [row["aigc"] for row in rows] == ["", "is_generated"]
    [piped] = json.loads(detect("-", "--json", "--provenance", stdin=labelled.read_bytes()).stdout)
    assert piped["provenance"] == reports[1]["provenance"]


def test_a_file_that_went_away_keeps_its_verdict(
    speech_wav: MakeWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, name: str) -> None:
        raise AudioError("is gone", name=name)

    monkeypatch.setattr(provenance, "read_provenance", fail)
    result = detect(speech_wav("a.wav", 2), "--provenance", "--json")
    assert result.exit_code == 0
    assert "is gone; labels not read" in result.stderr
    [report] = json.loads(result.stdout)
    assert not report["provenance"]["read"]
