"""``deepfake-audio monitor``: today's reports against a reference."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from . import EXIT_HIT
from .console import JsonOption, errors_end_the_command, use_utf8


class FailOn(StrEnum):
    """Findings that make the command fail."""

    DRIFT = "drift"


def monitor(
    reference: Annotated[
        list[str],
        typer.Option(metavar="JSONL|PARQUET|DIR", help="Reports of before; repeatable."),
    ],
    current: Annotated[
        list[str],
        typer.Option(metavar="JSONL|PARQUET|DIR", help="Reports to look at; repeatable."),
    ],
    property: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also compare the mix of this property of the metadata kept beside the reports, "
            "as language; repeatable.",
        ),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Recordings to propose for review.")] = 20,
    seed: Annotated[int, typer.Option(help="Of what is drawn by lot.")] = 0,
    min_shift: Annotated[
        float,
        typer.Option(min=0, max=1, help="Smallest shift that counts; half of it for a share."),
    ] = 0.1,
    fail_on: Annotated[FailOn | None, typer.Option(help="Exit 1 if anything has shifted.")] = None,
    json: JsonOption = False,
) -> None:
    """Say what has shifted since the reference, and which recordings to listen to.

    Reads what `detect --jsonl` and `score` write, and lines of detections of the service. A shift
    counts if it is large and no chance.
    Exit status: 0 whatever was found; 1 only with --fail-on and a shift; 2 wrong usage; 4 reports
    that cannot be read.
    """
    use_utf8()
    with errors_end_the_command():
        from ..evaluation.monitoring import monitor as compare
        from ..evaluation.monitoring import monitoring_table
        from ..evaluation.report_files import read_reports

        found = compare(
            read_reports(reference, property or ()),
            read_reports(current, property or ()),
            sample=sample,
            seed=seed,
            min_shift=min_shift,
        )
        typer.echo(found.to_json() if json else monitoring_table(found))
        if fail_on is FailOn.DRIFT and found.drift:
            raise typer.Exit(EXIT_HIT)
