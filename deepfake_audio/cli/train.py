"""``deepfake-audio train``: from labelled clips to a calibrated checkpoint."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .console import (
    DeviceName,
    DeviceOption,
    QuietOption,
    errors_end_the_command,
    progress_bar,
    say,
)
from .labelled import DataOption, NoiseOption

VocoderOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE|DIR",
        help="Copies genuine clips: codec2, griffin_lim, lpc, world, weights (of `vocoder` or "
        "HiFi-GAN), or the folder of Lyra's graphs; may be given repeatedly.",
    ),
]
CacheOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where decoded clips are kept.")
]
OnProgress = Callable[[int, dict[str, float]], None]


def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Training state, log and model.")],
    config: Annotated[
        list[Path] | None,
        typer.Option(metavar="RECIPE.toml", help="What to train; several: one branch each."),
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH", help="Adapt this model to the clips instead, in seconds."
        ),
    ] = None,
    noise: NoiseOption = None,
    vocoder: VocoderOption = None,
    cache: CacheOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that --out holds.")
    ] = False,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Then train once more, on dev, too; thresholds stay those of the first."
        ),
    ] = False,
    device: DeviceOption = DeviceName.AUTO,
    quiet: QuietOption = False,
) -> None:
    """Train, calibrate and save a model; Ctrl-C stops, --resume goes on bit for bit.

    Under `torchrun --nproc-per-node N -m deepfake_audio train ...` N processes share each batch.

    With --finetune only the last layer of a model that exists is fitted anew, so that it gets own
    clips right and forgets nothing.
    """
    if (config is None) == (finetune is None):
        raise typer.BadParameter("choose one", param_hint="--config, --finetune")
    if refit and finetune is not None:
        raise typer.BadParameter("goes with --config", param_hint="--refit")
    with errors_end_the_command():
        if finetune is not None:
            from ..checkpoint import load_checkpoint
            from ..training import finetune as adapt

            told = silent if quiet else say
            typer.echo(adapt(load_checkpoint(finetune), data, out, cache=cache, say=told))
            return
        from ..devices import resolve_device
        from ..training import Recipe, Sources
        from ..training import train as run
        from ..training.loop import STATE_NAME

        if any(out.glob(f"**/{STATE_NAME}")) and not resume:
            raise ConfigError("holds a run already", name=str(out), hint="--resume goes on with it")
        recipes = [Recipe.load(path) for path in config or []]
        sources = Sources(data, noise, vocoder or [], cache)
        leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun has started
        quiet = quiet or not leads
        steps = sum(r.optim.steps for r in recipes) * (2 if refit else 1)
        with training_progress(steps, quiet=quiet) as on_progress:
            checkpoint = run(
                recipes,
                sources,
                out,
                device=resolve_device(device),
                say=silent if quiet else say,
                on_progress=on_progress,
                refit=refit,
            )
    if leads:
        typer.echo(checkpoint)


def sweep(
    plan: Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="What is varied, and how.")],
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder each run, and the table.")],
    noise: NoiseOption = None,
    vocoder: VocoderOption = None,
    cache: CacheOption = None,
    device: DeviceOption = DeviceName.AUTO,
    quiet: QuietOption = False,
) -> None:
    """Train every combination of settings with every seed; a table of dev figures comes out.

    SWEEP.toml holds base (a recipe), seeds, [grid] with lists of values by dotted name, and
    [variants.NAME] with single ones. Finished runs are skipped, a stopped one goes on.
    """
    with errors_end_the_command():
        from ..devices import resolve_device
        from ..training import Sources
        from ..training.sweep import Sweep
        from ..training.sweep import sweep as run

        table = run(
            Sweep.load(plan),
            Sources(data, noise, vocoder or [], cache),
            out,
            device=resolve_device(device),
            say=silent if quiet else say,
        )
    typer.echo(table.read_text(encoding="utf-8"), nl=False)


def soup(
    models: Annotated[
        list[str],
        typer.Argument(metavar="NAME_OR_PATH...", help="Models of one architecture, two or more."),
    ],
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the model goes.")],
    noise: NoiseOption = None,
    vocoder: VocoderOption = None,
    cache: CacheOption = None,
    device: DeviceOption = DeviceName.AUTO,
    quiet: QuietOption = False,
) -> None:
    """Average the weights of models that were trained alike, and calibrate what comes out."""
    with errors_end_the_command():
        from ..checkpoint import load_checkpoint
        from ..devices import resolve_device
        from ..training import Sources
        from ..training import soup as average

        checkpoint = average(
            [load_checkpoint(name) for name in models],
            Sources(data, noise, vocoder or [], cache),
            out,
            device=resolve_device(device),
            say=silent if quiet else say,
        )
    typer.echo(checkpoint)


def silent(message: str) -> None:
    """Say nothing."""


@contextmanager
def training_progress(steps: int, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show steps, time left and the latest figures where standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with progress_bar(transient=False) as bar:
        task = bar.add_task("", total=steps)
        shown: dict[str, float] = {}
        last = before = 0  # step of this branch, steps of the branches before it

        def on_progress(step: int, figures: dict[str, float]) -> None:
            nonlocal last, before
            if step <= last:
                before += last
                shown.clear()  # figures of dev are those of the branch before
            last = step
            wanted = {"total": "loss", "pooled_eer": "dev EER", "page_macro_eer": "by page"}
            shown.update({label: figures[key] for key, label in wanted.items() if key in figures})
            text = "  ".join(f"{label} {value:.3f}" for label, value in shown.items())
            bar.update(task, completed=before + step, description=text)

        yield on_progress
