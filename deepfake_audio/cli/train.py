"""``deepfake-audio train``: from labelled clips to a calibrated checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, DeepfakeAudioError
from .console import DeviceName, DeviceOption, QuietOption, fail, say

OnProgress = Callable[[int, dict[str, float]], None]


def train(
    config: Annotated[Path, typer.Option(metavar="RECIPE.toml", help="What to train.")],
    data: Annotated[
        list[str],
        typer.Option(metavar="DIR|PARQUET|CSV", help="Labelled clips; may be given repeatedly."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Training state, log and model.")],
    noise: Annotated[
        Path | None, typer.Option(help="Parquet file of noise, music, babble, room responses.")
    ] = None,
    vocoder: Annotated[
        list[Path] | None,
        typer.Option(help="HiFi-GAN generator for copies of genuine clips; repeatable."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where decoded clips are kept.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that --out holds.")
    ] = False,
    device: DeviceOption = DeviceName.AUTO,
    quiet: QuietOption = False,
) -> None:
    """Train, calibrate and save a model; Ctrl-C stops, --resume goes on bit for bit."""
    try:
        from ..scoring import resolve_device
        from ..training import Recipe
        from ..training import train as run
        from ..training.loop import STATE_NAME

        if (out / STATE_NAME).exists() and not resume:
            raise ConfigError("holds a run already", name=str(out), hint="--resume goes on with it")
        recipe = Recipe.load(config)
        with _progress(recipe.optim.steps, quiet=quiet) as on_progress:
            checkpoint = run(
                recipe,
                data,
                out,
                noise=noise,
                vocoders=vocoder or [],
                cache=cache,
                device=resolve_device(device),
                say=_silent if quiet else say,
                on_progress=on_progress,
            )
    except DeepfakeAudioError as error:
        raise fail(error) from error
    typer.echo(checkpoint)


def _silent(message: str) -> None:
    """Say nothing."""


@contextmanager
def _progress(steps: int, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show steps, time left and the latest figures where standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task("", total=steps)
        shown: dict[str, float] = {}

        def on_progress(step: int, figures: dict[str, float]) -> None:
            wanted = {"total": "loss", "pooled_eer": "dev EER", "page_macro_eer": "by page"}
            shown.update({label: figures[key] for key, label in wanted.items() if key in figures})
            text = "  ".join(f"{label} {value:.3f}" for label, value in shown.items())
            bar.update(task, completed=step, description=text)

        yield on_progress
