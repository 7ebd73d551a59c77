"""The same voices for one second or for ten: excerpts of clips, and clips joined.

Long recordings are made by joining clips of one speaker or synthesiser of one source, so that
there is no change of voice or channel to be heard in them. Voices with too few clips give no long
ones: figures of different durations rest on partly different voices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ..audio import decode
from ..config import SAMPLE_RATE_HZ
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio
from ..errors import AudioError

CROSS_FADE = SAMPLE_RATE_HZ // 100
"""Samples over which joined recordings go over into each other: 10 ms."""


def pieces(clips: Sequence[Clip], duration_s: float) -> Iterator[tuple[Clip, np.ndarray]]:
    """Make recordings of one duration.

    A clip that is long enough gives its middle, shorter ones are joined; what does not fill a
    piece, or cannot be decoded, is left out.

    Parameters
    ----------
    clips : sequence of Clip
        Only the first channel of each is heard.
    duration_s : float
        Of the pieces, seconds.

    Yields
    ------
    clip : Clip
        The (first) clip, under an id of the piece's own.
    samples : np.ndarray, float32, shape (duration_s * 16000,)
    """
    length = round(duration_s * SAMPLE_RATE_HZ)
    waiting: dict[tuple[str, ...], tuple[Clip, np.ndarray]] = {}  # less than a piece a group
    for index, source in iter_audio(clips):
        clip = clips[index]
        try:
            samples = decode(source, name=clip.id).samples[0]
        except AudioError:
            continue
        group = (clip.label, clip.source, clip.system, clip.speaker)
        if len(samples) < length and group in waiting:
            clip, before = waiting.pop(group)
            samples = joined(before, samples)
        if len(samples) < length:
            waiting[group] = clip, samples
            continue
        start = (len(samples) - length) // 2
        named = dataclasses.replace(clip, id=f"{clip.id} {duration_s:g} s")
        yield named, samples[start : start + length]


def joined(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Let one recording go over into another, float32; both longer than 10 ms."""
    ramp = (np.arange(CROSS_FADE, dtype=np.float32) + 0.5) / CROSS_FADE
    blend = before[-CROSS_FADE:] * (1 - ramp) + after[:CROSS_FADE] * ramp
    return np.concatenate([before[:-CROSS_FADE], blend, after[CROSS_FADE:]])
