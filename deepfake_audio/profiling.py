"""Where the time goes, stage by stage, on one thread: from a file's bytes to its report.

Stages are timed one after the other on the same clips; what is left of the whole is in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from .audio import DecodedAudio, decode
from .benchmarking import Waveforms
from .config import SAMPLE_RATE_HZ
from .detector import Detector
from .errors import ConfigError
from .model import Branch, Network
from .windows import cut, lay_out


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    name : str
        What is done.
    milliseconds : float
        Median of the runs, for all clips.
    share : float
        Of the sum of all stages.
    times_real_time : float
        Seconds of audio handled in a second, were there nothing else to do.
    """

    name: str
    milliseconds: float
    share: float
    times_real_time: float


def profile(detector: Detector, clips: Sequence[bytes], repeats: int = 3) -> list[Stage]:
    """Time the stages of scoring files on one thread.

    Parameters
    ----------
    detector : Detector
        On the CPU, with a torch network.
    clips : sequence of bytes
        Files, as :func:`deepfake_audio.benchmarking.speech_clips` makes them.
    repeats : int
        Runs behind each median.

    Raises
    ------
    ConfigError
        If the model is an exported one, whose stages cannot be told apart.
    """
    network = detector.scorer.network
    if not isinstance(network, Network):
        raise ConfigError(
            "an exported model has no stages", name="--profile", hint="give a .safetensors"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _profile(detector, network, clips, repeats)
    finally:
        torch.set_num_threads(threads)


def _profile(
    detector: Detector, network: Network, clips: Sequence[bytes], repeats: int
) -> list[Stage]:
    audios = [decode(clip) for clip in clips]
    samples = [audio.samples for audio in audios]
    scores = detector.scorer.score(samples)
    batches = list(_batches(detector, samples))
    stages: dict[str, Callable[[], object]] = {
        "decoding": lambda: [decode(clip) for clip in clips],
        "windows and activity": lambda: lay_out(samples, detector.scorer.header.windows),
    }
    for number, branch in enumerate(network.branches, 1):
        assert isinstance(branch, Branch)
        features = [branch.frontend(batch) for batch in batches]
        name = f"branch {number} ({branch.frontend.config.kind})"
        stages[f"{name}, front end"] = _each(branch.frontend, batches)
        stages[f"{name}, network"] = _each(branch.body, features)
    stages["report"] = lambda: [
        detector.judge.report(audio.info, audio.flags, score)
        for audio, score in zip(audios, scores, strict=True)
    ]
    with torch.inference_mode():
        taken = {name: _median_s(work, repeats) for name, work in stages.items()}
    total, audio_s = sum(taken.values()), _seconds(audios)
    return [
        Stage(name, 1e3 * seconds, seconds / total, audio_s / max(seconds, 1e-9))
        for name, seconds in taken.items()
    ]


def _batches(detector: Detector, samples: Sequence[Waveforms]) -> Sequence[torch.Tensor]:
    """Return the windows of all clips in batches, as the scorer makes them."""
    windows = [
        row for one in samples for rows in cut(one, detector.scorer.header.windows) for row in rows
    ]
    by_length: dict[int, list[Waveforms]] = {}
    for window in windows:
        by_length.setdefault(window.size, []).append(window)
    size = detector.scorer.batch_windows
    return [
        torch.from_numpy(np.stack(alike[first : first + size]))
        for alike in by_length.values()
        for first in range(0, len(alike), size)
    ]


def _each(
    work: Callable[[torch.Tensor], object], batches: Sequence[torch.Tensor]
) -> Callable[[], object]:
    return lambda: [work(batch) for batch in batches]


def _median_s(work: Callable[[], object], repeats: int) -> float:
    work()  # does not count
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        runs.append(time.perf_counter() - began)
    return median(runs)


def _seconds(audios: Sequence[DecodedAudio]) -> float:
    return float(sum(audio.samples.shape[1] for audio in audios) / SAMPLE_RATE_HZ)


def table(stages: Sequence[Stage]) -> str:
    """Lay stages out as text."""
    lines = [f"{'one thread':<36} {'median':>10} {'share':>8} {'x real time':>12}"]
    lines += [
        f"  {stage.name:<34} {stage.milliseconds:>7.1f} ms {stage.share:>8.1%} "
        f"{stage.times_real_time:>12,.0f}"
        for stage in stages
    ]
    whole = sum(1 / stage.times_real_time for stage in stages)
    lines.append(
        f"  {'all of it':<34} {sum(s.milliseconds for s in stages):>7.1f} ms "
        f"{1:>8.1%} {1 / whole:>12,.0f}"
    )
    return "\n".join(lines)


def to_dict(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Return stages as plain JSON types."""
    return [asdict(stage) for stage in stages]
