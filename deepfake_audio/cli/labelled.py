"""What the commands that work on labelled clips share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import say

if TYPE_CHECKING:
    from ..datasets import Clip
    from ..detector import Detector

_data = typer.Option(
    "--data", metavar="DIR|PARQUET|CSV", help="Labelled clips; may be given repeatedly."
)
DataOption = Annotated[list[str], _data]
OptionalDataOption = Annotated[list[str] | None, _data]
SplitOption = Annotated[str | None, typer.Option(help="Only clips of this split.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Only so many clips, spread over the data.")
]
NoiseOption = Annotated[
    Path | None, typer.Option(help="Parquet file of noise, music, babble, room responses.")
]


def load_clips(data: list[str], split: str | None, limit: int | None) -> list[Clip]:
    """Collect the clips that the options name.

    Raises
    ------
    DatasetError
        As for :func:`~deepfake_audio.datasets.load_manifest`.
    """
    from ..datasets import load_manifest

    clips = load_manifest(data, split=split)
    if limit is None or limit >= len(clips):
        return clips
    return [clips[i * len(clips) // limit] for i in range(limit)]


def tell_what_was_learned(detector: Detector, clips: list[Clip]) -> None:
    """Say so if clips of dev are to measure a model that learned from a dev split, too."""
    if detector.scorer.header.training.get("refit") and any(c.split == "dev" for c in clips):
        say(
            f"{detector.model} learned from the split dev of its own data, too: if these clips are "
            "of it, the figures promise too much"
        )
