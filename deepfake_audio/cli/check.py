"""``deepfake-audio check``: what a data set gives away for nothing."""

from __future__ import annotations

import dataclasses
import json as json_module
from typing import Annotated

import typer

from .console import JsonOption, errors_end_the_command, say, silent_libraries, use_utf8


def check(
    data: Annotated[
        list[str],
        typer.Option(metavar="DIR|PARQUET|CSV", help="Labelled clips; may be given repeatedly."),
    ],
    split: Annotated[str | None, typer.Option(help="Only clips of this split.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure which nuisances alone tell the classes apart, and find leaks between splits."""
    use_utf8()
    with errors_end_the_command():
        from ..datasets import load_manifest
        from ..evaluation.shortcuts import check_data, check_table

        clips = load_manifest(data, split=split)
        with silent_libraries():
            found = check_data(clips)
        for message in found.unreadable:
            say(message)
        text = json_module.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False)
        typer.echo(text if json else check_table(found))
