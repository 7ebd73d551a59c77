"""Recordings that the user brings to a drill: genuine ones, and fakes that are known to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..benchmarking import bundled_speech
from ..config import SAMPLE_RATE_HZ
from ..datasets import load_manifest
from ..datasets.clip import AUDIO_SUFFIXES, Clip
from ..datasets.manifest import iter_audio
from ..errors import DatasetError

OWN = "own"
"""Family and system of fakes of which nothing else is said."""

_CODEC = "codec"  # human speech through a neural codec, which counts nowhere as synthetic
_LONGEST_S = 10.0  # the whole of a long recording would cost and tell no more


def genuine(path: Path | None) -> Iterator[Clip]:
    """Yield the genuine recordings that there are; a folder of files is taken at its word."""
    if path is None:
        for file in sorted(bundled_speech().glob("genuine_*.flac")):
            yield Clip(file.name, "bonafide", file)
    elif files := _files(path):
        yield from (Clip(file.name, "bonafide", file) for file in files)
    else:
        yield from (clip for clip in load_manifest([path]) if not clip.is_synthetic)


def fakes_by_system(paths: Sequence[Path], taken: Set[str]) -> dict[str, list[Clip]]:
    """Return the fakes that there are, by the system that made them.

    Parameters
    ----------
    paths : sequence of path
        A folder of files is taken at its word, and its name for that of the system; labelled clips
        say theirs.
    taken : set of str
        Names of systems that the drill itself uses: what was brought stays apart from them.

    Raises
    ------
    DatasetError
        If one holds no fake.
    """
    found: dict[str, list[Clip]] = {}
    for path in paths:
        clips = [clip for clip in _fakes(path) if clip.family != _CODEC]
        if not clips:
            raise DatasetError(
                "holds no fake", name=str(path),
                hint="give a folder of recordings, or clips of which some are labelled spoof",
            )  # fmt: skip
        for clip in clips:
            system = clip.system or OWN
            name = f"{system} ({OWN})" if system in taken else system
            found.setdefault(name, []).append(clip)
    return found


def _fakes(path: Path) -> Iterator[Clip]:
    if files := _files(path):
        system = path.resolve().name
        yield from (Clip(file.name, "spoof", file, system=system) for file in files)
    else:
        yield from (clip for clip in load_manifest([path]) if clip.is_synthetic)


def _files(path: Path) -> list[Path]:
    """Return the recordings right in a folder, if it is one."""
    if not path.is_dir():
        return []
    return [each for each in sorted(path.iterdir()) if each.suffix.lower() in AUDIO_SUFFIXES]


def audio(clips: Sequence[Clip]) -> Iterator[tuple[Clip, Path | bytes]]:
    """Yield each clip with its file, or the bytes of one."""
    for index, source in iter_audio(clips):
        yield clips[index], source


def nameless(clip: Clip, name: str) -> Clip:
    """Return what a drill may tell of a recording of the user's, under a name of ours."""
    return replace(
        clip, id=name, row=None, split="", channel="", source="", speaker="", sentence=""
    )


def excerpt(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return some seconds of a long recording, drawn anew, and the whole of a short one."""
    longest = round(_LONGEST_S * SAMPLE_RATE_HZ)
    start = int(rng.integers(max(len(samples) - longest, 0) + 1))
    return samples[start : start + longest]
