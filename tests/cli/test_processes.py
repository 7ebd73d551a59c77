"""What only shows in a process of its own: start-up, pipes, signals, bytes on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_inputs import make_bad_inputs

MakeWav = Callable[..., Path]
DETECT = [sys.executable, "-c", "from deepfake_audio.cli import detect_process as run; run()"]
UNITTEST = ["--model", "unittest", "--device", "cpu"]
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and raw bytes in file names")


def test_help_and_version_need_no_torch() -> None:
    code = (
        "import sys, atexit\n"
        "from deepfake_audio.cli import detect_main, main\n"
        "heavy = {'torch', 'numpy', 'rich', 'librosa'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "sys.argv = ['detect', sys.argv[1]]\n"
        "(detect_main if sys.argv[1] == '--help' else main)()\n"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, option], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr.strip()) == (0, "[]")
        assert done.stdout


def test_module_is_the_tools_command() -> None:
    command = [sys.executable, "-m", "deepfake_audio", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("deepfake-audio ")


@posix_only
def test_standard_output_holds_results_and_nothing_else(
    speech_wav: MakeWav, tmp_path: Path
) -> None:
    good = speech_wav("good.wav", 2)
    odd = os.fsencode(tmp_path) + b"/odd\xff.wav"
    os.rename(speech_wav("odd.wav", 2), odd)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"OggS" + bytes(100))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*map(os.fsencode, [*DETECT, *UNITTEST, "--json"]), os.fsencode(good), odd, bad]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment)
    assert done.returncode == 3
    reports = json.loads(done.stdout.decode("utf-8"))
    assert [report["input"]["name"] for report in reports] == [str(good), os.fsdecode(odd)]
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(os.fsencode(bad))


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_json(speech_wav: MakeWav, number: signal.Signals) -> None:
    clip = speech_wav("clip.wav", 4)
    command = [*DETECT, *UNITTEST, "--json", *[str(clip)] * 5_000]
    pipe = subprocess.PIPE
    # Unbuffered, so that communicate() sees all that readline() has left.
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # the bracket: from here on reports come
        time.sleep(0.1)
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert 0 < len(json.loads(first + rest)) < 5_000
    assert b"Traceback" not in errors


@posix_only
def test_a_reader_that_leaves_is_no_crash(speech_wav: MakeWav) -> None:
    clip = speech_wav("clip.wav", 1.5)
    command = [*DETECT, *UNITTEST, "--jsonl", *[str(clip)] * 2_000]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 141
    assert errors == b""


def test_bad_inputs_cost_a_line_each_and_nothing_else(speech_wav: MakeWav, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    found = make_bad_inputs(tmp_path / "bad").values()
    bad = [str(path) for path in found if "\0" not in str(path)]  # no shell can pass a null byte
    good = [str(speech_wav(f"good-{index}.wav", 1.5, seed=index)) for index in range(4)]
    mixed = [good[0], *bad[:30], good[1], good[2], *bad[30:], good[3]]
    command = [*DETECT, *UNITTEST, "--jsonl", *mixed]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 3
    reports = {}
    for line in done.stdout.splitlines():
        report = json.loads(line)
        reports[report["input"]["name"]] = report
    assert set(good) <= set(reports)
    # The folder among them holds no audio, which is said before anything is scored.
    [folder] = [path for path in bad if os.path.isdir(path)]
    refused = [folder, *(path for path in bad if path not in reports and path != folder)]
    assert len(refused) > 40
    # One line each and in order: neither a traceback nor what the decoders mumble to themselves.
    lines = done.stderr.splitlines()
    assert "no audio files here" in lines[0]
    assert len(lines) == len(refused)
    assert len(lines) + len(reports) == len(mixed)
    for line, path in zip(lines, refused, strict=True):
        assert line.startswith(f"{' '.join(path.split())}: ")
    for path in set(reports) - set(good):
        assert reports[path]["warnings"] or reports[path]["verdict"] == "inconclusive", path


@posix_only
@pytest.mark.parametrize(("closed", "status"), [("<&-", 3), (">&-", 3), ("2>&-", 3)])
def test_closed_streams(speech_wav: MakeWav, closed: str, status: int) -> None:
    clip = str(speech_wav("clip.wav", 1.5))
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *DETECT, *UNITTEST, "--json", "-", clip]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == status
    if closed != ">&-":
        assert [report["input"]["name"] for report in json.loads(done.stdout)] == [clip]
    if closed != "2>&-":
        [line] = done.stderr.splitlines()
        reason = "cannot be read" if closed == "<&-" else "the file is empty"
        assert line.startswith(f"stdin: {reason}")


@posix_only
def test_progress_and_errors_reach_the_terminal(speech_wav: MakeWav, tmp_path: Path) -> None:
    clips = [str(speech_wav(f"{index}.wav", 1.5)) for index in range(3)]
    terminal, slave = os.openpty()
    command = [*DETECT, *UNITTEST, "--jsonl", *clips, str(tmp_path / "missing.wav")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        shown = _read_to_the_end(terminal)
        results, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 3
    assert len(results.splitlines()) == 3
    assert b"4/4" in shown
    assert b"missing.wav: no such file" in shown


def _read_to_the_end(terminal: int) -> bytes:
    shown = b""
    try:
        while block := os.read(terminal, 65_536):
            shown += block
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    return shown
