"""The command line that the benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deepfake_audio._process import prepare_for_batches
from deepfake_audio.benchmarking import Comparison, bundled_speech, speech_clips, table, to_dict
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import Limits
from deepfake_audio.detector import Detector
from deepfake_audio.errors import DeepfakeAudioError

Measure = Callable[[Detector, Sequence[bytes], int], list[Comparison]]


def run(description: str, measure: Measure, arguments: Sequence[str] | None = None) -> None:
    """Read the options, cut the clips, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument(
        "--data", action="append", metavar="FILE|DIR", help="speech; the bundled samples if none"
    )
    parser.add_argument("--clips", type=int, default=200, help="files in a run (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs a median (%(default)s)")
    parser.add_argument("--model", default="default", help="model by name or path (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args(arguments)
    if min(options.clips, options.repeats) < 1:
        parser.error("--clips and --repeats must be above zero")

    folders = options.data or [str(bundled_speech())]
    speech = collect(folders, recursive=True, limits=Limits()).sources
    if not speech:
        parser.error(f"no audio files in {', '.join(folders)}")
    prepare_for_batches()  # as the commands do
    try:
        detector = Detector.load(options.model, device=options.device)
        clips = speech_clips(speech, options.clips)
        found = measure(detector, clips, options.repeats)
    except DeepfakeAudioError as error:
        sys.exit(str(error))
    measured = to_dict(detector, found, clips=options.clips, repeats=options.repeats)
    print(table(found))
    print("  ".join(f"{key} {value}" for key, value in measured["about"].items()))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
