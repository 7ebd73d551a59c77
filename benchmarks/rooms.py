"""Live rooms over WebSockets: how late events come, by the number of rooms.

A service is started as its operator would start it; rooms connect from this process, each at a
phase of its own, and speak real speech in chunks of 100 ms at the pace of speech. The latency of
an event is the time from sending the chunk that completes its window to the event's arrival here.
Clients and service share the machine. Events that the service leaves out because they would come
too late are counted beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
from websockets.asyncio.client import connect

from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import SAMPLE_RATE_HZ, Limits
from deepfake_audio.server.rooms.protocol import HEADER

CHUNK_S = 0.1
LATE_S = 0.5


@dataclass
class Heard:
    """What came back in a run."""

    latencies_s: list[float] = field(default_factory=list)
    left_out: int = 0
    reports: int = 0


async def talk(url: str, sound: np.ndarray, rate: int, start_s: float, run: Heard) -> None:
    """Speak in one room and take the time of each event."""
    sent: list[float] = []
    size = round(CHUNK_S * rate)
    async with connect(url, compression=None, proxy=None) as socket:
        await socket.send('{"type":"start"}')
        join = {"type": "speaker", "id": 0, "sample_rate_hz": rate, "encoding": "pcm_s16le"}
        await socket.send(json.dumps(join))

        async def listen() -> None:
            async for text in socket:
                now = time.perf_counter()
                message = json.loads(text)
                if message["type"] == "event":
                    completing = round(message["time_s"] / CHUNK_S) - 1
                    run.latencies_s.append(now - sent[completing])
                    run.left_out += message["left_out"]
                elif message["type"] == "report":
                    run.reports += 1
                elif message["type"] == "error":
                    raise RuntimeError(text)

        listening = asyncio.create_task(listen())
        for number in range(len(sound) // size):
            await asyncio.sleep(start_s + (number + 1) * CHUNK_S - time.perf_counter())
            sent.append(time.perf_counter())
            piece = sound[number * size : (number + 1) * size]
            await socket.send(HEADER.pack(0, 0, number) + piece.tobytes())
        await socket.send('{"type":"stop"}')
        await listening


async def play(url: str, speech: np.ndarray, rate: int, rooms: int, seconds: float) -> Heard:
    """Run so many rooms for so long."""
    rng = np.random.default_rng(0)
    run = Heard()
    begun = time.perf_counter() + 1
    phases = np.concatenate([[0.0], rng.random(rooms - 1)])
    long = np.resize(speech, len(speech) + round(seconds * rate))
    async with asyncio.TaskGroup() as group:
        for phase in phases:
            at = int(rng.integers(0, len(speech)))
            sound = long[at : at + round(seconds * rate)]
            group.create_task(talk(url, sound, rate, begun + phase, run))
    return run


@contextmanager
def serving(model: str) -> Iterator[tuple[str, int]]:
    """Run a service; gives its address for WebSockets, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "deepfake_audio", "serve", "--insecure-local"]
        command += ["--port", "0", "--data", folder, "--model", model]
        environment = {**os.environ, "DEEPFAKE_AUDIO_MAX_ROOMS": "1000"}
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "listening on http" in line:
                    url = line.rpartition("http")[2].strip()
                    break
            else:
                raise SystemExit("the service did not start")
            try:
                yield f"ws{url}/v1/streams", process.pid
            finally:
                process.terminate()
                process.stderr.read()


def usage(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and the memory in MiB of a process and its children, as Linux tells.

    Pages that several of them share are counted once.
    """
    home = Path(f"/proc/{pid}")
    fields = (home / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    [line] = [row for row in (home / "smaps_rollup").open() if row.startswith("Pss:")]
    mib = int(line.split()[1]) / 1024
    for thread in (home / "task").iterdir():
        for child in (thread / "children").read_text().split():
            its_s, its_mib = usage(int(child))
            cpu_s, mib = cpu_s + its_s, mib + its_mib
    return cpu_s, mib


def measure(model: str, speech: np.ndarray, rate: int, rooms: int, seconds: float) -> dict:
    """Measure one number of rooms in a service of its own."""
    with serving(model) as (url, pid):
        asyncio.run(play(url, speech, rate, 2, 6))  # warm-up
        before_s, idle_mib = usage(pid)
        own_before_s = time.process_time()
        run = asyncio.run(play(url, speech, rate, rooms, seconds))
        own_s = time.process_time() - own_before_s
        after_s, mib = usage(pid)
    latencies = np.array(run.latencies_s)
    p50, p95, p99 = (1e3 * np.percentile(latencies, [50, 95, 99])).round(1).tolist()
    return {
        "model": model,
        "rooms": rooms,
        "events": latencies.size,
        "left_out_share": round(run.left_out / (run.left_out + latencies.size), 4),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "late_share": round(float((latencies > LATE_S).mean()), 4),
        "reports": run.reports,
        "service_cores": round((after_s - before_s) / seconds, 2),
        "clients_cores": round(own_s / seconds, 2),
        "service_mib": round(mib),
        "service_idle_mib": round(idle_mib),
        "load": round(os.getloadavg()[0], 2),
    }


COLUMNS = {
    "model": "model",
    "rooms": "rooms",
    "events": "events",
    "left_out_share": "left out",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "late_share": f"> {LATE_S:g} s",
    "service_cores": "cores",
    "service_mib": "MiB",
    "load": "load",
}


def main() -> None:
    """Read the options, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", action="append", metavar="FILE|DIR", help="speech to play")
    parser.add_argument("--rooms", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run (%(default)s)")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE_HZ, help="hertz (%(default)s)")
    parser.add_argument("--model", nargs="+", default=["tiny", "default"])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args()
    folders = options.data or [str(bundled_speech())]
    sources = collect(folders, recursive=True, limits=Limits()).sources
    speech = np.concatenate([decode(source).samples[0] for source in sources[:100]])
    speech = soxr.resample(speech, SAMPLE_RATE_HZ, options.rate)
    speech = np.clip(speech * 32768, -32768, 32767).astype("<i2")
    rows = []
    print("  ".join(f"{title:>8}" for title in COLUMNS.values()))
    for model in options.model:
        for rooms in options.rooms:
            row = measure(model, speech, options.rate, rooms, options.seconds)
            rows.append(row)
            print("  ".join(f"{row[key]!s:>8}" for key in COLUMNS), flush=True)
    if options.json:
        about = {"seconds": options.seconds, "rate_hz": options.rate, "cores": os.cpu_count()}
        text = json.dumps({"about": about, "results": rows}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
