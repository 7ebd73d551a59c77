"""Windows are scored in processes of their own, for Python's lock to be free for what comes in.

A network on a CPU is some hundred short operations, and a thread asks for the lock after each.
Where a thousand chunks a second are taken in beside it, it waits for the lock as long as it
computes.

A question is the hash of the model (64 bytes), the number of windows, their lengths (uint32 each)
and their samples (float32); the answer the number of windows, or 0 if it failed, and the rows of
:class:`~deepfake_audio.scoring.Heard` as float64.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from ...scoring import Heard, Scorer
from ...windows import FloatArray
from .. import logs
from ..engine import Engine

logger = logging.getLogger(__name__)

SHA_BYTES = 64
COUNT = np.dtype("<u4")

_ANSWER_S = 30.0
_RESTART_S = 10.0
_PIPE_BYTES = 1 << 20


class LostError(Exception):
    """The process has ended, or does not answer."""


class Apart:
    """A process that scores; for one thread.

    Until it is ready, and when it has come to an end, windows are scored in this process.

    Parameters
    ----------
    models : sequence of str
        What it loads, as for :func:`~deepfake_audio.checkpoint.load_checkpoint`.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = models
        self._process: subprocess.Popen[bytes] | None = None
        self._known: frozenset[str] | None = None
        self._not_before = 0.0

    def hear(self, engine: Engine, rows: Sequence[FloatArray]) -> Heard:
        """Score windows by the model of an engine; as :meth:`Scorer.hear`.

        Raises
        ------
        RuntimeError
            If they cannot be scored.
        """
        if rows and engine.model.sha256 in self._ready():
            try:
                return self._ask(engine.model.sha256, rows)
            except (LostError, OSError):
                logger.exception("a process that scores rooms was lost; starting another one")
                self.close()
        return engine.scorer.hear(rows)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in _pipes(self._process):
                pipe.close()
        self._process, self._known = None, None
        self._not_before = time.monotonic() + _RESTART_S

    def _ready(self) -> frozenset[str]:
        """Return the hashes of the models it has, none while it starts."""
        if self._process is None and time.monotonic() >= self._not_before:
            self._start()
        if self._process is None:
            return frozenset()
        if self._known is None:
            _, answers = _pipes(self._process)
            if not _is_due(answers, select.POLLIN, 0):
                return frozenset()
            if not (line := answers.readline()):
                logger.error("a process that is to score rooms did not start")
                self.close()
                return frozenset()
            self._known = frozenset(line.decode().split())
        return self._known

    def _start(self) -> None:
        command = [sys.executable, "-m", "deepfake_audio.server.rooms._apart"]
        try:
            process = subprocess.Popen(
                [*command, *self._models],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # what is read is asked for beforehand, past any buffer
                env={**os.environ, **logs.for_child(), "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is the matter of the service
            )
        except OSError:
            logger.exception("no process to score rooms in")
            self._not_before = time.monotonic() + _RESTART_S
            return
        self._process = process
        os.set_blocking(_pipes(process)[0].fileno(), False)  # it may stop reading
        with contextlib.suppress(AttributeError, OSError):  # or as much as this account may have
            fcntl.fcntl(_pipes(process)[0], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _ask(self, sha256: str, rows: Sequence[FloatArray]) -> Heard:
        assert self._process is not None
        questions, answers = _pipes(self._process)
        lengths = np.array([len(row) for row in rows], COUNT)
        head = sha256.encode() + COUNT.type(len(rows)).tobytes() + lengths.tobytes()
        samples = np.concatenate(rows).astype(np.float32, copy=False)
        deadline = time.monotonic() + _ANSWER_S
        for part in (head, samples.data.cast("B")):
            view = memoryview(part)
            while view:
                _await(questions, select.POLLOUT, deadline)
                view = view[questions.write(view) or 0 :]
        _await(answers, select.POLLIN, deadline)
        if not int(np.frombuffer(read_exactly(answers, COUNT.itemsize), COUNT)[0]):
            raise RuntimeError("windows could not be scored")
        found = np.frombuffer(read_exactly(answers, 3 * 8 * len(rows))).reshape(3, -1)
        return Heard(found[0], found[1] != 0, found[2])


def can_be_apart(scorer: Scorer) -> bool:
    """Tell whether a scorer computes where a second one can do the same: on a CPU."""
    return all(str(device) == "cpu" for device in scorer.devices)


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Read so many bytes.

    Raises
    ------
    LostError
        If there are fewer.
    """
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = stream.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise LostError("it ended")
        view = view[got:]
    return bytes(content)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[BinaryIO, BinaryIO]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout  # type: ignore[return-value]


def _await(pipe: BinaryIO, what: int, deadline: float) -> None:
    if not _is_due(pipe, what, max(deadline - time.monotonic(), 0)):
        raise LostError("it does not answer")


def _is_due(pipe: BinaryIO, what: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(pipe, what)
    return bool(poll.poll(1e3 * patience_s))
