"""``deepfake-audio export``: a model as one graph, for runtimes without this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import ConfigError, DeepfakeAudioError
from .console import ModelOption, errors_end_the_command, say

if TYPE_CHECKING:
    from ..audio import AudioSource
    from ..config import WindowConfig
    from ..windows import FloatArray

T = TypeVar("T")

CALIBRATION_CLIPS = 200
"""Most clips that ranges of eight-bit numbers are set by, spread over what is given."""


class Format(StrEnum):
    """Kinds of graph."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    TORCHSCRIPT = "torchscript"


def export(
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Where the graph goes; .onnx, or .pt for torchscript."),
    ],
    model: ModelOption = "default",
    format: Annotated[
        Format,
        typer.Option(
            help="onnx and onnx-int8 are loaded as models without torch; torchscript is for "
            "programs in C++ and the like."
        ),
    ] = Format.ONNX,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|PARQUET",
            help="Clips that set the ranges of onnx-int8; of a corpus its train split.",
        ),
    ] = None,
) -> None:
    """Write a model as one graph: waveform in, logit out, the front end inside.

    The graph is compared with torch in fp32 before it is written; onnx and torchscript must equal
    it to 1e-4. onnx-int8 is coarser: `deepfake-audio evaluate --model FILE` says what that costs.
    """
    if bool(data) != (format is Format.ONNX_INT8):
        problem = "is needed to set ranges" if not data else "goes with --format onnx-int8"
        raise typer.BadParameter(problem, param_hint="--data")
    with errors_end_the_command():
        from .. import export as formats
        from ..checkpoint import load_checkpoint

        checkpoint = load_checkpoint(model)
        if format is Format.ONNX_INT8:
            windows = _windows(data or [], checkpoint.header.windows)
            found = formats.export_onnx_int8(checkpoint, out, windows)
            say(
                f"difference of the logit to fp32 over {len(windows)} windows: "
                f"{found.logit_rms:.3f} (rms; the logit itself varies by {found.logit_spread:.3f})"
            )
        else:
            write = (
                formats.export_torchscript if format is Format.TORCHSCRIPT else formats.export_onnx
            )
            say(f"largest difference of an output to torch in fp32: {write(checkpoint, out):.1e}")
    typer.echo(out)


def _windows(data: Sequence[str], config: WindowConfig) -> list[FloatArray]:
    """Return the windows of clips spread over folders, files and corpora."""
    from ..audio import decode
    from ..windows import cut

    sources = [source for argument in data for source in _sources(argument)]
    windows: list[FloatArray] = []
    for source in sources:
        try:
            samples = decode(source).samples
        except DeepfakeAudioError as error:
            say(str(error))
            continue
        windows += [window for channel in cut(samples, config) for window in channel]
    if not windows:
        raise ConfigError(
            "holds no clip that can be read and is long enough",
            name=", ".join(data),
            hint="give some hundred clips of speech",
        )
    return windows


def _sources(argument: str) -> Iterator[AudioSource]:
    """Return up to CALIBRATION_CLIPS clips of a corpus, or of a file or folder of audio."""
    from ..config import Limits
    from ..datasets.manifest import iter_audio, load_manifest
    from .inputs import collect

    path = Path(argument)
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        clips = _spread(load_manifest([path], split="train"))
        yield from (source for _, source in iter_audio(clips))
    else:
        yield from _spread(collect([argument], recursive=True, limits=Limits()).sources)


def _spread(items: Sequence[T]) -> list[T]:
    count = min(len(items), CALIBRATION_CLIPS)
    return [items[i * len(items) // count] for i in range(count)]
