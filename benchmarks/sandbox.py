"""Mutated files through the sandboxed decoder: what becomes of them, how fast, and what leaks.

Short recordings in many containers are damaged at random (bytes changed, pieces removed, doubled or
cut off) and decoded as the service decodes uploads. What counts is that each comes back with
samples or with an error, that memory stays where it was, and how many decoders had to be replaced.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from deepfake_audio.audio import decode
from deepfake_audio.augment.codecs import import_av
from deepfake_audio.benchmarking import bundled_speech
from deepfake_audio.config import Limits
from deepfake_audio.errors import DeepfakeAudioError
from deepfake_audio.server.sandbox import Sandbox

LIMITS = Limits(max_duration_s=600, max_samples=40_000_000, max_decode_s=10)
MEMORY_BYTES = 2 * 1024**3


def containers(speech: np.ndarray) -> list[bytes]:
    """Return a recording in what people upload."""
    found = []
    for container, codec in (
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
        ("CAF", "PCM_16"),
    ):  # fmt: skip
        out = io.BytesIO()
        soundfile.write(out, speech, 16_000, format=container, subtype=codec)
        found.append(out.getvalue())
    av = import_av()
    for container, encoder in (
        ("mp4", "aac"), ("adts", "aac"), ("matroska", "libopus"), ("asf", "wmav2"),
    ):  # fmt: skip
        out = io.BytesIO()
        with av.open(out, "w", format=container) as file:
            stream = file.add_stream(encoder, rate=16_000, layout="mono")
            stream.bit_rate = 32_000
            frame = av.AudioFrame.from_ndarray(
                (speech * 32767).astype(np.int16)[None], format="s16", layout="mono"
            )
            frame.sample_rate = 16_000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                file.mux(packet)
        found.append(out.getvalue())
    return found


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return damaged content."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(data)))
        # Headers are where decoders believe what they read.
        at = at if rng.random() < 0.5 else at % min(len(data), 200)
        kind = rng.integers(5)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            data[at : at + 4] = rng.bytes(4)
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 64))]
        elif kind == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 64))]
        else:
            data[at : at + 4] = (0xFFFFFFFF if rng.random() < 0.5 else 0x7FFFFFFF).to_bytes(4)
        if not data:
            return b"\0"
    return bytes(data[: int(rng.integers(1, len(data) + 1))] if rng.random() < 0.2 else data)


def memory_mib(pid: int) -> float:
    """Resident memory of a process; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def decoders_mib() -> float:
    """Resident memory of the largest decoder."""
    mine = f"/proc/{os.getpid()}/task"
    lists = [Path(mine, task, "children").read_text().split() for task in os.listdir(mine)]
    return max((memory_mib(int(pid)) for pids in lists for pid in pids), default=0.0)


def main() -> None:
    """Read the options, decode, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="to decode (%(default)s)")
    parser.add_argument("--decoders", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one, for parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args()
    speech = decode(sorted(bundled_speech().glob("*.flac"))[0]).samples[0][: 3 * 8000]
    sources = containers(speech)
    counts: collections.Counter[str] = collections.Counter()
    over_time: list[dict[str, float]] = []
    lock = threading.Lock()
    numbers = iter(range(options.first, options.first + options.files))
    sandbox = Sandbox(options.decoders, LIMITS, MEMORY_BYTES)
    before = memory_mib(os.getpid())
    began = time.perf_counter()

    def work(path: Path) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            rng = np.random.default_rng((options.seed, number))
            path.write_bytes(mutate(sources[number % len(sources)], rng))
            try:
                outcome = "decoded" if sandbox.decode(path, name="x").samples.size else "empty"
            except DeepfakeAudioError as error:
                outcome = error.code
                if "ends the decoder" in error.message:
                    outcome = "decoder lost"
            with lock:
                counts[outcome] += 1
                done = counts.total()
            if done % (options.files // 20 or 1) == 0:
                row = {
                    "files": done,
                    "seconds": round(time.perf_counter() - began, 1),
                    "service_mib": round(memory_mib(os.getpid())),
                    "decoder_mib": round(decoders_mib()),
                }
                over_time.append(row)
                print(*(f"{value} {what}" for what, value in row.items()), file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder, sandbox:
        threads = [
            threading.Thread(target=work, args=(Path(folder) / str(n),))
            for n in range(options.decoders)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elapsed_s = time.perf_counter() - began
    after = memory_mib(os.getpid())
    for outcome, count in counts.most_common():
        print(f"{count:>8}  {outcome}")
    rate = options.files / elapsed_s
    print(f"{options.files} files of {len(sources)} kinds, {rate:.0f} a second")
    print(f"memory of this process {before:.0f} -> {after:.0f} MiB")
    if options.json:
        found = {"outcomes": dict(counts), "per_s": rate, "over_time": over_time}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
