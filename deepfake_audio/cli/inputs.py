"""What was named on the command line: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..audio import AudioSource
from ..config import Limits
from ..datasets.manifest import AUDIO_SUFFIXES
from ..errors import AudioError, LimitExceededError

STDIN = "-"
STDIN_NAME = "stdin"


@dataclass
class Inputs:
    """Inputs in the order they will be scored, and what there is to say about the finding.

    Attributes
    ----------
    names : list of str
        What reports call them.
    sources : list of path or bytes
        Where the audio is.
    skipped : list of str
        Files in folders that are no audio by their name.
    warnings : list of str
        Folders that hold no audio.
    failures : list of AudioError
        Inputs that cannot even be tried.
    """

    names: list[str] = field(default_factory=list)
    sources: list[AudioSource] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[AudioError] = field(default_factory=list)

    def add(self, name: str, source: AudioSource) -> None:
        """Append one input."""
        self.names.append(name)
        self.sources.append(source)


def collect(arguments: Iterable[str], *, recursive: bool, limits: Limits) -> Inputs:
    """Find the inputs behind command-line arguments.

    A file that is named is always tried, whatever it is called; in a folder only files with the
    suffix of audio or video are. A pattern that the shell has not expanded is expanded here. A
    path that does not exist stays, so that reading it says so.

    Parameters
    ----------
    arguments : iterable of str
        Files, folders, patterns or ``-``.
    recursive : bool
        Look into the folders of folders.
    limits : Limits
        Bounds what is read from standard input.
    """
    inputs = Inputs()
    for argument in arguments:
        if argument == STDIN:
            _add_stdin(inputs, limits.max_file_bytes)
            continue
        for path in _expand(argument):
            if os.path.isdir(path):
                _add_folder(inputs, path, recursive=recursive)
            else:
                inputs.add(path, path)
    return inputs


def _expand(argument: str) -> list[str]:
    if glob.has_magic(argument) and not os.path.lexists(argument):
        return sorted(glob.glob(argument, recursive=True)) or [argument]
    return [argument]


def _add_folder(inputs: Inputs, folder: str, *, recursive: bool) -> None:
    before = len(inputs.names)
    for path in _files(folder, recursive=recursive):
        if Path(path).suffix.lower() in AUDIO_SUFFIXES:
            inputs.add(path, path)
        else:
            inputs.skipped.append(path)
    if len(inputs.names) == before:
        hint = "" if recursive else "; --recursive looks into the folders inside"
        inputs.warnings.append(f"{folder}: no audio files here{hint}")


def _files(folder: str, *, recursive: bool) -> Iterator[str]:
    """Yield the files of a folder in a stable order; hidden ones are no recordings."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(names) if name[0] != ".")
        if not recursive:
            return


def _add_stdin(inputs: Inputs, max_bytes: int) -> None:
    # Read here and not on a decoding thread, where an interrupt could not end the waiting.
    content = sys.stdin.buffer.read(max_bytes + 1)
    if len(content) > max_bytes:
        inputs.failures.append(
            LimitExceededError(f"holds more than {max_bytes} bytes", name=STDIN_NAME)
        )
    else:
        inputs.add(STDIN_NAME, content)
