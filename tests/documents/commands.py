"""``detect`` and ``deepfake-audio`` for a shell, each a fork of one process that has loaded torch.

Dozens of commands stand in the documents, and loading torch takes each of them seconds. A small
program in the place of each command hands its arguments, folder, environment and open files to
that process, whose fork then is the command, with its output and exit status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import deepfake_audio

PACKAGE = Path(deepfake_audio.__file__).parent

STAND_IN = """\
#!{python} -IS
import json, os, pathlib, signal, socket, sys, time, urllib.request
command = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
serving = command[1:2] == ["serve"]
log = open("serve.log", "w") if serving else None
files = [0, log.fileno(), log.fileno()] if serving else [0, 1, 2]
pid_file = pathlib.Path("serve.pid")
if serving and pid_file.exists():  # one service a page: its port is the same
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    while True:
        try:
            os.kill(int(pid_file.read_text()), 0)
            time.sleep(0.02)
        except ProcessLookupError:
            break
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"."], files)
    line.sendall(json.dumps([command, os.getcwd(), dict(os.environ)]).encode())
    line.shutdown(socket.SHUT_WR)
    told = line.makefile()
    pid = told.readline()
    if not serving:
        sys.exit(int(told.readline()))
    # A service stays in the background, and the shell goes on once it answers.
    pid_file.write_text(pid)
    line.settimeout(0.05)
    port = os.environ["DEEPFAKE_AUDIO_PORT"]
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{{port}}/healthz", timeout=5).close()
            break
        except OSError:
            pass
        try:
            if line.recv(1):
                sys.exit("the service has ended: " + pathlib.Path("serve.log").read_text())
        except TimeoutError:
            pass
"""

PRELOADED = (
    *("deepfake_audio.cli.detect", "deepfake_audio.cli.tools", "deepfake_audio.detector"),
    *("deepfake_audio.augment.conditions", "deepfake_audio.evaluation", "deepfake_audio.plots"),
    *("deepfake_audio.assessment.pdf", "deepfake_audio.server.service"),
    *("av", "matplotlib.figure", "scipy.signal", "soundfile"),
)
"""What commands load; of threads only OpenBLAS's begin, which it starts anew in a fork."""

PIP = "#!/bin/sh\nexit 0\n"
"""What is to be installed is installed; another test looks whether there are such extras."""


@contextlib.contextmanager
def stand_ins(folder: Path) -> Iterator[Path]:
    """Make a folder for PATH with the two commands in it, and ``pip``."""
    address = str(folder / "commands")
    programs = folder / "bin"
    programs.mkdir()
    stand_in = STAND_IN.format(python=sys.executable, address=address)
    for name, text in (("detect", stand_in), ("deepfake-audio", stand_in), ("pip", PIP)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, __file__, address],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield programs
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # with the services that it still runs
        process.wait()


def listen(address: str) -> None:
    """Wait for commands, and let a fork be each of them."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that forks share the memory
    signal.signal(signal.SIGCHLD, bury)

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
        sock.listen(16)
        print("ready", flush=True)
        while True:
            line, _ = sock.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                sock.close()
                be_command(line)
            line.close()


def bury(*_: object) -> None:
    """Let commands that have ended be gone; one of them may be waited for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def be_command(line: socket.socket) -> None:
    """Be one command, from its beginning to its end."""
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    told = b"".join(iter(lambda: line.recv(65_536), b""))
    (name, *arguments), folder, environment = json.loads(told)
    line.sendall(b"%d\n" % os.getpid())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = run(name, arguments)
    with contextlib.suppress(OSError):  # nobody waits for a service
        line.sendall(b"%d\n" % status)
    os._exit(status)


def run(name: str, arguments: list[str]) -> int:
    """Run a command, and return its exit status."""
    from deepfake_audio.cli import detect_main, main

    sys.argv = [name, *arguments]
    try:
        (detect_main if name == "detect" else main)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


if __name__ == "__main__":
    listen(sys.argv[1])
