"""The moderation service under load, against the same model without a server.

A real server process takes uploads of clips of 2 to 8 s from many clients at once, each waiting for
its report before it sends the next. The same clips are scored by `Detector.detect_many` in this
process before and after, with the server idle. Clients, server and decoders share the machine, so
processor seconds are stated, too: of the server, of its decoders, of the clients, and of scoring
without a server. They say what a report costs, whatever else the machine is at.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from deepfake_audio._process import prepare_for_batches
from deepfake_audio.benchmarking import bundled_speech, speech_clips
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import Limits
from deepfake_audio.detector import Detector

BOUNDARY = "benchmark"


def body_of(clip: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip.flac"\r\n\r\n'
    )
    return head.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()


class Server:
    """The service as a process of its own."""

    def __init__(self, data: Path, model: str) -> None:
        command = [sys.executable, "-c", "from deepfake_audio.cli import main; main()", "serve"]
        options = ["--insecure-local", "--port", "0", "--data", str(data), "--model", model]
        self._process = subprocess.Popen(command + options, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"listening on http://(\S+):(\d+)", line):
                self.host, self.port = found[1], int(found[2])
                break
        else:
            sys.exit("the service did not start")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def memory_mib(self) -> float:
        """Resident memory of the process, decoders left out."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else float("nan")

    def cpu_s(self) -> tuple[float, float]:
        """Processor seconds so far: of the process, and of the decoders."""
        own, ended = _cpu_s(self._process.pid)
        tasks = Path(f"/proc/{self._process.pid}/task")
        lists = [(task / "children").read_text().split() for task in tasks.iterdir()]
        return own, ended + sum(sum(_cpu_s(int(pid))) for pids in lists for pid in pids)

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


def _cpu_s(pid: int) -> tuple[float, float]:
    """Processor seconds of a process, and of its children that have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # a decoder that has just been replaced
        return 0.0, 0.0
    user, system, child_user, child_system = map(int, stat.rpartition(")")[2].split()[11:15])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + system) / ticks, (child_user + child_system) / ticks


def client(
    server: Server, bodies: list[bytes], first: int, until: float, out: list[tuple[int, float]]
) -> None:
    """Send one clip after the other; keep status and latency of each."""
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Prefer": "wait=60",
    }
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    number = first
    while time.perf_counter() < until:
        began = time.perf_counter()
        connection.request("POST", "/v1/detections", bodies[number % len(bodies)], headers)
        answer = connection.getresponse()
        answer.read()
        out.append((answer.status, time.perf_counter() - began))
        number += 1
        if answer.status == 429:
            time.sleep(float(answer.headers["Retry-After"]))


def load(server: Server, bodies: list[bytes], clients: int, seconds: float) -> dict:
    outs: list[list[tuple[int, float]]] = [[] for _ in range(clients)]
    began = time.perf_counter()
    cpu_before = (*server.cpu_s(), time.process_time())
    memory = [server.memory_mib()]
    threads = [
        threading.Thread(target=client, args=(server, bodies, 7 * i, began + seconds, out))
        for i, out in enumerate(outs)
    ]
    for thread in threads:
        thread.start()
    for tenth in range(1, 10):
        time.sleep(max(began + seconds * tenth / 10 - time.perf_counter(), 0))
        memory.append(server.memory_mib())
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - began
    cpu_after = (*server.cpu_s(), time.process_time())
    answers = [answer for out in outs for answer in out]
    latencies = [1e3 * taken for status, taken in answers if status in (200, 201)]
    server_ms, decoders_ms, clients_ms = (
        round(1e3 * (after - before) / max(len(latencies), 1), 2)
        for before, after in zip(cpu_before, cpu_after, strict=True)
    )
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).round(1).tolist()
    return {
        "clients": clients,
        "seconds": round(elapsed_s, 1),
        "reports": len(latencies),
        "reports_per_s": round(len(latencies) / elapsed_s, 1),
        "status_429": sum(status == 429 for status, _ in answers),
        "errors": sum(status not in (200, 201, 429) for status, _ in answers),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "cpu_ms_per_report": {
            "server": server_ms,
            "decoders": decoders_ms,
            "clients": clients_ms,
        },
        "memory_mib": [round(value) for value in memory],
    }


def without_server(detector: Detector, clips: list[bytes]) -> tuple[float, float]:
    """Return reports a second, and processor milliseconds a report."""
    began, cpu_began = time.perf_counter(), time.process_time()
    found = sum(1 for _ in detector.detect_many(clips))
    cpu_ms = 1e3 * (time.process_time() - cpu_began) / found
    return found / (time.perf_counter() - began), cpu_ms


def main() -> None:
    """Read the options, load the service, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", action="append", metavar="FILE|DIR", help="speech to send")
    parser.add_argument("--clips", type=int, default=400, help="different clips (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run (%(default)s)")
    parser.add_argument("--model", default="default", help="model by name or path (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args()
    folders = options.data or [str(bundled_speech())]
    sources = collect(folders, recursive=True, limits=Limits()).sources
    clips = speech_clips(sources, options.clips)
    bodies = [body_of(clip) for clip in clips]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the service does
    prepare_for_batches()
    detector = Detector.load(options.model, workers=threads)
    without_server(detector, clips[:100])  # warm-up
    before = without_server(detector, clips)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), options.model)
        load(server, bodies, 4, 3)  # warm-up
        print(
            f"{'clients':>8} {'reports/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
            f"{'429':>5} {'errors':>7}  {'cpu ms: server':>14} {'decoders':>9} {'clients':>8}  "
            "memory MiB"
        )
        for clients in options.clients:
            row = load(server, bodies, clients, options.seconds)
            rows.append(row)
            cpu = row["cpu_ms_per_report"]
            print(
                f"{clients:>8} {row['reports_per_s']:>10} {row['p50_ms']:>8} {row['p95_ms']:>8} "
                f"{row['p99_ms']:>8} {row['status_429']:>5} {row['errors']:>7}  "
                f"{cpu['server']:>14} {cpu['decoders']:>9} {cpu['clients']:>8}  "
                f"{row['memory_mib'][0]} -> {row['memory_mib'][-1]}"
            )
        server.stop()
    after = without_server(detector, clips)
    alone_per_s, alone_ms = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    best = max(rows, key=lambda row: row["reports_per_s"])
    cpu = best["cpu_ms_per_report"]
    print(
        f"without a server {before[0]:.1f} and {after[0]:.1f} reports/s; "
        f"with it {best['reports_per_s'] / alone_per_s:.0%}"
    )
    print(
        f"cpu without a server {before[1]:.2f} and {after[1]:.2f} ms a report; with it "
        f"{cpu['server'] + cpu['decoders']:.2f} ms, the clients' own left out: so much work is "
        f"{alone_ms / (cpu['server'] + cpu['decoders']):.0%} the model's"
    )
    if options.json:
        found = {
            "about": {"model": str(detector.model), "cores": threads},
            "without_server_per_s": [before[0], after[0]],
            "without_server_cpu_ms": [before[1], after[1]],
            "results": rows,
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
