"""The two commands, ``detect`` and ``deepfake-audio``; torch is loaded only to do the work."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from .._process import end_at_once

EXIT_HIT = 1
EXIT_USAGE = 2
EXIT_SOME_UNREADABLE = 3
EXIT_NOTHING_SCORED = 4
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE has ended."""


def detect_process() -> None:
    """Entry point of ``detect``, which ends the process itself."""
    try:
        detect_main()
    except SystemExit as end:
        if isinstance(end.code, int):
            end_at_once(end.code)
        raise


def detect_main() -> None:
    """Run ``detect``."""
    from .detect import app

    _prepare_process()
    app(prog_name="detect")


def main() -> None:
    """Entry point of ``deepfake-audio``."""
    from .tools import app

    _prepare_process()
    app(prog_name="deepfake-audio")


def _prepare_process() -> None:
    def terminate(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    # A stream that the caller has closed is None; what would go there goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    # Leave like an interrupted program, so that JSON on standard output is closed properly.
    signal.signal(signal.SIGTERM, terminate)
