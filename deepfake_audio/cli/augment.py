"""``deepfake-audio augment``: copies by vocoders and degraded versions of clips, on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .console import (
    QuietOption,
    errors_end_the_command,
    progress_bar,
    say,
    silent_libraries,
    use_utf8,
)
from .labelled import DataOption, LimitOption, NoiseOption, SplitOption, load_clips


def augment(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="FLAC files and manifest.csv.")],
    split: SplitOption = None,
    vocoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE|DIR",
            help="Copies the genuine clips: codec2, griffin_lim, lpc, world, weights (of `vocoder` "
            "or HiFi-GAN), or the folder of Lyra's graphs; may be given repeatedly.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="Changes all clips, labels stay: mp3:32000, replay, loss:5, opus:12000+noise:20, "
            "..., or a topic, as for `robustness`; may be given repeatedly."
        ),
    ] = None,
    coded: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Done to the copies, too: what the originals have been through, as opus:40000; "
            "otherwise its absence tells copies apart.",
        ),
    ] = None,
    noise: NoiseOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    limit: LimitOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write copies of genuine clips by vocoders, and clips under conditions, as a new data set.

    The manifest keeps source, speaker and sentence, and names the original of each clip. Files
    that are there already are kept: an interrupted run is simply begun again. Of ``--noise`` the
    recordings are used that training uses.
    """
    if not vocoder and not condition:
        raise typer.BadParameter("give at least one", param_hint="--vocoder, --condition")
    use_utf8()
    with errors_end_the_command():
        from ..augment import SoundBank, conditions
        from ..augment.sets import MANIFEST, Version, copying, write_set
        from ..augment.vocoders import find_vocoder

        bank = SoundBank.load(noise) if noise else None
        versions = [
            copying(Path(name).stem, find_vocoder(name), coded)
            for name in dict.fromkeys(vocoder or [])
        ]
        versions += [
            Version(name, conditions.condition(name, bank))
            for name in dict.fromkeys(conditions.expand(condition or []))
        ]
        clips = load_clips(data, split, limit)
        with silent_libraries(), _progress(len(clips), quiet=quiet) as on_progress:
            made, failures = write_set(clips, out, versions, seed=seed, on_progress=on_progress)
        for failure in failures:
            say(f"left out: {failure}")
        if not quiet:
            say(f"{len(made)} clips of {len(versions)} kinds")
    typer.echo(out / MANIFEST)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with progress_bar(transient=True) as bar:
        task = bar.add_task("augment", total=total)
        yield lambda count: bar.update(task, completed=count)
