"""How fast: this package against the plain way of doing the same, on real speech.

What is compared runs by turns in the same process, so that a machine that slows down slows down
both; times are medians of several runs after a warm-up, and nothing is measured on zeros.
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from .audio import AudioSource, decode
from .config import SAMPLE_RATE_HZ
from .detector import Detector
from .errors import DeepfakeAudioError
from .features import Frontend, mfcc
from .report import Report

FEATURE_CLIP_S = 4.0
FEATURE_BATCH = 16
MAX_SPEECH_S = 600.0
"""No more speech than this is decoded to cut clips from."""

Waveforms = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Timing:
    """One way of doing a task.

    Attributes
    ----------
    name : str
        What was run.
    runs_s : tuple of float
        Wall-clock seconds of each run.
    """

    name: str
    runs_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median of the runs, seconds."""
        return statistics.median(self.runs_s)


@dataclass(frozen=True)
class Comparison:
    """One task done in several ways.

    Attributes
    ----------
    name : str
        The task.
    audio_s : float
        Seconds of audio in a run.
    timings : tuple of Timing
        This package first.
    """

    name: str
    audio_s: float
    timings: tuple[Timing, ...]

    def times_real_time(self, timing: Timing) -> float:
        """Seconds of audio handled in a second."""
        return self.audio_s / timing.median_s

    def ratio(self, timing: Timing) -> float:
        """How many times as long as this package a way takes."""
        return timing.median_s / self.timings[0].median_s

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON types."""
        rows = [
            {
                "name": timing.name,
                "median_s": round(timing.median_s, 6),
                "runs_s": [round(run, 6) for run in timing.runs_s],
                "times_real_time": round(self.times_real_time(timing), 1),
                "ratio": round(self.ratio(timing), 3),
            }
            for timing in self.timings
        ]
        return {"name": self.name, "audio_s": round(self.audio_s, 2), "timings": rows}


def compare(
    name: str, audio_s: float, ways: Mapping[str, Callable[[], object]], repeats: int
) -> Comparison:
    """Time ways of doing one task by turns, after one run of each that does not count.

    Parameters
    ----------
    name : str
        The task.
    audio_s : float
        Seconds of audio in a run.
    ways : mapping of str to callable
        This package first.
    repeats : int
        Runs behind each median.
    """
    runs_s: dict[str, list[float]] = {way: [] for way in ways}
    for run in ways.values():
        run()
    for _ in range(repeats):
        for way, run in ways.items():
            began = time.perf_counter()
            run()
            runs_s[way].append(time.perf_counter() - began)
    return Comparison(name, audio_s, tuple(Timing(way, tuple(s)) for way, s in runs_s.items()))


def bundled_speech() -> Path:
    """Return the folder of the bundled speech samples."""
    return Path(__file__).parent / "samples"


def speech_clips(recordings: Sequence[AudioSource], n_clips: int, seed: int = 0) -> list[bytes]:
    """Make FLAC files in memory, 2 to 8 s long, out of real speech.

    Parameters
    ----------
    recordings : sequence of audio sources
        Speech to cut from, at most ``MAX_SPEECH_S`` of it; what is short is repeated.
    n_clips : int
        Files to make; no two are alike.
    seed : int
        Of the cuts.
    """
    pieces: list[Waveforms] = []
    for source in recordings:
        pieces.append(decode(source).samples[0])
        if sum(piece.size for piece in pieces) > MAX_SPEECH_S * SAMPLE_RATE_HZ:
            break
    speech = np.concatenate(pieces)
    longest = 8 * SAMPLE_RATE_HZ
    speech = np.tile(speech, 1 + 2 * longest // speech.size)
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(n_clips):
        length = int(rng.integers(2 * SAMPLE_RATE_HZ, longest))
        start = int(rng.integers(speech.size - length))
        file = io.BytesIO()
        soundfile.write(file, speech[start : start + length], SAMPLE_RATE_HZ, format="FLAC")
        clips.append(file.getvalue())
    return clips


def total_seconds(clips: Sequence[bytes]) -> float:
    """Return the summed duration of audio files, seconds."""
    return float(sum(decode(clip).info.duration_s for clip in clips))


def reports(detector: Detector, clips: Sequence[bytes]) -> list[Report]:
    """Report on files that can all be read; what end-to-end measurements run."""
    found = []
    for result in detector.detect_many(clips):
        if isinstance(result, DeepfakeAudioError):
            raise result
        found.append(result)
    return found


def end_to_end(detector: Detector, clips: Sequence[bytes], repeats: int = 3) -> Comparison:
    """Time files in, reports out: all together, and one file after the other."""
    ways = {
        "detect_many": lambda: reports(detector, clips),
        "detect, one after the other": lambda: [detector.detect(clip) for clip in clips],
    }
    return compare("files to reports", total_seconds(clips), ways, repeats)


def compare_feature(
    name: str,
    batched: Callable[[torch.Tensor], object],
    clip_by_clip: Mapping[str, Callable[[Waveforms], object]],
    waveforms: Waveforms,
    *,
    device: torch.device,
    repeats: int,
) -> Comparison:
    """Time a feature of decoded clips: in batches, and one clip at a time.

    Parameters
    ----------
    name : str
        The feature.
    batched : callable
        Takes a tensor shaped (batch, samples).
    clip_by_clip : mapping of str to callable
        Other ways by name; each takes an array shaped (samples,).
    waveforms : ndarray, shape (clips, samples)
        From :func:`equal_lengths`.
    device : torch.device
        Where ``batched`` runs; the audio lies there already.
    repeats : int
        Runs behind each median.
    """
    batches = torch.split(torch.from_numpy(waveforms).to(device), FEATURE_BATCH)

    @torch.inference_mode()
    def in_batches() -> None:
        for batch in batches:
            batched(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    def loop(one: Callable[[Waveforms], object]) -> Callable[[], object]:
        return lambda: [one(waveform) for waveform in waveforms]

    ways = {"batched": in_batches, **{way: loop(one) for way, one in clip_by_clip.items()}}
    return compare(name, waveforms.size / SAMPLE_RATE_HZ, ways, repeats)


def equal_lengths(clips: Sequence[bytes]) -> Waveforms:
    """Decode files and repeat or cut each to 4 s: float32, shape (clips, samples)."""
    length = round(FEATURE_CLIP_S * SAMPLE_RATE_HZ)
    return np.stack([np.resize(decode(clip).samples[0], length) for clip in clips])


def librosa_mfcc(waveform: Waveforms) -> npt.NDArray[Any]:
    """MFCC of one clip, shape (samples,), equal to :func:`deepfake_audio.features.mfcc`."""
    import librosa  # slow to import, and nothing else here needs it

    found: npt.NDArray[Any] = librosa.feature.mfcc(
        y=waveform, sr=SAMPLE_RATE_HZ, n_mfcc=20, n_fft=512, win_length=400, hop_length=160
    )
    return found


def features(detector: Detector, clips: Sequence[bytes], repeats: int = 3) -> list[Comparison]:
    """Time MFCC against librosa's, and the front end of the model."""
    waveforms, device = equal_lengths(clips), torch.device(detector.scorer.device)
    plain = {"librosa, clip by clip": librosa_mfcc}
    front_end = detector.scorer.header.branches[0].frontend
    return [
        compare_feature("MFCC", mfcc, plain, waveforms, device=device, repeats=repeats),
        compare_feature(
            "front end of the model",
            Frontend(front_end),
            {},
            waveforms,
            device=device,
            repeats=repeats,
        ),
    ]


def table(comparisons: Sequence[Comparison]) -> str:
    """Lay comparisons out as text."""
    lines = [f"{'':<36} {'median':>10} {'x real time':>12} {'time':>8}"]
    for comparison in comparisons:
        lines.append(comparison.name)
        lines += [
            f"  {timing.name:<34} {timing.median_s:>8.3f} s "
            f"{comparison.times_real_time(timing):>12,.0f} {comparison.ratio(timing):>6.2f} x"
            for timing in comparison.timings
        ]
    return "\n".join(lines)


def to_dict(
    detector: Detector, comparisons: Sequence[Comparison], **about: object
) -> dict[str, Any]:
    """Return comparisons, and what they were measured with and on, as plain JSON types."""
    return {
        "about": {
            "model": str(detector.model),
            "device": str(detector.scorer.device),
            "processor": platform.processor() or platform.machine(),
            "cpu_count": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            **about,
        },
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }
