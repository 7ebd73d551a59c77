"""``detect`` in this process; what needs a process of its own is in test_processes.py."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from deepfake_audio import __version__, config, plots
from deepfake_audio.cli.detect import app
from deepfake_audio.config import Limits
from deepfake_audio.detector import Detector
from deepfake_audio.report import json_schema

MakeWav = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def folder(speech_wav: MakeWav, tmp_path: Path) -> Path:
    for index in range(3):
        speech_wav(f"clips/{index}.wav", 1.5 + index, seed=index)
    speech_wav("clips/inside/deep.wav", 2)
    (tmp_path / "clips" / "note.txt").write_text("hello")
    (tmp_path / "clips" / ".hidden.wav").write_text("hello")
    return tmp_path / "clips"


def detect(*arguments: object, stdin: bytes | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, ["--model", "unittest", "--device", "cpu", *words], input=stdin)


def names(result: Result) -> list[str]:
    return [Path(report["input"]["name"]).name for report in json.loads(result.stdout)]


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_one_file(speech_wav: MakeWav) -> None:
    path = speech_wav("clip.wav", 2)
    result = detect(path)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert lines(result.stdout)[0] == f"{path}: uncertain"
    assert "p(synthetic) 0.58" in result.stdout
    assert "\x1b" not in result.stdout


def test_many_files_have_a_line_each(folder: Path) -> None:
    result = detect(folder / "0.wav", folder / "1.wav", folder / "2.wav")
    rows = lines(result.stdout)
    assert [row.split()[-1] for row in rows[:3]] == [str(folder / f"{i}.wav") for i in range(3)]
    assert rows[3] == "# 3 uncertain"
    assert all(row.startswith("# ") for row in rows[3:])
    assert len(rows) == 6
    verbose = detect(folder / "0.wav", folder / "1.wav", "-v")
    assert verbose.stdout.count("p(synthetic)") == 2
    assert verbose.stderr.count("score") == 2


def test_json_is_an_array_of_valid_reports(folder: Path) -> None:
    result = detect(folder, "--json")
    assert result.exit_code == 0
    reports = json.loads(result.stdout)
    assert len(reports) == 3
    for report in reports:
        jsonschema.validate(report, json_schema())


def test_jsonl_and_csv(folder: Path) -> None:
    rows = [json.loads(line) for line in lines(detect(folder, "--jsonl").stdout)]
    table = list(csv.DictReader(io.StringIO(detect(folder, "--csv").stdout)))
    assert [row["name"] for row in table] == [row["input"]["name"] for row in rows]
    assert [float(row["llr_synthetic"]) for row in table] == [row["llr_synthetic"] for row in rows]
    assert {row["verdict"] for row in table} == {"uncertain"}


def test_segments(speech_wav: MakeWav) -> None:
    path = speech_wav("clip.wav", 7, channels=2)
    text = detect(path, "--segments").stdout
    assert text.count("channel 0 ") == text.count("channel 1 ") == 2
    table = list(csv.DictReader(io.StringIO(detect(path, "--segments", "--csv").stdout)))
    assert [(row["channel"], row["start_s"]) for row in table] == [
        ("0", "0.0"), ("0", "3.0"), ("1", "0.0"), ("1", "3.0"),
    ]  # fmt: skip
    short = speech_wav("short.wav", 0.3)
    [row] = csv.DictReader(io.StringIO(detect(short, "--segments", "--csv").stdout))
    assert (row["name"], row["verdict"], row["start_s"]) == (str(short), "inconclusive", "")


def test_folders_and_patterns(folder: Path) -> None:
    assert names(detect(folder, "--json")) == ["0.wav", "1.wav", "2.wav"]
    deep = ["0.wav", "1.wav", "2.wav", "deep.wav"]
    assert names(detect(folder, "--recursive", "--json")) == deep
    assert names(detect(folder / "[01].wav", "--json")) == ["0.wav", "1.wav"]
    assert names(detect(folder / "**" / "*.wav", "--json")) == deep
    assert "note.txt: skipped" in detect(folder, "-v", "--json").stderr
    note = f"{folder}: 2 files skipped, no audio (-v lists them)\n"  # one of them is hidden
    assert detect(folder, "--json").stderr == note
    assert detect(folder, "--json", "-q").stderr == ""


def test_audio_in_a_folder_is_found_whatever_its_name(tmp_path: Path, speech_wav: MakeWav) -> None:
    samples, rate_hz = soundfile.read(speech_wav("speech.wav", 1.5))
    clips = tmp_path / "clips"
    clips.mkdir()
    audio = ["a.flac", "b.oga", "c.au", "d.wave", "e.m4b", "f.aifc", "g.awb", "h.data", "noext"]
    for name in audio:
        soundfile.write(clips / name, samples, rate_hz, format="FLAC")
    photo, text = b"\0\0\0\x18ftypheic" + bytes(5000), b"hello"
    for name, content in {"photo": photo, "text": text, "empty": b""}.items():
        (clips / name).write_bytes(content)
    result = detect(clips, "--json")
    assert result.exit_code == 0
    assert names(result) == audio
    assert "3 files skipped" in result.stderr


def test_a_folder_that_cannot_be_listed(
    folder: Path, speech_wav: MakeWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = detect(folder, "-r", "-q", "--json")
    assert (result.exit_code, len(names(result))) == (3, 3)
    [line] = lines(result.stderr)
    assert line.startswith(f"{folder / 'inside'}: cannot be listed (Permission denied)")


def test_a_file_whose_name_is_a_pattern(folder: Path) -> None:
    (folder / "0.wav").rename(folder / "a[1].wav")
    assert names(detect(folder / "a[1].wav", "--json")) == ["a[1].wav"]


def test_a_named_file_is_tried_whatever_its_name(folder: Path) -> None:
    disguised = folder / "sound.txt"
    (folder / "0.wav").rename(disguised)
    assert names(detect(disguised, "--json")) == ["sound.txt"]
    result = detect(folder / "note.txt", folder / "1.wav", "--json")
    assert (result.exit_code, names(result)) == (3, ["1.wav"])
    assert len(lines(result.stderr)) == 1
    assert "note.txt" in result.stderr


def test_stdin(speech_wav: MakeWav) -> None:
    content = speech_wav("clip.wav", 2).read_bytes()
    [report] = json.loads(detect("-", "--json", stdin=content).stdout)
    assert report["input"]["name"] == "stdin"
    empty = detect("-", "--json", stdin=b"")
    assert (empty.exit_code, json.loads(empty.stdout)) == (4, [])


def test_stdin_is_read_under_the_limit(
    speech_wav: MakeWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = speech_wav("clip.wav", 2)
    monkeypatch.setattr(config, "Limits", lambda: Limits(max_file_bytes=100_000))
    result = detect("-", path, "--json", stdin=b"x" * 100_001)
    assert result.exit_code == 3
    [line] = lines(result.stderr)
    assert line.startswith("stdin: more than 100000 bytes: split")
    assert names(result) == ["clip.wav"]


@pytest.mark.parametrize("form", [(), ("--json",), ("--jsonl",), ("--csv",)])
def test_unreadable_inputs(folder: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    broken, empty = tmp_path / "broken.wav", tmp_path / "empty.wav"
    broken.write_bytes(b"RIFF\x24\x00\x00\x00WAVEnonsense")
    empty.write_bytes(b"")
    missing = tmp_path / "missing.wav"
    result = detect(broken, folder / "0.wav", empty, folder / "1.wav", missing, *form)
    assert result.exit_code == 3
    assert len(lines(result.stderr)) == 3
    for line, path in zip(lines(result.stderr), (broken, empty, missing), strict=True):
        assert line.startswith(f"{path}: ")
    if form == ("--json",):
        assert names(result) == ["0.wav", "1.wav"]
    nothing = detect(broken, empty, *form)
    assert nothing.exit_code == 4
    expected = {(): "", ("--json",): "[]\n", ("--jsonl",): ""}
    if form in expected:
        assert nothing.stdout == expected[form]
    else:
        assert nothing.stdout.startswith("name,")


def test_an_empty_folder(tmp_path: Path) -> None:
    result = detect(tmp_path, "--json")
    assert (result.exit_code, result.stdout) == (4, "[]\n")
    assert "no audio files" in result.stderr
    assert detect(tmp_path, "--json", "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--fail-on", "synthetic"), 0),
        (("--fail-on", "uncertain"), 1),
        (("--fail-on", "synthetic", "--threshold", "0.5"), 1),
        (("--fail-on", "uncertain", "--policy", "precision"), 0),
        (("--fail-on", "synthetic", "--policy", "recall"), 1),
        (("--fail-on", "inconclusive"), 1),
        (("--fail-on", "inconclusive", "--policy", "precision"), 0),
        (("--policy", "recall"), 0),
    ],
)
def test_fail_on(speech_wav: MakeWav, arguments: tuple[str, ...], status: int) -> None:
    # The untrained model says about 0.58 to everything.
    assert detect(speech_wav("clip.wav", 2), *arguments).exit_code == status


def test_what_could_not_be_judged_is_no_all_clear(speech_wav: MakeWav) -> None:
    short = speech_wav("short.wav", 0.3)
    assert detect(short, "--fail-on", "uncertain").exit_code == 0
    assert detect(short, "--fail-on", "inconclusive").exit_code == 1


def test_addresses_are_not_fetched() -> None:
    result = detect("https://example.org/clip.mp3")
    assert result.exit_code == 4
    assert "download it first" in result.stderr


def test_a_hit_tells_more_than_an_unreadable_file(speech_wav: MakeWav, tmp_path: Path) -> None:
    arguments = (speech_wav("clip.wav", 2), tmp_path / "missing.wav", "--fail-on", "uncertain")
    assert detect(*arguments).exit_code == 1
    assert detect(*arguments[:2]).exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.wav", "--json", "--csv"),
        ("a.wav", "--threshold", "1.5"),
        ("a.wav", "--threshold", "nan"),
        ("a.wav", "--policy", "strict"),
        ("a.wav", "--device", "tpu"),
        ("a.wav", "--no-such-option"),
        ("a.wav", "--plot", "out.gif"),
        ("a.wav", "b.wav", "--plot", "out.png"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = detect(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert "{" not in result.stdout


def test_a_model_that_is_not_there(speech_wav: MakeWav) -> None:
    result = detect(speech_wav("clip.wav", 2), "--json", "--model", "nothing-of-the-kind")
    assert (result.exit_code, result.stdout) == (4, "[]\n")
    assert len(lines(result.stderr)) == 1
    assert "nothing-of-the-kind: no such model" in result.stderr


def test_plots(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out.png"
    assert detect(folder / "0.wav", "--plot", out).exit_code == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert detect(folder / "0.wav", folder / "0.wav", "--plot", pictures).exit_code == 0
    assert sorted(path.name for path in pictures.iterdir()) == ["0.wav-1.png", "0.wav.png"]


@pytest.mark.parametrize("target", ["nowhere/out.png", "out.gif", "nowhere"])
def test_plots_that_cannot_be_are_refused_before_scoring(
    folder: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Detector, "load", never)
    result = detect(folder / "0.wav", "--plot", tmp_path / target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_a_folder_for_plots_is_checked_before_scoring(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "load", never)
    with monkeypatch.context() as context:
        context.setattr(plots, "find_spec", lambda name: None)
        result = detect(folder, "-q", "--plot", tmp_path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "matplotlib" in result.stderr
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    result = detect(folder, "-q", "--plot", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be written to" in result.stderr


def test_a_plot_that_fails_costs_no_other(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = tmp_path / "pictures"
    (pictures / "1.wav.png").mkdir(parents=True)  # in the way of the second
    result = detect(folder, "-q", "--plot", pictures, "--json")
    assert (result.exit_code, names(result)) == (3, ["0.wav", "1.wav", "2.wav"])
    [line] = lines(result.stderr)
    assert line.startswith(f"{pictures / '1.wav.png'}: cannot be written")
    assert (pictures / "2.wav.png").is_file()


def never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("must not be called")


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unforeseen_error(folder: Path, monkeypatch: pytest.MonkeyPatch, verbose: bool) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise TypeError("two\nlines")

    monkeypatch.setattr(Detector, "load", broken)
    result = detect(folder / "0.wav", "--json", "--fail-on", "synthetic", *["-v"] * verbose)
    assert (result.exit_code, result.stdout) == (4, "[]\n")
    assert lines(result.stderr)[-1].startswith("internal error: TypeError: two")
    assert lines(result.stderr)[-1].endswith("please report it")
    assert (len(lines(result.stderr)) > 1) is verbose
    assert ("Traceback" in result.stderr) is verbose


def test_an_interrupt_leaves_whole_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Detector.detect_decoded

    def interrupted(self: Detector, *args: Any, **kwargs: Any) -> Any:
        results = real(self, *args, **kwargs)
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "detect_decoded", interrupted)
    result = detect(folder, "--json")
    assert (result.exit_code, names(result)) == (130, ["0.wav"])


def test_an_interrupt_while_the_model_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "load", interrupted)
    result = detect(folder, "--json")
    assert (result.exit_code, result.stdout) == (130, "[]\n")


def test_names_of_any_kind(speech_wav: MakeWav, tmp_path: Path) -> None:
    paths = [
        speech_wav(name, 1.5) for name in ("录音.wav", "a\nb.wav", "-dash.wav", "x\x1b[2J.wav")
    ]
    result = detect("--json", "--", *paths)
    assert [report["input"]["name"] for report in json.loads(result.stdout)] == list(
        map(str, paths)
    )
    text = detect("--", *paths, tmp_path / "y\x1b[2J\n.wav")
    assert "\x1b" not in text.stdout + text.stderr
    assert len(lines(text.stdout)) == 4 + 3
    assert len(lines(text.stderr)) == 1


def test_inconclusive_inputs_are_scored(tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(30 * 16_000), 16_000)
    result = detect(silence, "--json")
    assert result.exit_code == 0
    [report] = json.loads(result.stdout)
    assert (report["verdict"], report["reason"]) == ("inconclusive", "no_speech")
    assert report["p_synthetic"] is None


def test_version_and_help() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"deepfake-audio {__version__}\n"
    text = CliRunner().invoke(app, ["--help"]).stdout
    for option in (
        "--json", "--jsonl", "--csv", "--segments", "--plot", "--policy", "--threshold", "--device",
        "--recursive", "--fail-on", "--model", "--quiet", "--verbose", "--version",
        "--provenance",
    ):  # fmt: skip
        assert option in text
