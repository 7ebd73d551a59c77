"""What the commands share: lines on standard error, progress, and options of the same meaning."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from .. import __version__
from ..errors import ConfigError, DeepfakeAudioError
from ..report import printable
from . import EXIT_NOTHING_SCORED, EXIT_USAGE

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


class PolicyName(StrEnum):
    """Operating points every released model has."""

    RECALL = "recall"
    BALANCED = "balanced"
    PRECISION = "precision"


class DeviceName(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepfake-audio {__version__}")
        raise typer.Exit()


VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]
ModelOption = Annotated[
    str, typer.Option(metavar="NAME_OR_PATH", help="Released model, or a checkpoint file.")
]
PolicyOption = Annotated[
    PolicyName,
    typer.Option(help="Operating point: find more, or flag fewer genuine clips."),
]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to compute.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress, no notes; errors stay.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def say(message: str) -> None:
    """Write one line to standard error, whatever the message is made of."""
    typer.echo(printable(message), err=True)


def fail(error: DeepfakeAudioError) -> typer.Exit:
    """Print an error that ends the command, and return the exit to raise."""
    say(str(error))
    return typer.Exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_NOTHING_SCORED)


def fail_unexpectedly(error: Exception, *, verbose: bool) -> typer.Exit:
    """Print an error that nobody has foreseen, and return the exit to raise.

    Left to Python it would exit with 1, which belongs to ``--fail-on``.
    """
    if verbose:
        traceback.print_exception(error)
    say(f"internal error: {type(error).__name__}: {error}; please report it")
    return typer.Exit(EXIT_NOTHING_SCORED)


@contextmanager
def errors_end_the_command() -> Iterator[None]:
    """Turn an error into a line and an exit status; unforeseen ones also show where they arose."""
    try:
        yield
    except DeepfakeAudioError as error:
        raise fail(error) from error
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except Exception as error:
        raise fail_unexpectedly(error, verbose=True) from error


def check_writable(folder: Path) -> None:
    """Raise ConfigError now, and not after hours of work, if a folder cannot take files."""
    if not folder.is_dir():
        raise ConfigError("no such folder", name=str(folder), hint="create it, or choose another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError("cannot be written to", name=str(folder), hint="check its permissions")


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Keep what C libraries print about damaged files off the terminal.

    libmpg123 and FFmpeg write to file descriptor 2 behind Python's back. Inside this context the
    descriptor leads nowhere, and ``sys.stderr``, with all the command says, to where it led.
    """
    try:
        usual = sys.stderr.fileno() == 2
    except (AttributeError, OSError):  # no standard error at all, or one of Python's own
        usual = False
    if not usual:
        yield
        return
    stderr = sys.stderr
    stderr.flush()
    with (
        open(os.dup(2), "w", buffering=1, encoding=stderr.encoding, errors=stderr.errors) as kept,
        open(os.devnull, "w") as nowhere,
    ):
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = kept
        try:
            yield
        finally:
            sys.stderr = stderr
            os.dup2(kept.fileno(), 2)


def use_utf8() -> None:
    """Write results as UTF-8; bytes of file names that are no text come out as escapes."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def wants_colour() -> bool:
    """Tell whether standard output is a terminal whose user has nothing against colour."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def with_progress(items: Iterable[T], total: int, *, quiet: bool, label: str) -> Iterator[T]:
    """Pass items through under a progress bar on standard error, where that is a terminal.

    None is drawn while results go to a terminal: they show the progress themselves.
    """
    if quiet or total < 2 or sys.stdout.isatty() or not sys.stderr.isatty():
        yield from items
        return
    with progress_bar(transient=True) as progress:
        task = progress.add_task(label, total=total)
        for item in items:
            yield item
            progress.advance(task)


def progress_bar(*, transient: bool) -> Progress:
    """Make the progress bar of all commands: how far, how long still, and what it is about."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=transient,
        redirect_stdout=False,  # it belongs to the results; rich must not carry it elsewhere
    )
