"""Nuisances: properties of a recording that say nothing about who speaks, yet may give it away.

Some are measured in the audio, others are what a manifest tells of a recording's past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio import decode
from ..config import SAMPLE_RATE_HZ
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio
from ..errors import AudioError
from ..windows import FRAME_S, activity, frame_moments
from .metrics import eer

_THREADS = 2
_CHUNK = 64
_TOP_SHARE = 0.99  # of the energy that lies below the bandwidth
_FRAME = 512

Column = NDArray[Any]
"""One value a clip: a number, NaN where there is none; or a text, empty where there is none."""

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

RECORDED: Mapping[str, Callable[[Clip], str]] = {
    # The container: manifests of different makers name what is in it, or do not.
    "source_codec": lambda clip: clip.source_codec.partition(" ")[0],
    "source_sample_rate_hz": lambda clip: clip.source_sample_rate_hz,
}
"""What a manifest may tell of a clip's past, as text."""


@dataclass(frozen=True)
class Measured:
    """What was found in the audio of one clip.

    Attributes
    ----------
    index : int
        Of the clip.
    numbers : tuple of float
        In the order of :data:`NUISANCES`.
    digest : bytes
        The same for the same samples.
    """

    index: int
    numbers: tuple[float, ...]
    digest: bytes


def measure_clips(
    clips: Sequence[Clip], *, on_progress: Callable[[int], None] | None = None
) -> Iterator[Measured | AudioError]:
    """Decode clips and measure them, first channels only, not always in order.

    Parameters
    ----------
    clips : sequence of Clip
        Of any labels.
    on_progress : callable, optional
        Told the number of clips measured so far.

    Yields
    ------
    Measured or AudioError
        One a clip.
    """

    def measure(item: tuple[int, Path | bytes]) -> Measured | AudioError:
        index, source = item
        try:
            samples = decode(source, name=clips[index].id).samples[0]
        except AudioError as error:
            return error
        content = np.rint(samples * 32767).astype(np.int16).tobytes()
        numbers = tuple(nuisance(samples) for nuisance in NUISANCES.values())
        return Measured(index, numbers, hashlib.sha256(content).digest())

    done = 0
    items = iter_audio(clips)
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(items, _CHUNK)):
            yield from pool.map(measure, chunk)
            done += len(chunk)
            if on_progress:
                on_progress(done)


def nuisance_columns(
    clips: Sequence[Clip], measured: Sequence[Measured | AudioError]
) -> dict[str, Column]:
    """Return a column for each nuisance, shape (clips,); one of texts only if any clip has it."""
    numbers = np.full((len(clips), len(NUISANCES)), np.nan)
    for found in measured:
        if isinstance(found, Measured):
            numbers[found.index] = found.numbers
    columns: dict[str, Column] = dict(zip(NUISANCES, numbers.T, strict=True))
    for name, text in RECORDED.items():
        texts = np.array([text(clip) for clip in clips])
        if (texts != "").any():
            columns[name] = texts
    return columns


def known(column: Column) -> NDArray[np.bool_]:
    """Tell which clips have a value, shape (clips,)."""
    has_value: NDArray[np.bool_] = column != "" if column.dtype.kind == "U" else ~np.isnan(column)
    return has_value


def eer_alone(column: Column, is_spoof: NDArray[np.bool_]) -> float:
    """EER of a nuisance that takes itself for a detector, in [0, 0.5]; 0.5 says nothing.

    Numbers count in the better direction; texts by the share of spoofs that have them, on the
    very same clips, which flatters rare ones. NaN if a class has no value.
    """
    has_value = known(column)
    column, is_spoof = column[has_value], is_spoof[has_value]
    if not is_spoof.any() or is_spoof.all():
        return float("nan")
    if column.dtype.kind == "U":
        _, at = np.unique(column, return_inverse=True)
        column = (np.bincount(at, is_spoof) / np.bincount(at))[at]
    rate = eer(column[~is_spoof], column[is_spoof]).value
    return min(rate, 1 - rate)
