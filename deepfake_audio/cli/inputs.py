"""What was named on the command line: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .._containers import read_header
from ..audio import AudioSource
from ..config import Limits
from ..datasets.clip import AUDIO_SUFFIXES
from ..errors import AudioError, AudioNotFoundError, LimitExceededError

STDIN = "-"
STDIN_NAME = "stdin"
# Photos that are built like an MP4: HEIF, AVIF, and the raw files of a camera maker.
_PHOTO_BRANDS = (b"hei", b"hev", b"mif", b"msf", b"avif", b"avis", b"crx")


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
        Files in folders that are hidden, or no audio by their name and content.
    warnings : list of str
        Folders that hold no audio, and how many files of others were skipped.
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

    A file that is named is always tried, whatever it is called; in a folder only files are that
    have the suffix of audio or video, or begin like one. A pattern that the shell has not expanded
    is expanded here. A path that does not exist stays, so that reading it says so.

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
    refused: list[AudioError] = []

    def refuse(error: OSError) -> None:
        refused.append(
            AudioNotFoundError(
                f"cannot be listed ({error.strerror})",
                name=str(error.filename),
                hint="check its permissions",
            )
        )

    found: list[str] = []
    skipped: list[str] = []
    for path in _files(folder, recursive=recursive, refuse=refuse):
        is_hidden = os.path.basename(path).startswith(".")
        (found if not is_hidden and _is_audio(path) else skipped).append(path)
    for path in found:
        inputs.add(path, path)
    inputs.skipped += skipped
    inputs.failures += refused
    if not found and not refused:
        hint = "" if recursive else "; --recursive looks into the folders inside"
        inputs.warnings.append(f"{folder}: no audio files here{hint}")
    if skipped:
        files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
        inputs.warnings.append(f"{folder}: {files} skipped, no audio (-v lists them)")


def _files(folder: str, *, recursive: bool, refuse: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the files of a folder in a stable order; hidden folders are not looked into."""
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(names))
        if not recursive:
            return


def _is_audio(path: str) -> bool:
    """Tell whether a file is audio or video by its suffix or, failing that, its first bytes."""
    if Path(path).suffix.lower() in AUDIO_SUFFIXES:
        return True
    if not os.path.isfile(path):  # opening a pipe would wait for its writer
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head[4:8] == b"ftyp" and head[8:].startswith(_PHOTO_BRANDS):
                return False
            return read_header(file, os.fstat(file.fileno()).st_size) is not None
    except OSError:
        return True  # reading it will say why it cannot be read


def _add_stdin(inputs: Inputs, max_bytes: int) -> None:
    # Read here and not on a decoding thread, where an interrupt could not end the waiting.
    try:
        # None is what Python makes of a standard input that the caller has closed.
        content = sys.stdin.buffer.read(max_bytes + 1) if sys.stdin else None
    except OSError:
        content = None
    if content is None:
        inputs.failures.append(
            AudioNotFoundError("cannot be read", name=STDIN_NAME, hint="pipe a recording into it")
        )
    elif len(content) > max_bytes:
        inputs.failures.append(
            LimitExceededError(
                f"more than {max_bytes} bytes",
                name=STDIN_NAME,
                hint="split the recording, or send part of it",
            )
        )
    else:
        inputs.add(STDIN_NAME, content)
