"""Other versions of cached clips, made once and kept beside them: coded, or copied by a vocoder.

A rendering has the length of its clip and so shares the cache's offsets.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..datasets.cache import AudioCache
from .codecs import CODECS, available_codecs, transcode

Render = Callable[[int, np.ndarray], np.ndarray]
_THREADS = 2


@dataclass(frozen=True)
class Rendering:
    """One alternative version of some clips of a cache.

    Attributes
    ----------
    name : str
        What was done.
    samples : np.ndarray, int16, shape (total,)
        Memory-mapped, laid out as the cache's samples.
    indices : np.ndarray, int64
        The clips that have this rendering; sorted.
    """

    name: str
    samples: np.ndarray
    indices: np.ndarray

    def clip(self, cache: AudioCache, index: int) -> np.ndarray:
        """Return the rendering of clip ``index``, int16, shape (samples,)."""
        return self.samples[cache.offsets[index] : cache.offsets[index + 1]]


def render(
    cache: AudioCache,
    folder: Path,
    name: str,
    indices: Sequence[int] | np.ndarray,
    work: Render,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Rendering:
    """Make a rendering of the given clips, or go on with one that an earlier call began.

    Parameters
    ----------
    cache : AudioCache
        The originals.
    folder : Path
        Where the files live; best named after the cache's key.
    name : str
        Name of the rendering; one file each.
    indices : sequence of int
        Clips to render.
    work : callable (index, samples int16) -> samples int16
        Makes one; the result is cut or padded to the clip's length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, done_path = folder / f"{name}.i16", folder / f"{name}.done"
    total = int(cache.offsets[-1])
    mode: Literal["r+", "w+"] = "r+" if path.exists() and path.stat().st_size == 2 * total else "w+"
    samples = np.memmap(path, dtype=np.int16, mode=mode, shape=(total,))
    # One text line a finished clip: what a killed run left undone is known exactly.
    done = (
        set(map(int, done_path.read_text().split()))
        if mode == "r+" and done_path.exists()
        else set()
    )
    order = [int(i) for i in indices if int(i) not in done]
    with done_path.open("a") as log, ThreadPoolExecutor(_THREADS) as pool:
        for count, (index, result) in enumerate(
            zip(order, pool.map(lambda i: work(i, cache[i]), order), strict=True), 1
        ):
            target = samples[cache.offsets[index] : cache.offsets[index + 1]]
            length = min(len(target), len(result))
            target[:length] = result[:length]
            target[length:] = 0
            log.write(f"{index}\n")
            log.flush()  # a kill loses at most this clip
            if on_progress:
                on_progress(count)
    samples.flush()
    return Rendering(name, np.memmap(path, dtype=np.int16, mode="r"), np.sort(np.asarray(indices)))


def coded(seed: int, twice: float = 0.0) -> Render:
    """Return the work of a codec rendering: a random codec and bit rate a clip.

    Parameters
    ----------
    seed : int
        Of the draws.
    twice : float
        Share of the clips that go through a second codec, as what is sent on does.
    """
    names = available_codecs()

    def once(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        codec = CODECS[names[rng.integers(len(names))]]
        rate = int(rng.choice(codec.bit_rates)) if codec.bit_rates else None
        return transcode(samples, codec.name, rate)

    def work(index: int, samples: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, index, zlib.crc32(b"codec")])
        sent = once(samples, rng)
        return once(sent, rng) if twice and rng.random() < twice else sent

    return work
