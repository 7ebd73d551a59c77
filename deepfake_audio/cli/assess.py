"""``deepfake-audio assess``: a security assessment of a deployment, in four forms."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import EXIT_HIT
from .console import QuietOption, errors_end_the_command, say


class FailOn(StrEnum):
    """What makes the command fail."""

    FINDINGS = "findings"


def assess(
    config: Annotated[Path, typer.Option(metavar="FILE", help="What to assess, TOML.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the report; its log goes on there.")
    ],
    fail_on: Annotated[FailOn | None, typer.Option(help="Exit 1 if a finding is open.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Write a security assessment as HTML, PDF, Markdown and JSON, with its evidence.

    Exit status: 0 whatever was found; 1 only with --fail-on and an open finding; 2 wrong
    configuration; 4 evidence that cannot be read.
    """
    with errors_end_the_command():
        from ..assessment import assess as write
        from ..assessment.pdf import FONT

        done = write(config, out)
        for path in done.files:
            typer.echo(str(path))
        if not quiet:
            counts = done.material.findings["summary"]
            held = done.material.read(done.material.cells.ref / "summary")
            say(
                f"{held['judged']} measured cells held against targets, {held['few']} of too few "
                f"recordings to judge; {counts['open']} open findings ({counts['high']} high), "
                f"{counts['closed']} closed; {held['missing']} pieces of evidence are missing"
            )
            if done.names_a_typeface:
                say(
                    "report.zh.pdf names the typeface STSong-Light and does not hold it: a reader "
                    "without a Chinese typeface shows gaps or boxes; pdf_font embeds one: " + FONT
                )
        if fail_on is FailOn.FINDINGS and done.open_findings:
            raise typer.Exit(EXIT_HIT)
