"""Waveforms in, logits out: the scoring core against the plain loop, librosa and the machine.

All ways hear the same decoded clips. The plain loop asks the very same network, in fp32, about one
clip after the other. Below the table stand what the machine itself can do, and where the time of
one thread goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import torch
from _command import run

from deepfake_audio.audio import decode
from deepfake_audio.benchmarking import Comparison, compare, librosa_mfcc, total_seconds
from deepfake_audio.detector import Detector
from deepfake_audio.devices import resolve_precision
from deepfake_audio.model import Network
from deepfake_audio.profiling import profile, table
from deepfake_audio.scoring import Scorer

GROUP_CLIPS = 100


def plain_loop(network: Network, clips: Sequence[np.ndarray]) -> list[float]:
    """Ask the network about one clip after the other, as long as it is."""
    with torch.inference_mode():
        return [float(network(torch.from_numpy(clip)).logit[0]) for clip in clips]


def side_by_side(scorer: Scorer, groups: Sequence[Sequence[np.ndarray]], workers: int) -> None:
    """Score groups of clips on threads, each of which does whole batches."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(scorer.score, groups))


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Time something, after a run that does not count."""
    work()
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        runs.append(time.perf_counter() - began)
    return median(runs)


def limits(repeats: int) -> list[str]:
    """Return lines on what one thread of this machine can do."""
    size, lines = 2048, []
    dtypes = [torch.float32]
    if resolve_precision("auto", torch.device("cpu")) == "bf16":
        dtypes.append(torch.bfloat16)  # where it is emulated one product takes minutes
    for dtype in dtypes:
        left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
        seconds = median_s(lambda left=left, right=right: left @ right, repeats)
        name = str(dtype).removeprefix("torch.")
        lines.append(f"matrix products, {name}: {2 * size**3 / seconds / 1e9:,.0f} GFLOP/s")
    source = torch.randn(64 * 2**20 // 4)
    target = torch.empty_like(source)
    seconds = median_s(lambda: target.copy_(source), repeats)
    lines.append(f"copying memory: {2 * source.nbytes / seconds / 1e9:.1f} GB/s")
    return lines


def measure(detector: Detector, clips: Sequence[bytes], repeats: int) -> list[Comparison]:
    """Compare ways of scoring, and print limits and profile."""
    waveforms = [decode(clip).samples for clip in clips]
    groups = [waveforms[i : i + GROUP_CLIPS] for i in range(0, len(waveforms), GROUP_CLIPS)]
    fast = detector.scorer
    fast.prepare()
    exact = Scorer(fast.network, fast.header, fast.device, precision="fp32")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = compare(
            "waveforms to logits",
            total_seconds(clips),
            {
                f"{threads} workers, {fast.precision}": lambda: side_by_side(fast, groups, threads),
                f"one thread, {fast.precision}": lambda: fast.score(waveforms),
                "one thread, fp32": lambda: exact.score(waveforms),
                "plain loop, fp32": lambda: plain_loop(exact.network, waveforms),
                "librosa MFCC only": lambda: [librosa_mfcc(clip[0]) for clip in waveforms],
            },
            repeats,
        )
        print("\n".join(limits(repeats)))
        print(table(profile(detector, clips, repeats)))
    finally:
        torch.set_num_threads(threads)
    return [found]


if __name__ == "__main__":
    run(__doc__ or "", measure)
