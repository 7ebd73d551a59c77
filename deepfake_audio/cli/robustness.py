"""``deepfake-audio robustness``: the same clips through codecs, noise and rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .console import (
    DeviceName,
    DeviceOption,
    JsonOption,
    ModelOption,
    PolicyName,
    PolicyOption,
    QuietOption,
    errors_end_the_command,
    one_thread_each,
    say,
    silent_libraries,
    use_utf8,
)


def robustness(
    data: Annotated[
        list[str],
        typer.Option(metavar="DIR|PARQUET|CSV", help="Labelled clips; may be given repeatedly."),
    ],
    split: Annotated[str | None, typer.Option(help="Only clips of this split.")] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="clean, noise:10, reverb, opus:12000, a-law, ...; repeatable."),
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(help="Parquet file of noise, music, babble, room responses.")
    ] = None,
    model: ModelOption = "default",
    policy: PolicyOption = PolicyName.BALANCED,
    device: DeviceOption = DeviceName.AUTO,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many clips, spread over the data.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write all figures here, as JSON.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on labelled clips as they are, coded, noisy and in rooms.

    Of ``--noise`` only the recordings are used that training leaves out.
    """
    use_utf8()
    with errors_end_the_command():
        from ..augment import SoundBank
        from ..datasets import load_manifest
        from ..detector import Detector
        from ..evaluation import robustness as measure
        from ..evaluation.conditions import CONDITIONS

        clips = load_manifest(data, split=split)
        if limit is not None and limit < len(clips):
            clips = [clips[i * len(clips) // limit] for i in range(limit)]
        detector = Detector.load(
            model, device=device, policy=policy.value, workers=one_thread_each(device)
        )
        results = []
        with silent_libraries():
            for result in measure.measure_robustness(
                detector,
                clips,
                condition or CONDITIONS,
                policies=[detector.policy],
                bank=SoundBank.load(noise, held_out=True) if noise else None,
            ):
                results.append(result)
                if not quiet:
                    say(f"{result.condition}: measured")
        about = {"model": str(detector.model), "data": ", ".join(data), "clips": len(clips)}
        text = measure.to_json(results, **about)
        typer.echo(text if json else measure.robustness_table(results))
        if out:
            try:
                out.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"cannot be written ({error.strerror})", name=str(out)) from error
