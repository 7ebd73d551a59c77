"""``deepfake-audio vocoder``: a small vocoder, trained in minutes, to copy speech with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .console import QuietOption, check_writable, errors_end_the_command, say
from .labelled import DataOption
from .train import CacheOption, silent, training_progress


def vocoder(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="Weights and settings.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the crops.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Of 16 half seconds.")] = 1500,
    loss: Annotated[str, typer.Option(help="stft, or log: log magnitudes alone.")] = "stft",
    n_fft: Annotated[int, typer.Option(min=64, help="Samples of a frame at 16 kHz.")] = 1024,
    hop_length: Annotated[int, typer.Option(min=16, help="Samples between frames.")] = 256,
    n_bands: Annotated[int, typer.Option(min=8, help="Mel bands that it hears.")] = 80,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a vocoder on the genuine clips, for `--vocoder` of `train` and `augment`.

    Clips of split `dev` and `test` are left out. Another seed, loss or mel setting leaves other
    traces in its copies.
    """
    with errors_end_the_command():
        from ..augment.istft_vocoder import IstftVocoderConfig
        from ..training.vocoder import VocoderRecipe, make_vocoder

        out.parent.mkdir(parents=True, exist_ok=True)
        check_writable(out.parent)
        if out.is_dir():
            raise ConfigError("is a folder", name=str(out), hint="give the name of a file")
        config = IstftVocoderConfig(n_fft=n_fft, hop_length=hop_length, n_bands=n_bands)
        recipe = VocoderRecipe.from_dict({"seed": seed, "steps": steps, "loss": loss})
        with training_progress(steps, quiet=quiet) as on_progress:
            made = make_vocoder(
                data,
                out,
                config,
                recipe,
                cache=cache or out.parent / "cache",
                say=silent if quiet else say,
                on_progress=on_progress,
            )
    typer.echo(made)
