"""``deepfake-audio``: everything beside scoring files."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from .._process import one_thread_each
from ..errors import DatasetError
from .assess import assess
from .augment import augment
from .check import check
from .console import (
    DeviceName,
    DeviceOption,
    JsonOption,
    ModelOption,
    VersionOption,
    errors_end_the_command,
    use_utf8,
)
from .detect import detect
from .drill import drill
from .evaluate import evaluate
from .export import export
from .label import label
from .monitor import monitor
from .robustness import robustness
from .score import score
from .serve import audit_app, callbacks_app, feedback_app, keys_app, serve
from .train import soup, sweep, train
from .vocoder import vocoder

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TEST_FIGURES = "test.json"
"""Beside a released model: its evaluation on the test split, made once."""


@app.callback()
def deepfake_audio(version: VersionOption = False) -> None:
    """Train, evaluate and measure detectors of synthetic speech; `detect` scores files."""


def models(json: JsonOption = False) -> None:
    """List the released models."""
    from ..checkpoint import released_models

    use_utf8()
    with errors_end_the_command():
        rows = [_describe(path) for path in released_models().values()]
    if json:
        typer.echo(json_module.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(
            f"{row['name']} {row['version']}: {row['parameters']:,} parameters, "
            f"{row['bytes'] / 1e6:.2f} MB, sha256 {row['sha256']}"
        )
        for split, figures in row["metrics"].items():
            shown = [f"{name} {_number(value)}" for name, value in figures.items()]
            typer.echo(f"  {split}: {', '.join(shown)}")
    if not rows:
        typer.echo("no released models here", err=True)


def _describe(path: Path) -> dict[str, Any]:
    from ..checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    header = checkpoint.header
    numbers = {
        split: {k: v for k, v in figures.items() if isinstance(v, int | float)}
        for split, figures in header.metrics.items()
        if isinstance(figures, dict)
    }
    # What `evaluate --split test --out` wrote when the model was released.
    test = path.with_name(TEST_FIGURES)
    if test.is_file():
        figures = json_module.loads(test.read_text(encoding="utf-8"))["figures"]
        numbers["test"] = {name: figure["value"] for name, figure in figures.items()}
    return {
        "name": header.name,
        "version": header.version,
        "parameters": checkpoint.torch_network.n_parameters,
        "bytes": path.stat().st_size,
        "sha256": checkpoint.sha256,
        "policies": sorted(header.policies),
        "metrics": numbers,
        "path": str(path),
    }


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def bench(
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|DIR", help="Speech to measure on; the bundled samples if none."),
    ] = None,
    model: ModelOption = "default",
    device: DeviceOption = DeviceName.AUTO,
    clips: Annotated[int, typer.Option(min=1, help="Files in a run.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="Runs behind each median.")] = 3,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also say where the time of one thread goes.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Measure speed on this machine: end to end, and features, against the plain way."""
    from .. import benchmarking, profiling
    from ..config import Limits
    from ..detector import Detector
    from .inputs import collect

    use_utf8()
    with errors_end_the_command():
        folder = benchmarking.bundled_speech()
        speech = collect(data or [str(folder)], recursive=True, limits=Limits()).sources
        if not speech:
            raise DatasetError("no speech to measure on", hint="name files or folders with --data")
        # As `detect` does with many files.
        exported = model.endswith(".onnx")
        workers = 1 if exported else one_thread_each(device)
        detector = Detector.load(model, device=device, workers=workers)
        files = benchmarking.speech_clips(speech, clips)
        found = [
            benchmarking.end_to_end(detector, files, repeats),
            *benchmarking.features(detector, files, repeats),
        ]
        stages = profiling.profile(detector, files, repeats) if profile else []
    if json:
        measured = benchmarking.to_dict(detector, found, clips=clips, repeats=repeats)
        if profile:
            measured["profile"] = profiling.to_dict(stages)
        typer.echo(json_module.dumps(measured, indent=2))
        return
    typer.echo(benchmarking.table(found))
    if profile:
        typer.echo(profiling.table(stages))


# In the order in which people come to them, with as much as fits into a line of --help.
for command, summary in (
    (detect, "A verdict for each file; the same as the command `detect`."),
    (score, "Folders, buckets and manifests into parquet files, on a cluster."),
    (label, "Write an AIGC label (GB 45438-2025) into a file."),
    (monitor, "What has shifted since a reference, and what to listen to."),
    (models, "List the released models."),
    (bench, "Measure speed on this machine."),
    (export, "Write a model as one graph, ONNX or TorchScript."),
    (evaluate, "Measure a model, or a score file, on labelled clips."),
    (robustness, "The same under codecs, noise, rooms, edits and attacks."),
    (drill, "Attack the deployed detector with what is installed here."),
    (assess, "Write a security assessment."),
    (check, "What alone tells the classes of a data set apart, and leaks."),
    (train, "Train a model, or adapt one to own clips."),
    (sweep, "Train many variants, with several seeds."),
    (soup, "Average the weights of models that were trained alike."),
    (vocoder, "Train a vocoder for copies of genuine clips."),
    (augment, "Write copies by vocoders, and clips under conditions."),
    (serve, "Run the moderation service."),
):
    app.command(short_help=summary)(command)
for group, name in (
    (keys_app, "keys"),
    (callbacks_app, "callbacks"),
    (audit_app, "audit"),
    (feedback_app, "feedback"),
):
    app.add_typer(group, name=name)
