"""What a data set gives away for nothing: single nuisances that tell the classes apart, and leaks.

A detector trained on data where silence, loudness or length betrays the label learns that, and
nothing about speech (Müller et al., 2106.12914). A nuisance that says nothing has an EER of 50 %.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip import Clip
from ..errors import AudioError, DatasetError
from .nuisances import Column, eer_alone, known, measure_clips, nuisance_columns


@dataclass(frozen=True)
class Shortcut:
    """How well one nuisance alone tells the classes apart.

    Attributes
    ----------
    name : str
        Of :data:`~deepfake_audio.evaluation.nuisances.NUISANCES` or ``RECORDED``.
    eer : float
        See :func:`~deepfake_audio.evaluation.nuisances.eer_alone`.
    bonafide, spoof : float or str
        Median in each class, or the text that most of it have.
    """

    name: str
    eer: float
    bonafide: float | str
    spoof: float | str


@dataclass(frozen=True)
class DataCheck:
    """What was found in a data set.

    Attributes
    ----------
    clips : dict of str to int
        Clips by split and label, ``"train bonafide"``.
    shortcuts : list of Shortcut
        Worst first.
    leaks : dict of str to list of str
        Values of ``source``, ``speaker``, ``sentence`` and ``audio`` that occur in several splits.
    doubles : list of tuple of str
        Ids of clips with the very same samples, and, first, those of which labels differ.
    unreadable : list of str
        Messages on clips that could not be decoded.
    """

    clips: dict[str, int]
    shortcuts: list[Shortcut]
    leaks: dict[str, list[str]] = field(default_factory=dict)
    doubles: list[tuple[str, ...]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def check_data(
    clips: Sequence[Clip], *, on_progress: Callable[[int], None] | None = None
) -> DataCheck:
    """Measure nuisances and look for leaks.

    Parameters
    ----------
    clips : sequence of Clip
        Of any splits; both classes are needed.
    on_progress : callable, optional
        Told the number of clips measured so far.

    Raises
    ------
    DatasetError
        If a class is missing, or nothing could be decoded.
    """
    indices: list[int] = []
    by_content: dict[bytes, list[int]] = defaultdict(list)
    unreadable = []
    measured = list(measure_clips(clips, on_progress=on_progress))
    for found in measured:
        if isinstance(found, AudioError):
            unreadable.append(str(found))
            continue
        indices.append(found.index)
        by_content[found.digest].append(found.index)
    kept = [clips[i] for i in indices]
    groups = [sorted(group) for group in by_content.values() if len(group) > 1]
    groups.sort(key=lambda group: (len({clips[i].label for i in group}) == 1, group))
    counts: dict[str, int] = defaultdict(int)
    for clip in kept:
        counts[f"{clip.split or 'unsplit'} {clip.label}"] += 1
    return DataCheck(
        clips=dict(sorted(counts.items())),
        shortcuts=_shortcuts(
            {name: column[indices] for name, column in nuisance_columns(clips, measured).items()},
            np.array([clip.is_synthetic for clip in kept], dtype=bool),
        ),
        leaks=_leaks(clips, groups),
        doubles=[tuple(clips[i].id for i in group) for group in groups],
        unreadable=unreadable,
    )


def _shortcuts(columns: dict[str, Column], spoof: NDArray[np.bool_]) -> list[Shortcut]:
    if not spoof.any() or spoof.all():
        raise DatasetError("shortcuts need clips of both classes", hint="add the missing class")
    found = [
        Shortcut(name, eer_alone(column, spoof), _typical(column[~spoof]), _typical(column[spoof]))
        for name, column in columns.items()
        if known(column)[spoof].any() and known(column)[~spoof].any()
    ]
    return sorted(found, key=lambda shortcut: shortcut.eer)


def _typical(column: Column) -> float | str:
    values = column[known(column)]
    if column.dtype.kind == "U":
        return str(Counter(values.tolist()).most_common(1)[0][0])
    return float(np.median(values))


def _leaks(clips: Sequence[Clip], doubles: Iterable[Sequence[int]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for what in ("source", "speaker", "sentence"):
        splits: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            if (value := getattr(clip, what)) and clip.split:
                splits[value].add(clip.split)
        found[what] = sorted(value for value, where in splits.items() if len(where) > 1)
    found["audio"] = [
        clips[group[0]].id for group in doubles if len({clips[i].split for i in group}) > 1
    ]
    return found


def check_table(check: DataCheck) -> str:
    """Return a check as Markdown."""
    lines = ["clips: " + ", ".join(f"{name} {count:,}" for name, count in check.clips.items())]
    lines += ["", "| nuisance | EER of it alone % | typical bonafide | typical spoof |"]
    lines += ["|---|---:|---:|---:|"]
    lines += [
        f"| {s.name} | {100 * s.eer:.1f} | {_cell(s.bonafide)} | {_cell(s.spoof)} |"
        for s in check.shortcuts
    ]
    lines.append("")
    for what, values in check.leaks.items():
        shown = ", ".join(values[:3]) + (" ..." if len(values) > 3 else "")
        lines.append(f"{what} in several splits: {len(values)}{f' ({shown})' if values else ''}")
    lines.append(f"groups of identical clips: {len(check.doubles)}")
    if check.unreadable:
        lines.append(f"could not be read: {len(check.unreadable)}")
    return "\n".join(lines)


def _cell(value: float | str) -> str:
    return value.replace("|", "/") if isinstance(value, str) else f"{value:.3g}"
