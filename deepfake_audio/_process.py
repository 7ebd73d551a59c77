"""Settings of a process that is ours, as those of the commands and of the service are.

The library sets nothing of the kind: it is a guest.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 28


def one_thread_each(device: str) -> int:
    """On a CPU, let torch use one thread a batch; return how many batches to score at a time.

    With many files whole batches side by side leave no core waiting.
    """
    import torch

    from .scoring import resolve_device

    if resolve_device(device).type != "cpu":
        return 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    return threads


def keep_freed_memory() -> None:
    """Let glibc keep what one batch has freed for the next one.

    Otherwise feature maps are mapped anew for every batch, and the kernel clears each page of them
    again: up to a tenth of the time. Elsewhere than with glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
