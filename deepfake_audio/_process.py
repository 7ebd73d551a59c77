"""Settings of a process that is ours, as those of the commands and of the service are.

The library sets nothing of the kind: it is a guest.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 1 << 28
_KERNELS = 16_384


def one_thread_each(device: str) -> int:
    """On a CPU, let torch use one thread a batch; return how many batches to score at a time.

    With many files whole batches side by side leave no core waiting.
    """
    import torch

    from .devices import resolve_device

    if resolve_device(device).type != "cpu":
        return 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    prepare_for_batches()
    return threads


@contextmanager
def loading() -> Iterator[None]:
    """Load much that stays, without looking for garbage in it meanwhile.

    What torch brings along is some hundred thousand objects, and all of them come to stay.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def end_at_once(status: int) -> None:
    """End the process without taking it apart, which with torch takes half a second.

    Handlers for the end of the interpreter are not called. Returns if standard output cannot be
    flushed: to tell that is up to the interpreter.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


def prepare_for_batches() -> None:
    """Let nothing that one batch has made be thrown away before the next; before any batch.

    oneDNN keeps the kernels that it builds for each shape, but no more of them than windows of
    many lengths in batches of many sizes ask for: a quarter of the time. glibc gives freed feature
    maps back, and the kernel clears each page of them again: up to a tenth. Elsewhere than with
    glibc the latter does nothing.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))
    _mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    _mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def share_one_heap() -> None:
    """Let all threads allocate from one heap; before there are any. For a process that stays.

    glibc gives each thread a heap of its own, and what one has freed no other can use: with two
    scorers, batches of changing shape grow them. One heap stays a fifth smaller, grows less, and
    costs no time that could be measured. Elsewhere than with glibc this does nothing.
    """
    _mallopt(_M_ARENA_MAX, 1)


def _mallopt(option: int, value: int) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(option, value)
