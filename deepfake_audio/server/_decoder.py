"""The process in which hostile recordings are decoded; started by :mod:`.sandbox`.

Reads one JSON line a recording from standard input and answers with one JSON line, followed by
the samples as raw float32. What it may use is limited before the first recording is looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from ..audio import decode
from ..config import Limits
from ..errors import DeepfakeAudioError
from ..labels import Provenance
from ..provenance.reading import read_tags
from ..provenance.rhythm import RhythmListener


def main() -> None:
    """Serve until standard input ends."""
    # Libraries print about damaged files to descriptor 1; the answers must stay clean of that.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    allowed = json.loads(sys.argv[1])
    _confine(allowed["memory_bytes"])
    limits = Limits.from_dict(allowed["limits"])
    for line in sys.stdin.buffer:
        _confine_seconds(allowed["cpu_s"])
        _serve(json.loads(line), limits, answers)


def _serve(task: dict[str, Any], limits: Limits, answers: BinaryIO) -> None:
    path, name = Path(task["path"]), task["name"]
    try:
        audio = decode(path, name=name, limits=limits)
    except DeepfakeAudioError as error:
        _answer(answers, {"code": error.code, "message": error.message, "hint": error.hint})
        return
    except MemoryError:
        message = "needs more memory than a recording may take"
        _answer(answers, {"code": "limit_exceeded", "message": message, "hint": "split it"})
        return
    except Exception as error:
        message = f"could not be decoded ({type(error).__name__})"
        _answer(answers, {"code": "unreadable_audio", "message": message, "hint": None})
        return
    provenance = Provenance()
    if task["labels"]:
        with contextlib.suppress(Exception):  # whatever is wrong with tags, the sound is there
            provenance = read_tags(path, name=name, limits=limits)
    if task["audible_labels"]:
        listener = RhythmListener(len(audio.samples))
        listener.feed(audio.samples)
        provenance = dataclasses.replace(provenance, rhythm_s=listener.found_s())
    header = {
        "provenance": dataclasses.asdict(provenance),
        "info": dataclasses.asdict(audio.info),
        "flags": audio.flags,
        "shape": audio.samples.shape,
    }
    _answer(answers, header, audio.samples.data.cast("B"))


def _answer(answers: BinaryIO, header: dict[str, Any], samples: memoryview | bytes = b"") -> None:
    answers.write(json.dumps(header).encode() + b"\n")
    answers.write(samples)
    answers.flush()


def _confine(memory_bytes: int) -> None:
    """Give up what decoding does not need: memory, writing files, core dumps."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(what)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, limit))


def _confine_seconds(cpu_s: float) -> None:
    """Let the kernel end this process if the next recording takes more time than this."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + cpu_s) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


if __name__ == "__main__":
    main()
