"""``deepfake-audio label``: the AIGC label that a platform has to write into a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import errors_end_the_command, say, use_utf8


class LabelName(StrEnum):
    """The three grades of the Labelling Measures."""

    IS = "is"
    MAY_BE = "may-be"
    SUSPECTED = "suspected"


_NUMBERS = {LabelName.IS: "1", LabelName.MAY_BE: "2", LabelName.SUSPECTED: "3"}


def label(
    file: Annotated[Path, typer.Argument(help="A WAV, MP3, FLAC, Ogg, M4A or MP4 file.")],
    label: Annotated[
        LabelName | None,
        typer.Option(
            help="It is generated, may be, or is suspected to be; not needed if labelled already."
        ),
    ] = None,
    producer: Annotated[str, typer.Option(help="Name or code of who generated it.")] = "",
    produce_id: Annotated[str, typer.Option(help="Number the producer gave it.")] = "",
    propagator: Annotated[str, typer.Option(help="Name or code of who spreads it.")] = "",
    propagate_id: Annotated[str, typer.Option(help="Number the propagator gave it.")] = "",
    reserved_code1: Annotated[str, typer.Option(help="The producer's security field.")] = "",
    reserved_code2: Annotated[str, typer.Option(help="The propagator's security field.")] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Where the labelled copy goes.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Change the file; a record allows --undo.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore a file that was labelled in place.")
    ] = False,
) -> None:
    """Write an AIGC label (GB 45438-2025) into a file; the audio is not touched.

    What a producer has written stays when a propagator adds its own elements.
    """
    use_utf8()
    if undo + in_place + (out is not None) != 1:
        raise typer.BadParameter("choose one", param_hint="--out, --in-place, --undo")
    with errors_end_the_command():
        from ..provenance import AigcLabel, undo_label, write_label

        if undo:
            undo_label(file)
            say("restored, byte for byte")
            typer.echo(file)
            return
        claim = _NUMBERS[label] if label else ""
        wanted = AigcLabel(
            claim, producer, produce_id, reserved_code1, propagator, propagate_id, reserved_code2
        )  # fmt: skip
        written = write_label(file, wanted, out=out)
        if written.has_manifest:
            say(f"{file}: the C2PA signature in it no longer fits; have the file signed again")
        say(written.label.to_json())
        typer.echo(out or file)
