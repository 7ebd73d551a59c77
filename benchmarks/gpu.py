"""PCM in host memory, logits out, on a GPU: how fast, and how far from what the GPU can do.

Windows of real speech lie in host memory as 16-bit PCM. They are copied, heard and answered in each
precision; beside it stands the whole of `Scorer.score` on decoded recordings, which also looks for
pauses and reduces to scores, on as many threads as keep the GPU busy. The roofline is measured in
the same run: copies to the device, matrix products, and copies within its memory. What the network
needs of each is counted (for memory: what convolutions read and write, as if all between were
fused), and the slowest of the three is the bound that the table is held against.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from deepfake_audio.benchmarking import (
    FEATURE_CLIP_S,
    bundled_speech,
    compare,
    equal_lengths,
    speech_clips,
    table,
    to_dict,
)
from deepfake_audio.cli.inputs import collect
from deepfake_audio.config import SAMPLE_RATE_HZ, Limits
from deepfake_audio.detector import Detector
from deepfake_audio.devices import Exactly
from deepfake_audio.errors import DeepfakeAudioError

PRECISIONS: tuple[Exactly, ...] = ("bf16", "tf32", "fp32")
NO_GPU = "gpu.py: no GPU with CUDA here; nothing was measured"


class Machine(NamedTuple):
    """What the GPU can do, measured."""

    copy_to_device_gb_s: float
    memory_gb_s: float
    tflop_s: dict[str, float]


class Cost(NamedTuple):
    """What a second of audio needs."""

    pcm_bytes: float
    flop: float
    memory_bytes: float


def cost(network: torch.nn.Module, element_bytes: int, window_s: float = FEATURE_CLIP_S) -> Cost:
    """Count what a network needs, over one window on the device that it is on."""
    device = next(network.parameters()).device
    n_samples = round(window_s * SAMPLE_RATE_HZ)
    moved = [0.0]

    def count(_: torch.nn.Module, given: tuple[torch.Tensor, ...], found: torch.Tensor) -> None:
        moved[0] += element_bytes * (sum(g.numel() for g in given) + found.numel())

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, n_samples, device=device))
    for hook in hooks:
        hook.remove()
    return Cost(2 * SAMPLE_RATE_HZ, counter.get_total_flops() / window_s, moved[0] / window_s)


def bounds(need: Cost, machine: Machine, precision: str) -> dict[str, float]:
    """Return how many times real time each resource would allow if it were the only one."""
    return {
        "copy to device": machine.copy_to_device_gb_s * 1e9 / need.pcm_bytes,
        "matrix products": machine.tflop_s[precision] * 1e12 / need.flop,
        "memory": machine.memory_gb_s * 1e9 / need.memory_bytes,
    }


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median of a few runs on the device, after two that do not count."""
    runs = []
    for _ in range(repeats + 2):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        runs.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(runs[2:]))


def measure_machine(device: torch.device, repeats: int) -> Machine:
    """Measure the limits of a GPU."""
    size, n_bytes = 8192, 2**28
    host = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
    here, there = (torch.empty(n_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    tflop_s = {}
    allowed = torch.backends.cuda.matmul.allow_tf32
    for precision in PRECISIONS:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        taken = seconds(lambda one=one, other=other: one @ other, repeats)
        tflop_s[precision] = 2 * size**3 / taken / 1e12
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return Machine(
        n_bytes / seconds(lambda: here.copy_(host, non_blocking=True), repeats) / 1e9,
        2 * n_bytes / seconds(lambda: there.copy_(here), repeats) / 1e9,
        tflop_s,
    )


def measure(options: argparse.Namespace, sources: Sequence[Any]) -> dict[str, Any]:
    """Measure all precisions by turns, print tables, and return what the JSON file holds."""
    device = torch.device(options.device)
    windows = equal_lengths(speech_clips(sources, options.windows))
    pcm = np.clip(np.rint(windows * 32768), -32768, 32767).astype(np.int16)
    recordings = [(row / np.float32(32768))[None] for row in pcm]
    detectors = {
        precision: Detector.load(options.model, device=options.device, precision=precision)
        for precision in PRECISIONS
    }
    first = detectors["bf16"].scorer
    size, lanes = first.batch_windows, first.lanes
    batches = [pcm[at : at + size] for at in range(0, len(pcm), size)] * options.passes
    groups = [recordings[at : at + 4 * size] for at in range(0, len(recordings), 4 * size)]

    def logits(precision: Exactly) -> object:
        return detectors[precision].scorer.runner.run(batches)

    def scores(precision: Exactly) -> object:
        with ThreadPoolExecutor(lanes) as pool:
            return list(pool.map(detectors[precision].scorer.score, groups * options.passes))

    audio_s = options.passes * windows.size / SAMPLE_RATE_HZ
    found = [
        compare(
            "PCM in host memory to logits",
            audio_s,
            {name: lambda name=name: logits(name) for name in PRECISIONS},
            options.repeats,
        ),
        compare(
            "decoded recordings to scores",
            audio_s,
            {name: lambda name=name: scores(name) for name in PRECISIONS},
            options.repeats,
        ),
    ]
    machine = measure_machine(device, options.repeats)
    print(table(found))
    print(
        f"\ncopy to device {machine.copy_to_device_gb_s:.1f} GB/s  memory "
        f"{machine.memory_gb_s:,.0f} GB/s  matrix products "
        + ", ".join(f"{name} {tflop:,.0f} TFLOP/s" for name, tflop in machine.tflop_s.items())
    )
    rooflines = {}
    for timing in found[0].timings:
        network = detectors[timing.name].scorer.network
        need = cost(network, 2 if timing.name == "bf16" else 4)
        allowed = bounds(need, machine, timing.name)
        slowest = min(allowed, key=lambda name: allowed[name])
        rate = found[0].times_real_time(timing)
        rooflines[timing.name] = {
            "need_per_audio_second": need._asdict(),
            "times_real_time_allowed": allowed,
            "slowest": slowest,
            "times_the_bound": allowed[slowest] / rate,
        }
        print(
            f"{timing.name}: {rate:,.0f} x real time; {slowest} would allow "
            f"{allowed[slowest]:,.0f} x: {allowed[slowest] / rate:.1f} times the bound"
        )
    about = {"windows": options.windows, "passes": options.passes, "repeats": options.repeats}
    measured = to_dict(
        detectors["bf16"], found, gpu=torch.cuda.get_device_name(device), batch=size, **about
    )
    return {**measured, "machine": machine._asdict(), "rooflines": rooflines}


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", action="append", metavar="FILE|DIR", help="speech; the bundled samples if none"
    )
    parser.add_argument("--windows", type=int, default=2048, help="of 4 s (%(default)s)")
    parser.add_argument("--passes", type=int, default=4, help="over them in a run (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs a median (%(default)s)")
    parser.add_argument("--model", default="default", help="model by name or path (%(default)s)")
    parser.add_argument("--device", default="cuda:0", help="one GPU (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(NO_GPU)
    sources = collect(
        options.data or [str(bundled_speech())], recursive=True, limits=Limits()
    ).sources
    if not sources:
        parser.error("no audio files in --data")
    try:
        measured = measure(options, sources)
    except DeepfakeAudioError as error:
        sys.exit(str(error))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
