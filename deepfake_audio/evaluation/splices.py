"""Partly synthetic recordings, and whether the stretch that was put in is found.

A stretch of the other class is put into recordings of some seconds, genuine into synthetic ones
as well, from the same source where it has both, at the level of what it replaces and cross-faded
(as Zhang et al., 2204.05177, make PartialSpoof). Windows of several lengths are scored; the error
rate is one over short segments, each with the mean score of the windows over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..config import SAMPLE_RATE_HZ
from ..datasets.clip import Clip
from ..errors import DatasetError
from ..scoring import Scorer
from ..windows import sliding
from .durations import CROSS_FADE, joined, pieces
from .metrics import eer

HOST_S = 8.0
"""Length of the recordings, seconds."""

STRETCH_S = (1.0, 3.0)
"""Length of what is put in, seconds."""

MARGIN_S = 0.5
"""What is left of the host before and after, seconds."""

MIN_HOST_S = STRETCH_S[1] + 2 * MARGIN_S + 0.1
"""Shortest recording that the longest stretch goes into, seconds."""

SEGMENT_S = 0.5
"""Length of a segment, and distance between the windows, seconds."""

WINDOWS_S = (1.0, 2.0, 4.0)
"""Lengths of the windows, seconds."""

MAX_FILES = 200
"""Most recordings of each class."""

_SEGMENT = round(SEGMENT_S * SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Splice:
    """One partly synthetic recording.

    Attributes
    ----------
    samples : np.ndarray, float32, shape (samples,)
        16 kHz.
    host : Clip
        The recording that something was put into.
    start, stop : int
        First sample of the stretch of the other class, and the one after its last.
    """

    samples: np.ndarray
    host: Clip
    start: int
    stop: int

    def synthetic_share(self) -> np.ndarray:
        """Share of each segment that is synthetic, shape (segments,)."""
        inside = np.zeros(len(self.samples) // _SEGMENT * _SEGMENT)
        inside[self.start : self.stop] = 1.0
        share: np.ndarray = inside.reshape(-1, _SEGMENT).mean(1)
        return 1 - share if self.host.is_synthetic else share


@dataclass(frozen=True)
class SpliceResult:
    """How well stretches were found by windows of one length.

    Attributes
    ----------
    window_s : float
        Length of the windows, seconds.
    segment_eer : dict of str to float
        In [0, 1], over the segments of all recordings, and by the label of the host.
    files, segments : int
        That the first figure rests on.
    """

    window_s: float
    segment_eer: dict[str, float]
    files: int
    segments: int


def make_splices(clips: Sequence[Clip], *, seed: int = 0) -> list[Splice]:
    """Make recordings of both kinds from labelled clips, the same ones for the same seed.

    Raises
    ------
    DatasetError
        If there is too little of a class.
    """
    chosen = [clip for clip in clips if clip.family != "codec"]
    donors: dict[tuple[str, str], list[np.ndarray]] = {}
    for clip, samples in pieces(chosen, STRETCH_S[1]):
        for source in (clip.source, ""):  # without a source: whatever there is
            donors.setdefault((clip.label, source), []).append(samples)
    splices = []
    for label, other in (("bonafide", "spoof"), ("spoof", "bonafide")):
        hosts = pieces([clip for clip in chosen if clip.label == label], HOST_S)
        for number, (clip, host) in enumerate(islice(hosts, MAX_FILES)):
            rng = np.random.default_rng([seed, number, label == "spoof"])
            fitting = donors.get((other, clip.source)) or donors.get((other, ""), [])
            if fitting:
                stretch = fitting[rng.integers(len(fitting))]
                splices.append(splice(clip, host, stretch, rng))
    if {splice.host.label for splice in splices} != {"bonafide", "spoof"}:
        raise DatasetError(
            "too little of a class to make partly synthetic recordings of",
            hint=f"they need {HOST_S:g} s of one voice of a source",
        )
    return splices


def splice(clip: Clip, host: np.ndarray, stretch: np.ndarray, rng: np.random.Generator) -> Splice:
    """Put a random part of a stretch somewhere into a host.

    Parameters
    ----------
    clip : Clip
        What the host is.
    host, stretch : np.ndarray, float32, shape (samples,)
        16 kHz; at least :data:`MIN_HOST_S` and the longer of :data:`STRETCH_S` long.
    rng : Generator
        Draws the part and its place.
    """
    length = int(rng.uniform(*STRETCH_S) * SAMPLE_RATE_HZ)
    first = int(rng.integers(len(stretch) - length + 1))
    part = stretch[first : first + length]
    margin = round(MARGIN_S * SAMPLE_RATE_HZ)
    start = int(rng.integers(margin, len(host) - length - margin))
    stop = start + length
    level = np.sqrt(np.mean(host[start:stop] ** 2)) or np.sqrt(np.mean(host**2))
    part = part * (level / max(float(np.sqrt(np.mean(part**2))), 1e-6))
    # Going over into each other takes some milliseconds twice; the host gives them back.
    spliced = joined(joined(host[: start + CROSS_FADE], part), host[stop - CROSS_FADE :])
    return Splice(spliced, clip, start, stop)


def segment_scores(scorer: Scorer, samples: np.ndarray, window_s: float) -> np.ndarray:
    """Mean log-likelihood ratio of the windows over each segment, shape (segments,)."""
    length = round(window_s * SAMPLE_RATE_HZ)
    windows = sliding(samples[None], length)[0, ::_SEGMENT]
    llr = scorer.hear(list(windows))[0]
    covered = length // _SEGMENT
    n_segments = len(samples) // _SEGMENT
    total, count = np.zeros(n_segments), np.zeros(n_segments)
    for offset in range(covered):
        reach = slice(offset, offset + len(llr))
        total[reach] += llr[: n_segments - offset]
        count[reach] += 1
    mean: np.ndarray = total / np.maximum(count, 1)
    return mean


def measure_splices(
    scorer: Scorer, splices: Sequence[Splice], windows_s: Sequence[float] = WINDOWS_S
) -> Iterator[SpliceResult]:
    """Score recordings by windows of each length.

    Parameters
    ----------
    scorer : Scorer
        Of the detector.
    splices : sequence of Splice
        With hosts of both classes.
    windows_s : sequence of float
        Lengths of windows, multiples of :data:`SEGMENT_S`.
    """
    is_synthetic_host = np.concatenate(
        [[s.host.is_synthetic] * len(s.synthetic_share()) for s in splices]
    )
    share = np.concatenate([splice.synthetic_share() for splice in splices])
    clear = np.abs(share - 0.5) > 0.25  # segments on an edge belong to neither class
    for window_s in windows_s:
        llr = np.concatenate([segment_scores(scorer, s.samples, window_s) for s in splices])
        figures = {}
        for name, rows in (
            ("all", clear),
            ("genuine_host", clear & ~is_synthetic_host),
            ("synthetic_host", clear & is_synthetic_host),
        ):
            fake = share[rows] > 0.5
            figures[name] = eer(-llr[rows][~fake], -llr[rows][fake]).value
        yield SpliceResult(window_s, figures, len(splices), int(clear.sum()))


def splice_table(results: Sequence[SpliceResult]) -> str:
    """Lay results out as a Markdown table, in per cent."""
    lines = [
        "| window s | segment EER % | genuine host | synthetic host | files | segments |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        rates = " | ".join(f"{100 * rate:.1f}" for rate in result.segment_eer.values())
        lines.append(f"| {result.window_s:g} | {rates} | {result.files} | {result.segments} |")
    return "\n".join(lines)
