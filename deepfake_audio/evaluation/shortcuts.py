"""What a data set gives away for nothing: single nuisances that tell the classes apart, and leaks.

A detector trained on data where silence, loudness or length betrays the label learns that, and
nothing about speech (Müller et al., 2106.12914). A nuisance that says nothing has an EER of 50 %.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from ..audio import decode
from ..config import SAMPLE_RATE_HZ
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio
from ..errors import AudioError, DatasetError
from ..windows import FRAME_S, activity, frame_moments
from .metrics import eer

_THREADS = 2
_CHUNK = 64
_TOP_SHARE = 0.99  # of the energy that lies below the bandwidth
_FRAME = 512

Samples = np.ndarray
"""One channel at 16 kHz, float32."""


def duration_s(samples: Samples) -> float:
    """Length in seconds."""
    return len(samples) / SAMPLE_RATE_HZ


def level_db(samples: Samples) -> float:
    """Root mean square, decibels below full scale."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def leading_silence_s(samples: Samples) -> float:
    """Seconds before the first active frame."""
    return _edge(activity(frame_moments(samples[None]))[0])


def trailing_silence_s(samples: Samples) -> float:
    """Seconds after the last active frame."""
    return _edge(activity(frame_moments(samples[None]))[0][::-1])


def _edge(active: np.ndarray) -> float:
    return float(np.argmax(active) if active.any() else len(active)) * FRAME_S


def pause_share(samples: Samples) -> float:
    """Share of frames that are silent or pauses."""
    active = activity(frame_moments(samples[None]))[0]
    return float(1 - active.mean()) if active.size else 0.0


def noise_floor_db(samples: Samples) -> float:
    """Level of the quietest tenth of the frames, decibels."""
    power = frame_moments(samples[None])[1, 0]
    return float(10 * np.log10(np.percentile(power, 10) + 1e-12)) if power.size else -120.0


def bandwidth_hz(samples: Samples) -> float:
    """Frequency below which 99 % of the energy lies after whitening by 6 dB an octave."""
    count = len(samples) // _FRAME
    if not count:
        return 0.0
    frames = samples[: count * _FRAME].reshape(count, _FRAME) * np.hanning(_FRAME)
    spectrum = np.square(np.abs(np.fft.rfft(frames))).mean(0)
    hz = np.arange(spectrum.size) * SAMPLE_RATE_HZ / _FRAME
    weighted = np.cumsum(spectrum * np.square(hz))
    return float(hz[np.searchsorted(weighted, _TOP_SHARE * weighted[-1])])


NUISANCES: Mapping[str, Callable[[Samples], float]] = {
    measure.__name__: measure
    for measure in (
        duration_s,
        level_db,
        leading_silence_s,
        trailing_silence_s,
        pause_share,
        noise_floor_db,
        bandwidth_hz,
    )
}
"""What is measured of each clip."""


@dataclass(frozen=True)
class Shortcut:
    """How well one nuisance alone tells the classes apart.

    Attributes
    ----------
    name : str
        Of :data:`NUISANCES`.
    eer : float
        Of the better direction, in [0, 0.5]; 0.5 says nothing.
    bonafide, spoof : float
        Median in each class.
    """

    name: str
    eer: float
    bonafide: float
    spoof: float


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

    def measure(item: tuple[int, Path | bytes]) -> tuple[int, list[float], bytes] | AudioError:
        index, source = item
        try:
            samples = decode(source, name=clips[index].id).samples[0]
        except AudioError as error:
            return error
        content = np.rint(samples * 32767).astype(np.int16).tobytes()
        values = [nuisance(samples) for nuisance in NUISANCES.values()]
        return index, values, hashlib.sha256(content).digest()

    indices: list[int] = []
    rows: list[list[float]] = []
    by_content: dict[bytes, list[int]] = defaultdict(list)
    unreadable = []
    items = iter_audio(clips)
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(items, _CHUNK)):
            for found in pool.map(measure, chunk):
                if isinstance(found, AudioError):
                    unreadable.append(str(found))
                    continue
                index, values, digest = found
                indices.append(index)
                rows.append(values)
                by_content[digest].append(index)
            if on_progress:
                on_progress(len(indices) + len(unreadable))
    kept = [clips[i] for i in indices]
    groups = [sorted(group) for group in by_content.values() if len(group) > 1]
    groups.sort(key=lambda group: (len({clips[i].label for i in group}) == 1, group))
    counts: dict[str, int] = defaultdict(int)
    for clip in kept:
        counts[f"{clip.split or 'unsplit'} {clip.label}"] += 1
    return DataCheck(
        clips=dict(sorted(counts.items())),
        shortcuts=_shortcuts(kept, np.array(rows)),
        leaks=_leaks(clips, groups),
        doubles=[tuple(clips[i].id for i in group) for group in groups],
        unreadable=unreadable,
    )


def _shortcuts(clips: Sequence[Clip], values: np.ndarray) -> list[Shortcut]:
    spoof = np.array([clip.is_synthetic for clip in clips], dtype=bool)
    if not spoof.any() or spoof.all():
        raise DatasetError("shortcuts need clips of both classes", hint="add the missing class")
    found = []
    for name, column in zip(NUISANCES, values.T, strict=True):
        one, other = column[~spoof], column[spoof]
        rate = eer(one, other).value
        found.append(
            Shortcut(name, min(rate, 1 - rate), float(np.median(one)), float(np.median(other)))
        )
    return sorted(found, key=lambda shortcut: shortcut.eer)


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
    lines += ["", "| nuisance | EER of it alone % | median bonafide | median spoof |"]
    lines += ["|---|---:|---:|---:|"]
    lines += [
        f"| {s.name} | {100 * s.eer:.1f} | {s.bonafide:.3g} | {s.spoof:.3g} |"
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
