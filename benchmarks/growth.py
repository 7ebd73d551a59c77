"""What grows with the work: cost of a file from 10 to 10,000 files, and of one recording to 10 h.

Every size is measured in a process of its own, for peak memory is that of a whole life. Files are
FLAC clips of real speech in memory, 2 to 8 s long; the first few hundred come again and again, so
that the files themselves take no more memory where there are more of them. The one recording is a
FLAC file on disk of the same speech, cut at random places.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from deepfake_audio._process import one_thread_each
from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import (
    Comparison,
    Timing,
    bundled_speech,
    reports,
    speech_clips,
    to_dict,
    total_seconds,
)
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import SAMPLE_RATE_HZ, Limits
from deepfake_audio.detector import Detector
from deepfake_audio.errors import DeepfakeAudioError

CLIPS = 200
FILES = (10, 100, 1_000, 10_000)
HOURS = (1 / 3600, 1 / 60, 1, 10)
SECONDS_BEHIND_A_MEDIAN = 20.0
"""Short runs are repeated for about as long, or five times."""


def write_recording(path: Path, clips: Sequence[bytes], duration_s: float) -> None:
    """Write clips one after the other, in random order, as one FLAC file."""
    order = np.random.default_rng(0).integers(len(clips), size=1_000_000)
    left = round(duration_s * SAMPLE_RATE_HZ)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, format="FLAC") as file:
        for index in order:
            samples = decode(clips[index]).samples[0, :left]
            file.write(samples)
            left -= samples.size
            if not left:
                return


def peak_mb() -> float:
    """Return the most memory that this process has had, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measure_one(options: argparse.Namespace, speech: Sequence[Any]) -> dict[str, Any]:
    """Measure one size in this process."""
    clips = speech_clips(speech, CLIPS)
    workers = one_thread_each(options.device)
    limits = Limits(max_duration_s=1e6, max_samples=2**34, max_decode_s=1e5)
    detector = Detector.load(options.model, device=options.device, workers=workers, limits=limits)
    with tempfile.TemporaryDirectory() as folder:
        if options.files:
            name = f"{options.files:,} files"
            work = list(itertools.islice(itertools.cycle(clips), options.files))
            whole, rest = divmod(options.files, CLIPS)
            audio_s = whole * total_seconds(clips) + total_seconds(clips[:rest])
        else:
            audio_s = max(round(3600 * options.hours), 1)
            name = f"one recording of {audio_s:,.0f} s"
            work = [Path(folder, "recording.flac")]
            write_recording(work[0], clips, audio_s)
        reports(detector, clips[:10])  # does not count
        before_mb = peak_mb()
        runs: list[float] = []
        while not runs or (len(runs) < 5 and sum(runs) < SECONDS_BEHIND_A_MEDIAN):
            began = time.perf_counter()
            for result in detector.detect_many(work):
                if isinstance(result, DeepfakeAudioError):
                    raise result
            runs.append(time.perf_counter() - began)
    found = Comparison(name, audio_s, (Timing("detect_many", tuple(runs)),))
    rate = found.times_real_time(found.timings[0])
    measured = to_dict(detector, [found], workers=workers)
    measured["growth"] = [
        {
            "name": name,
            "ms_per_file": 1e3 * found.timings[0].median_s / len(work),
            "times_real_time": rate,
            "peak_mb": peak_mb(),
            "peak_mb_before": before_mb,
        }
    ]
    return measured


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measure each size in a process, and print its row as soon as it is there."""
    given = [f"--device={options.device}", f"--model={options.model}"]
    given += [f"--data={folder}" for folder in options.data or ()]
    sizes = [f"--files={n}" for n in FILES if n <= options.max_files]
    sizes += [f"--hours={hours!r}" for hours in HOURS if hours <= options.max_hours]
    measured: dict[str, Any] = {"about": {}, "comparisons": [], "growth": []}
    print(f"{'':<28} {'ms a file':>12} {'x real time':>12} {'peak':>9} {'of it before':>13}")
    for size in sizes:
        done = subprocess.run(
            [sys.executable, __file__, size, *given], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{size} could not be measured")
        one = json.loads(done.stdout)
        measured["about"] = one["about"]
        measured["comparisons"] += one["comparisons"]
        measured["growth"] += one["growth"]
        for row in one["growth"]:
            print(
                f"{row['name']:<28} {row['ms_per_file']:>12,.1f} {row['times_real_time']:>12,.0f} "
                f"{row['peak_mb']:>6,.0f} MB {row['peak_mb_before']:>10,.0f} MB",
                flush=True,
            )
    print("  ".join(f"{key} {value}" for key, value in measured["about"].items()))
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", action="append", metavar="FILE|DIR", help="speech; the bundled samples if none"
    )
    parser.add_argument("--max-files", type=int, default=max(FILES), help="(%(default)s)")
    parser.add_argument("--max-hours", type=float, default=max(HOURS), help="(%(default)s)")
    parser.add_argument("--model", default="default", help="model by name or path (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    parser.add_argument("--files", type=int, help="only so many files, in this process")
    parser.add_argument("--hours", type=float, help="only a recording so long, in this process")
    options = parser.parse_args(arguments)
    if options.files or options.hours:
        folders = options.data or [str(bundled_speech())]
        speech = collect(folders, recursive=True, limits=Limits()).sources
        if not speech:
            parser.error(f"no audio files in {', '.join(folders)}")
        try:
            print(json.dumps(measure_one(options, speech)))
        except DeepfakeAudioError as error:
            sys.exit(str(error))
        return
    measured = measure_all(options)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
