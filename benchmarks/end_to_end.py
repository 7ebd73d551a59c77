"""Files in, verdicts out: this package against the loop one would write without it.

All ways read the same FLAC files from memory in the same process. The plain loop uses the very
same network and gives the very same scores; it reads with soundfile, asks torch about one file
after the other, and leaves out the rest of a report (hash, quality flags, limits).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile
import torch
from _command import run

from deepfake_audio.benchmarking import (
    Comparison,
    compare,
    end_to_end,
    librosa_mfcc,
    reports,
    total_seconds,
)
from deepfake_audio.detector import Detector
from deepfake_audio.windows import (
    activity,
    cut,
    frame_moments,
    in_windows,
    is_sounding,
    window_starts,
)


@torch.inference_mode()
def plain_llr(detector: Detector, clip: bytes) -> float:
    """Score one mono file at 16 kHz the plain way; NaN where no window counts as speech."""
    header, network = detector.scorer.header, detector.scorer.network
    samples, _ = soundfile.read(io.BytesIO(clip), dtype="float32", always_2d=True)
    samples = samples.T  # (1, samples)
    length, starts = window_starts(samples.shape[1], header.windows)
    sounding = is_sounding(activity(in_windows(frame_moments(samples), starts, length)))[0]
    if not sounding.any():
        return float("nan")
    windows = torch.from_numpy(cut(samples, header.windows)[0, sounding])  # (windows, length)
    output = network(windows.to(detector.scorer.device))
    llr = header.calibration.llr(output.logit.double().cpu().numpy())
    speech = output.speech.double().sigmoid().cpu().numpy()
    spoken = speech >= header.calibration.speech_threshold
    return float(llr[spoken].mean()) if spoken.any() else float("nan")


def plain_mfcc(clip: bytes) -> object:
    """Read one file and compute its MFCC with librosa; no network."""
    samples, _ = soundfile.read(io.BytesIO(clip), dtype="float32")
    return librosa_mfcc(np.asarray(samples))


def measure(detector: Detector, clips: Sequence[bytes], repeats: int) -> list[Comparison]:
    """Compare with a plain loop, with librosa's MFCC alone, and with one call a file."""
    ways = {
        "detect_many": lambda: reports(detector, clips),
        "plain loop, same network": lambda: [plain_llr(detector, clip) for clip in clips],
        "plain loop, librosa MFCC only": lambda: [plain_mfcc(clip) for clip in clips],
    }
    return [
        compare("files to verdicts", total_seconds(clips), ways, repeats),
        end_to_end(detector, clips, repeats),
    ]


if __name__ == "__main__":
    run(__doc__ or "", measure)
