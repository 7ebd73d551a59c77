"""``deepfake-audio check``: what a data set gives away for nothing."""

from __future__ import annotations

import dataclasses
import json as json_module

import typer

from .console import JsonOption, errors_end_the_command, say, silent_libraries, use_utf8
from .labelled import DataOption, SplitOption, load_clips


def check(
    data: DataOption,
    split: SplitOption = None,
    json: JsonOption = False,
) -> None:
    """Measure which nuisances alone tell the classes apart, and find leaks between splits."""
    use_utf8()
    with errors_end_the_command():
        from ..evaluation.shortcuts import check_data, check_table

        clips = load_clips(data, split, None)
        with silent_libraries():
            found = check_data(clips)
        for message in found.unreadable:
            say(message)
        text = json_module.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False)
        typer.echo(text if json else check_table(found))
