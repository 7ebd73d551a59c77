"""How fast: end to end and features, on real speech, against the plain way of doing it.

Times are medians of several runs after a warm-up; nothing is measured on zeros.
"""

from __future__ import annotations

import io
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import torch

from .audio import AudioSource, decode
from .config import SAMPLE_RATE_HZ
from .detector import Detector
from .errors import DeepfakeAudioError
from .features import mfcc
from .windows import FloatArray

FEATURE_CLIP_S = 4.0
FEATURE_BATCH = 16


@dataclass(frozen=True)
class Timing:
    """One thing measured.

    Attributes
    ----------
    name : str
        What was run.
    audio_s : float
        Seconds of audio in a run.
    runs_s : tuple of float
        Wall-clock seconds of each run.
    """

    name: str
    audio_s: float
    runs_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median of the runs, seconds."""
        return statistics.median(self.runs_s)

    @property
    def times_real_time(self) -> float:
        """Seconds of audio handled in a second."""
        return self.audio_s / self.median_s

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON types."""
        return {
            "name": self.name,
            "audio_s": round(self.audio_s, 2),
            "median_s": round(self.median_s, 4),
            "runs_s": [round(run, 4) for run in self.runs_s],
            "times_real_time": round(self.times_real_time, 1),
        }


def measure(name: str, audio_s: float, run: Callable[[], object], repeats: int) -> Timing:
    """Time a function, after one run that does not count."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return Timing(name, audio_s, tuple(times))


def speech_clips(recordings: Sequence[AudioSource], n_clips: int, seed: int = 0) -> list[bytes]:
    """Make FLAC files in memory, 2 to 8 s long, out of real speech.

    Parameters
    ----------
    recordings : sequence of audio sources
        Speech to cut from; what is short is repeated.
    n_clips : int
        Files to make; no two are alike.
    seed : int
        Of the cuts.
    """
    speech = np.concatenate([decode(source).samples[0] for source in recordings])
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


def end_to_end(detector: Detector, clips: Sequence[bytes], repeats: int = 3) -> list[Timing]:
    """Time files in, reports out: all together, and one file after the other.

    Both decode, cut, gate and ask the same network in the same process.
    """
    audio_s = sum(decode(clip).info.duration_s for clip in clips)

    def together() -> None:
        for result in detector.detect_many(clips):
            if isinstance(result, DeepfakeAudioError):
                raise result

    def one_by_one() -> None:
        for clip in clips:
            detector.scorer.score([decode(clip).samples])

    return [
        measure("files to reports, detect_many", audio_s, together, repeats),
        measure("files to scores, one at a time", audio_s, one_by_one, repeats),
    ]


def features(detector: Detector, clips: Sequence[bytes], repeats: int = 3) -> list[Timing]:
    """Time feature extraction on decoded clips of 4 s: batches here, librosa clip by clip."""
    import librosa  # slow to import, and nothing else here needs it

    length = int(FEATURE_CLIP_S * SAMPLE_RATE_HZ)
    waveforms = np.stack([np.resize(decode(clip).samples[0], length) for clip in clips])
    audio_s = FEATURE_CLIP_S * len(clips)
    batches = torch.split(torch.from_numpy(waveforms).to(detector.scorer.device), FEATURE_BATCH)
    network = detector.scorer.network

    @torch.inference_mode()
    def batched(compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for batch in batches:
            compute(batch)
        if detector.scorer.device.type == "cuda":
            torch.cuda.synchronize()

    def clip_by_clip() -> FloatArray:
        for waveform in waveforms:
            found = librosa.feature.mfcc(
                y=waveform, sr=SAMPLE_RATE_HZ, n_mfcc=20, n_fft=512, win_length=400, hop_length=160
            )
        return np.asarray(found)

    return [
        measure("MFCC, batched", audio_s, lambda: batched(mfcc), repeats),
        measure("MFCC, librosa clip by clip", audio_s, clip_by_clip, repeats),
        measure("front end of the model", audio_s, lambda: batched(network.frontend), repeats),
    ]


def table(timings: Sequence[Timing]) -> str:
    """Lay measurements out as text."""
    lines = [f"{'':<32} {'median':>10} {'x real time':>12}"]
    lines += [f"{t.name:<32} {t.median_s:>8.3f} s {t.times_real_time:>12,.0f}" for t in timings]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Say where measurements were made."""
    return {
        "processor": platform.processor() or platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
