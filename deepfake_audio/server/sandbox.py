"""Hostile recordings are decoded in processes of their own, within memory, CPU and time.

A decoder that crashes, hangs or eats memory costs the recording it was at, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from .. import errors
from ..audio import AudioInfo, DecodedAudio
from ..config import Limits
from ..errors import AudioError, CorruptAudioError, DeepfakeAudioError, LimitExceededError
from ..labels import Provenance

RENEW_AFTER = 500
"""Recordings after which a decoder is replaced, so that what it leaks stays small."""

_GRACE_S = 5.0
"""Seconds beyond the limit before a decoder that does not answer is killed; it also covers the
start of the process."""

_MAX_HEADER_BYTES = 1 << 20
_MAX_LABELS_CHARS = 1 << 15  # more than this is no label, and would be kept with each record

_PIPE_BYTES = 1 << 20
"""A decoder that can leave its answer there goes on to the next recording."""

_ERRORS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DeepfakeAudioError)
}


class SandboxUnavailableError(Exception):
    """No decoder can be started, as when there is no memory or no process to be had."""


class Reading(NamedTuple):
    """What is in a file: its sound, and what labels in it claim."""

    audio: DecodedAudio
    provenance: Provenance


class Sandbox:
    """A pool of decoders; safe to use from several threads.

    Parameters
    ----------
    decoders : int
        Processes.
    limits : Limits
        What one recording may cost; ``max_decode_s`` bounds CPU and wall-clock time alike.
    memory_bytes : int
        Address space of a decoder.
    """

    def __init__(self, decoders: int, limits: Limits, memory_bytes: int) -> None:
        self._limits = limits
        self._idle: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()
        for _ in range(decoders):
            self._idle.put(None)  # started when first needed
        self._command = [
            sys.executable,
            "-m",
            "deepfake_audio.server._decoder",
            json.dumps(
                {
                    "limits": limits.to_dict(),
                    "memory_bytes": memory_bytes,
                    "cpu_s": limits.max_decode_s,
                }
            ),
        ]
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def decode(self, path: Path, *, name: str) -> DecodedAudio:
        """Decode a file; waits for a free decoder. As :meth:`read`, without labels."""
        return self._decode({"path": str(path), "name": name}).audio

    def read(self, path: Path, *, name: str, audible_labels: bool = False) -> Reading:
        """Decode a file and read its labels; waits for a free decoder.

        Parameters
        ----------
        path : Path
            A file of ours.
        name : str
            What reports and messages call it.
        audible_labels : bool
            Listen for the rhythm of a label, too, which takes as long as decoding.

        Raises
        ------
        AudioError
            As :func:`deepfake_audio.audio.decode` does, or because the decoder came to an end.
        SandboxUnavailableError
            If no decoder can be started.
        """
        wanted = {"path": str(path), "name": name, "audible_labels": audible_labels}
        try:
            return self._decode({**wanted, "labels": True})
        except _TagsError:  # what cannot stand its tags may still be heard
            return self._decode(wanted)

    def _decode(self, task: dict[str, Any]) -> Reading:
        name, labels = task["name"], task.get("labels", False)
        decoder = self._idle.get()
        try:
            if decoder is None or decoder.worn:
                if decoder is not None:
                    decoder.kill()
                decoder = None
                decoder = self._start()
            return decoder.decode({"labels": False, "audible_labels": False, **task}, self._limits)
        except _DecoderLostError as error:
            if decoder is not None:
                decoder.kill()
                decoder = None
            if labels and error.status is not None:
                raise _TagsError from error
            raise error.as_audio_error(name) from error
        except DeepfakeAudioError:  # its answer
            raise
        except BaseException:  # out of step: what comes next could be read as something else
            if decoder is not None:
                decoder.kill()
                decoder = None
            raise
        finally:
            self._idle.put(decoder)
            if self._closed.is_set():
                self.close()

    def _start(self) -> _Decoder:
        try:
            return _Decoder(self._command)
        except OSError as error:
            raise SandboxUnavailableError(str(error)) from error

    def close(self) -> None:
        """End all decoders that are idle, and the others when they are done."""
        self._closed.set()
        while True:
            try:
                decoder = self._idle.get_nowait()
            except queue.Empty:
                return
            if decoder is not None:
                decoder.kill()


def _provenance(said: object) -> Provenance:
    """Return the labels that a decoder speaks of, if they are such as a record can hold."""
    try:
        text = json.dumps(said, allow_nan=False, ensure_ascii=False)
        if len(text) > _MAX_LABELS_CHARS or "\\u0000" in text:
            return Provenance()
        return Provenance(**json.loads(text.encode("utf-8", "replace")))
    except (TypeError, ValueError, RecursionError):
        return Provenance()


class _TagsError(Exception):
    """A decoder ended, and it had been asked for labels, too."""


class _DecoderLostError(Exception):
    """A decoder ended or did not answer in time."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status

    def as_audio_error(self, name: str) -> AudioError:
        if self.status is None or self.status == -24:  # SIGXCPU
            return LimitExceededError(
                "decoding takes longer than it may", name=name, hint="split or convert it"
            )
        return CorruptAudioError(
            "it ends the decoder, or needs more memory than a recording may take",
            name=name,
            hint="export it again",
        )


class _Decoder:
    """One process."""

    def __init__(self, command: list[str]) -> None:
        # One thread, and nothing in the environment that a decoder could tell anybody.
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG") if key in os.environ}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the matter of the service
        )
        self._done = 0
        stdout = self._process.stdout
        assert stdout is not None
        self._answer = select.poll()
        self._answer.register(stdout, select.POLLIN)
        with contextlib.suppress(AttributeError, OSError):  # or as much as this account may have
            fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def worn(self) -> bool:
        return self._done >= RENEW_AFTER or self._process.poll() is not None

    def decode(self, task: dict[str, Any], limits: Limits) -> Reading:
        name = task["name"]
        self._done += 1
        patience_s, max_samples = limits.max_decode_s + _GRACE_S, limits.max_samples
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        deadline = time.monotonic() + patience_s
        try:
            stdin.write(json.dumps(task).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise _DecoderLostError(self._end()) from error
        header, rest = self._header(stdout, deadline)
        if "code" in header:
            kind = _ERRORS.get(header["code"], AudioError)
            raise kind(header["message"], name=name, hint=header["hint"])
        channels, length = map(int, header["shape"])
        # What a decoder says is not believed either: it may be in the hands of its input.
        if channels < 1 or length < 0 or channels * length > max_samples:
            raise _DecoderLostError(self._end())
        content = bytearray(channels * length * 4)
        content[: len(rest)] = rest
        view = memoryview(content)[len(rest) :]
        while view:
            view = view[self._read_into(stdout, view, deadline) :]
        samples = np.frombuffer(content, dtype=np.float32).reshape(channels, length)
        audio = DecodedAudio(AudioInfo(**header["info"]), samples, tuple(header["flags"]))
        return Reading(audio, _provenance(header["provenance"]))

    def _header(self, stdout: IO[bytes], deadline: float) -> tuple[dict[str, Any], bytes]:
        """Return the first line of an answer, and what was read beyond it."""
        got = bytearray()
        block = memoryview(bytearray(1 << 16))
        while b"\n" not in got:
            if len(got) > _MAX_HEADER_BYTES:
                raise _DecoderLostError(self._end())
            got += block[: self._read_into(stdout, block, deadline)]
        line, _, rest = bytes(got).partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        return header, rest

    def _read_into(self, stdout: IO[bytes], view: memoryview, deadline: float) -> int:
        if not self._answer.poll(1e3 * max(deadline - time.monotonic(), 0)):
            raise _DecoderLostError(None)
        # Past the buffer of the file object, which the poll does not know of.
        count = os.readv(stdout.fileno(), [view])
        if not count:
            raise _DecoderLostError(self._end())
        return count

    def _end(self) -> int:
        """Return the status with which the process ended, or is made to end."""
        try:
            return self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
