"""``deepfake-audio score``: many recordings into parquet files, resumable, here or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .._process import one_thread_each
from . import EXIT_INTERRUPTED, EXIT_NOTHING_SCORED, EXIT_SOME_UNREADABLE
from .console import (
    DeviceName,
    DeviceOption,
    ModelOption,
    PolicyName,
    PolicyOption,
    QuietOption,
    errors_end_the_command,
    progress_bar,
    say,
    silent_libraries,
)

if TYPE_CHECKING:
    from ..distributed import OnProgress


class EngineName(StrEnum):
    """Where shards are scored."""

    LOCAL = "local"
    RAY = "ray"


def score(
    source: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="DIR|MANIFEST|URL",
            help="Folder of recordings, or a CSV or parquet file of paths or of audio.",
        ),
    ],
    output: Annotated[
        str, typer.Option(metavar="DIR|URL", help="Folder for the parquet files of results.")
    ],
    engine: Annotated[
        EngineName, typer.Option(help="This process, or a Ray cluster.")
    ] = EngineName.LOCAL,
    shard_size: Annotated[int, typer.Option(min=1, help="Recordings in a file.")] = 500,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many score at a time; as many as fit if none.")
    ] = None,
    policy: PolicyOption = PolicyName.BALANCED,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="p_synthetic that is likely synthetic, your own."),
    ] = None,
    model: ModelOption = "default",
    device: DeviceOption = DeviceName.AUTO,
    quiet: QuietOption = False,
) -> None:
    """Score a folder, a bucket or a manifest into parquet files; run it again to go on.

    Exit status: 0 everything was scored; 3 some recordings could not be read, and have rows that
    say why; 4 nothing could be scored; 130 interrupted.
    """
    with errors_end_the_command():
        from .. import distributed

        settings = distributed.Settings(model, policy.value, threshold, device.value)
        if engine is EngineName.LOCAL and workers is None:
            workers = one_thread_each(device)
        try:
            with silent_libraries(), _progress(quiet=quiet) as on_progress:
                outcome = distributed.score(
                    source,
                    output,
                    engine=engine.value,
                    settings=settings,
                    shard_size=shard_size,
                    workers=workers,
                    on_progress=on_progress,
                )
        except KeyboardInterrupt:
            say("interrupted; the same command goes on with the shards that are missing")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if not quiet:
        say(
            f"{outcome.scored} scored, {outcome.failed} unreadable, "
            f"{outcome.resumed_shards} of {outcome.shards} shards were finished before"
        )
    typer.echo(output)
    if not outcome.scored:
        raise typer.Exit(EXIT_NOTHING_SCORED)
    if outcome.failed:
        raise typer.Exit(EXIT_SOME_UNREADABLE)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Show shards and time left where standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with progress_bar(transient=True) as bar:
        task = bar.add_task("shards", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
