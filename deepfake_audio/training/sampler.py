"""Balanced batches, each a pure function of the seed and the step.

Nothing is remembered between batches: a stopped run goes on exactly as if it had not stopped, and
workers may make batches ahead in any order.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..augment import AugmentConfig, ChannelSimulator, SoundBank
from ..augment.bank import nonspeech
from ..augment.channel import trim_edges
from ..augment.pace import change_speed
from ..augment.renderings import Rendering
from ..config import FAMILIES, SAMPLE_RATE_HZ
from ..datasets.cache import AudioCache
from ..datasets.clip import Clip
from .recipe import OptimConfig, SamplerConfig

NO_FAMILY = -1

HELD_OUT_CLIPS = 200
"""Sources with more clips of a class than this are never held out."""


@dataclass(frozen=True)
class Batch:
    """Training examples of one length.

    Attributes
    ----------
    waveforms : Tensor, float32, shape (batch, samples)
    is_synthetic : Tensor, float32, shape (batch,)
        1 for synthetic speech; meaningless where ``is_speech`` is 0.
    is_speech : Tensor, float32, shape (batch,)
    family : Tensor, int64, shape (batch,)
        Index into FAMILIES, or NO_FAMILY.
    """

    waveforms: Tensor
    is_synthetic: Tensor
    is_speech: Tensor
    family: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(
            self.waveforms.to(device),
            self.is_synthetic.to(device),
            self.is_speech.to(device),
            self.family.to(device),
        )


def hold_out_sources(clips: Sequence[Clip], count: int) -> set[str]:
    """Choose training sources to judge recipes by: those with both classes first, then others.

    Parameters
    ----------
    clips : sequence of Clip
        Of training.
    count : int
        Most sources to choose, of no more than HELD_OUT_CLIPS clips a class; half of them with
        both classes where there are so many. The same clips always give the same choice.
    """
    sizes = Counter((clip.source, clip.label) for clip in clips)
    names = sorted({clip.source for clip in clips}, key=lambda name: zlib.crc32(name.encode()))
    # The largest sources are what there is to learn from.
    fitting = [
        name
        for name in names
        if max(sizes[name, "bonafide"], sizes[name, "spoof"]) <= HELD_OUT_CLIPS
    ]
    both = [n for n in fitting if min(sizes[n, "bonafide"], sizes[n, "spoof"]) >= 5]
    chosen = both[: (count + 1) // 2]
    others = [name for name in fitting if name not in both]
    return {*chosen, *others[: count - len(chosen)]}


class BalancedTree:
    """Draws clips group by group: source, then system or speaker, then clip."""

    def __init__(self, clips: Sequence[Clip], indices: np.ndarray, config: SamplerConfig) -> None:
        weights = np.ones(len(indices))
        keys = [
            (clips[i].source, clips[i].system if clips[i].is_synthetic else clips[i].speaker)
            for i in indices
        ]
        inner_power = (
            config.system_power
            if len(indices) and clips[indices[0]].is_synthetic
            else config.speaker_power
        )
        source_sizes = Counter(source for source, _ in keys)
        group_sizes = Counter(keys)
        group_totals: dict[str, float] = {}
        for key in group_sizes:
            group_totals[key[0]] = group_totals.get(key[0], 0.0) + group_sizes[key] ** inner_power
        for position, key in enumerate(keys):
            in_source = group_sizes[key] ** inner_power / group_totals[key[0]]
            weights[position] = (
                source_sizes[key[0]] ** config.source_power * in_source / group_sizes[key]
            )
        self.indices = indices
        self._cumulative = np.cumsum(weights / weights.sum()) if len(indices) else weights

    def draw(self, rng: np.random.Generator) -> int:
        """Return the index of one clip."""
        position = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return int(self.indices[min(position, len(self.indices) - 1)])


class BatchMaker:
    """Makes the batch of any step.

    Parameters
    ----------
    cache : AudioCache
        Decoded clips.
    indices : np.ndarray
        Clips to train on.
    coded, copies : sequence of Rendering
        Coded versions of any clip; vocoder copies of genuine clips.
    bank : SoundBank
        Background sounds, rooms and non-speech.
    """

    def __init__(
        self,
        cache: AudioCache,
        indices: np.ndarray,
        *,
        optim: OptimConfig,
        sampler: SamplerConfig,
        augment: AugmentConfig,
        coded: Sequence[Rendering] = (),
        copies: Sequence[Rendering] = (),
        bank: SoundBank | None = None,
    ) -> None:
        self.cache = cache
        self.optim = optim
        self.sampler = sampler
        self.augment = augment
        self.coded = coded
        self.copies = copies
        self.bank = bank or SoundBank()
        self.simulator = ChannelSimulator(augment, self.bank)
        synthetic = np.array([cache.clips[i].is_synthetic for i in indices], dtype=bool)
        self._synthetic = BalancedTree(cache.clips, indices[synthetic], sampler)
        self._genuine = BalancedTree(cache.clips, indices[~synthetic], sampler)
        self._copy_trees = [
            BalancedTree(cache.clips, np.intersect1d(copy.indices, indices), sampler)
            for copy in copies
        ]

    def make(self, step: int) -> Batch:
        """Return the batch of a step; the same one however often and wherever it is asked."""
        optim = self.optim
        rngs = [
            np.random.default_rng([optim.seed, step, position])
            for position in range(optim.batch_size)
        ]
        shared = np.random.default_rng([optim.seed, step])
        # Whole tenths of a second: a handful of shapes, which the allocator and kernels reuse.
        n_samples = round(shared.uniform(*optim.crop_s) * 10) * SAMPLE_RATE_HZ // 10
        n_nonspeech = round(self.sampler.nonspeech_share * optim.batch_size)
        n_speech = optim.batch_size - n_nonspeech
        n_synthetic = round(self.sampler.spoof_share * n_speech)
        touched = [rng.random() < self.augment.share for rng in rngs]
        rows: list[np.ndarray] = []
        families: list[int] = []
        for position, rng in enumerate(rngs):
            if position >= n_speech:
                rows.append(nonspeech(self.bank, n_samples, rng))
                families.append(NO_FAMILY)
                continue
            draw = self._draw_synthetic if position < n_synthetic else self._draw_genuine
            samples, family = draw(rng, touched[position])
            if touched[position] and rng.random() < self.augment.trim:
                samples = trim_edges(samples, rng)
            speed = self.augment.speed  # what is off draws no random numbers
            if speed and touched[position] and rng.random() < speed:
                change = self.augment.speed_change
                factor = float(np.exp(rng.uniform(np.log1p(-change), np.log1p(change))))
                crop = _crop(samples, int(np.ceil(n_samples * factor)) + 64, rng)
                rows.append(change_speed(crop, factor, n_samples))
            else:
                rows.append(_crop(samples, n_samples, rng))
            families.append(family)
        waveforms = torch.from_numpy(np.stack(rows)).float() / 32768.0
        treated = np.flatnonzero(touched)
        if len(treated):
            waveforms[treated] = self.simulator(waveforms[treated], [rngs[i] for i in treated])
        position_of = np.arange(optim.batch_size)
        return Batch(
            waveforms=waveforms,
            is_synthetic=torch.from_numpy((position_of < n_synthetic).astype(np.float32)),
            is_speech=torch.from_numpy((position_of < n_speech).astype(np.float32)),
            family=torch.tensor(families),
        )

    def _draw_genuine(self, rng: np.random.Generator, touched: bool) -> tuple[np.ndarray, int]:
        return self._version(self._genuine.draw(rng), rng, touched), NO_FAMILY

    def _draw_synthetic(self, rng: np.random.Generator, touched: bool) -> tuple[np.ndarray, int]:
        if self.copies and rng.random() < self.sampler.copy_share:
            which = int(rng.integers(len(self.copies)))
            index = self._copy_trees[which].draw(rng)
            return self.copies[which].clip(self.cache, index), FAMILIES.index("vocoder")
        index = self._synthetic.draw(rng)
        family = self.cache.clips[index].family
        return self._version(index, rng, touched), (
            FAMILIES.index(family) if family in FAMILIES else NO_FAMILY
        )

    def _version(self, index: int, rng: np.random.Generator, touched: bool) -> np.ndarray:
        """Return a clip as it is or, if it is augmented, perhaps coded."""
        if touched and self.coded and rng.random() < self.augment.codec:
            return self.coded[int(rng.integers(len(self.coded)))].clip(self.cache, index)
        return self.cache[index]


def _crop(samples: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random crop; shorter clips are repeated, both classes alike, never padded."""
    start = int(rng.integers(0, max(len(samples) - n_samples, 0) + 1))
    return np.resize(samples[start : start + n_samples], n_samples)
