"""Live rooms in real time: how late events come, and how many rooms it takes to make them late.

Every room plays speech of its own phase in chunks of 100 ms; all share one pool. Rooms open at any
moment of a hop, as people enter them, or all at once (``--together``). The latency of an event is
the time from the arrival of the chunk that completes its window to the event. A run with more rooms
than the machine can bear shows by latencies that grow to the end.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from pathlib import Path

import numpy as np

from deepfake_audio._process import one_thread_each
from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import SAMPLE_RATE_HZ, Limits
from deepfake_audio.detector import Detector
from deepfake_audio.streaming import StreamConfig

CHUNK_S = 0.1


def play(
    detector: Detector,
    speech: np.ndarray,
    rooms: int,
    seconds: float,
    hop_s: float,
    opened_within_s: float,
) -> dict:
    """Run so many rooms for so long; return latencies in milliseconds and the state of a room.

    The first chunk of each room ends at a random moment of ``opened_within_s``.
    """
    pool = detector.stream_pool(StreamConfig(hop_s=hop_s))
    streams = [pool.open(SAMPLE_RATE_HZ, name=str(i)) for i in range(rooms)]
    chunk = round(CHUNK_S * SAMPLE_RATE_HZ)
    rng = np.random.default_rng(0)
    offsets = rng.integers(0, len(speech) - chunk, rooms)
    begun = time.perf_counter() + 0.05
    # (when the next chunk is complete, room, its number)
    due = [(begun + CHUNK_S + opened_within_s * rng.random(), room, 0) for room in range(rooms)]
    heapq.heapify(due)
    arrival = np.zeros(rooms)
    latencies: list[float] = []
    while due:
        now = time.perf_counter()
        if due[0][0] > now:
            time.sleep(due[0][0] - now)
            now = time.perf_counter()
        while due and due[0][0] <= now:
            when, room, number = heapq.heappop(due)
            at = (offsets[room] + number * chunk) % (len(speech) - chunk)
            if streams[room].push(speech[at : at + chunk]):
                arrival[room] = when
            if (number + 1) * CHUNK_S < seconds:
                heapq.heappush(due, (when + CHUNK_S, room, number + 1))
        for stream, event in pool.step():
            if event.time_s > 4:  # shorter windows at the beginning are cheaper
                latencies.append(time.perf_counter() - arrival[int(stream.name)])
    state = max(stream.n_bytes for stream in streams)
    p50, p95, p99 = (1e3 * np.percentile(latencies, [50, 95, 99])).tolist()
    return {
        "rooms": rooms,
        "events": len(latencies),
        "p50_ms": round(p50, 1),
        "p95_ms": round(p95, 1),
        "p99_ms": round(p99, 1),
        "state_kib": round(state / 1024),
    }


def main() -> None:
    """Read the options, play, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", action="append", metavar="FILE|DIR", help="speech to play")
    parser.add_argument("--rooms", type=int, nargs="+", default=[10, 25, 50, 100, 200])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (%(default)s)")
    parser.add_argument("--hop", type=float, default=1.0, help="between events (%(default)s)")
    parser.add_argument("--together", action="store_true", help="all rooms open within 100 ms")
    parser.add_argument("--model", default="default", help="model by name or path (%(default)s)")
    parser.add_argument(
        "--workers", type=int, help="threads that score, each alone; as many as torch would take"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args()
    folders = options.data or [str(bundled_speech())]
    sources = collect(folders, recursive=True, limits=Limits()).sources
    speech = np.concatenate([decode(source).samples[0] for source in sources[:100]])
    exported = options.model.endswith(".onnx")  # has threads of its own
    threads = 1 if exported else one_thread_each("cpu")
    detector = Detector.load(options.model, device="cpu", workers=options.workers or threads)
    within_s = CHUNK_S if options.together else options.hop
    play(detector, speech, 4, 6, options.hop, within_s)  # warm-up
    rows = []
    print(f"{'rooms':>6} {'events':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'KiB/room':>9}")
    for rooms in options.rooms:
        row = play(detector, speech, rooms, options.seconds, options.hop, within_s)
        rows.append(row)
        print(
            f"{rooms:>6} {row['events']:>7} {row['p50_ms']:>8} {row['p95_ms']:>8} "
            f"{row['p99_ms']:>8} {row['state_kib']:>9}"
            + ("  falls behind" if row["p95_ms"] > 1e3 * options.hop else "")
        )
    if options.json:
        about = {"model": str(detector.model), "precision": detector.scorer.precision}
        about["workers"] = detector.workers
        about["opened_within_s"] = within_s
        text = json.dumps({"about": about, "results": rows}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
