"""Decoded audio on disk, memory-mapped: an epoch never decodes twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..audio import decode
from ..errors import AudioError, DatasetError
from .clip import Clip
from .manifest import iter_audio

_INT16_SCALE = 32767.0
_DECODE_THREADS = 2
_CHUNK = 64


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round samples in [-1, 1] to 16-bit integers, clipping what lies outside."""
    rounded: np.ndarray = np.rint(np.clip(samples, -1.0, 1.0) * _INT16_SCALE).astype(np.int16)
    return rounded


@dataclass(frozen=True)
class AudioCache:
    """Clips of one manifest as one array of 16-bit samples at 16 kHz, first channel.

    Attributes
    ----------
    clips : list of Clip
        The clips that could be decoded, in the order of ``offsets``.
    samples : np.ndarray, int16, shape (total,)
        All clips end to end, memory-mapped.
    offsets : np.ndarray, int64, shape (len(clips) + 1,)
        Clip ``i`` is ``samples[offsets[i]:offsets[i + 1]]``.
    """

    clips: list[Clip]
    samples: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the samples of a clip, int16, shape (samples,)."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each clip, int64, shape (len(clips),)."""
        return np.diff(self.offsets)


def cache_key(clips: Sequence[Clip]) -> str:
    """Hash of what the clips are and of the files they come from."""
    digest = hashlib.sha256()
    for path in sorted({clip.path for clip in clips}):
        digest.update(f"{path.name}:{path.stat().st_size if path.exists() else 0}\n".encode())
    for clip in clips:
        digest.update(f"{clip.id}:{clip.label}\n".encode())
    return digest.hexdigest()[:16]


def open_cache(
    clips: Sequence[Clip],
    folder: str | Path,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[AudioCache, list[AudioError]]:
    """Decode all clips into ``folder``, or open what an earlier call left there.

    Parameters
    ----------
    clips : sequence of Clip
        What to decode.
    folder : path
        Where caches live; each manifest has a sub-folder of its own.
    on_progress : callable, optional
        Called with the number of clips decoded so far.

    Returns
    -------
    cache : AudioCache
    failures : list of AudioError
        One for each clip that could not be decoded and is left out.

    Raises
    ------
    DatasetError
        If no clip at all could be decoded.
    """
    home = Path(folder) / cache_key(clips)
    index_path = home / "index.json"
    failures: list[AudioError] = []
    if not index_path.exists():
        home.mkdir(parents=True, exist_ok=True)
        failures = _build(clips, home, on_progress)
    index = json.loads(index_path.read_text())
    kept = [clips[i] for i in index["clips"]]
    if not kept:
        raise DatasetError("none of the clips could be decoded", name=str(clips[0].path))
    samples = np.memmap(home / "audio.i16", dtype=np.int16, mode="r")
    return AudioCache(kept, samples, np.array(index["offsets"], dtype=np.int64)), failures


def _build(
    clips: Sequence[Clip], home: Path, on_progress: Callable[[int], None] | None
) -> list[AudioError]:
    def work(item: tuple[int, Path | bytes]) -> tuple[int, np.ndarray | AudioError]:
        index, source = item
        try:
            return index, to_int16(decode(source, name=clips[index].id).samples[0])
        except AudioError as error:
            return index, error

    order: list[int] = []
    offsets = [0]
    failures: list[AudioError] = []
    partial = home / "audio.i16.partial"
    with partial.open("wb") as out, ThreadPoolExecutor(_DECODE_THREADS) as pool:
        for chunk in _chunks(iter_audio(clips), _CHUNK):
            for index, result in pool.map(work, chunk):
                if isinstance(result, AudioError):
                    failures.append(result)
                    continue
                out.write(result.tobytes())
                order.append(index)
                offsets.append(offsets[-1] + len(result))
            if on_progress:
                on_progress(len(order) + len(failures))
    partial.replace(home / "audio.i16")
    (home / "index.json").write_text(json.dumps({"clips": order, "offsets": offsets}))
    return failures


def _chunks(
    items: Iterator[tuple[int, Path | bytes]], size: int
) -> Iterator[list[tuple[int, Path | bytes]]]:
    while chunk := list(islice(items, size)):
        yield chunk


def select(cache: AudioCache, *splits: str) -> np.ndarray:
    """Return the indices of the clips of the given splits."""
    chosen = [index for index, clip in enumerate(cache.clips) if clip.split in splits]
    return np.array(chosen, dtype=np.int64)
