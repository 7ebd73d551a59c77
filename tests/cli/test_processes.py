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

MakeWav = Callable[..., Path]
DETECT = [sys.executable, "-c", "from deepfake_audio.cli import detect_main; detect_main()"]
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
