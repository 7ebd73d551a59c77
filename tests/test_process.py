"""What the commands and the service set for their process."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_audio._process import loading

HEAPS = """
import ctypes, threading
from deepfake_audio import _process
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
if {shared}:
    _process.share_one_heap()
barrier = threading.Barrier(4)
def work():
    barrier.wait()  # all at once: a thread that is alone takes the heap of one that has ended
    libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_one_heap_serves_all_threads() -> None:
    def heaps(shared: bool) -> int:
        code = HEAPS.format(shared=shared)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if "malloc_info" in done.stderr:
            pytest.skip("no glibc")
        assert done.returncode == 0, done.stderr
        return done.stdout.count("<heap nr=")

    assert heaps(shared=False) > 1
    assert heaps(shared=True) == 1


def test_loading_leaves_the_collector_as_it_was() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt), loading():
        raise KeyboardInterrupt
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


ENDING = """
import atexit, sys
from deepfake_audio._process import end_at_once
atexit.register(print, "taken apart")
print("said")
end_at_once(3)
"""


def test_what_was_said_is_out_before_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "said\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_what_cannot_be_said_is_no_success() -> None:
    code = "from deepfake_audio.cli import detect_process; detect_process()"
    command = [sys.executable, "-c", code, "--version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert "No space left" in done.stderr
