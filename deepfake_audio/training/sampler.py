"""Balanced batches, each a pure function of the seed and the step.

Nothing is remembered between batches: a stopped run goes on exactly as if it had not stopped, and
workers may make batches ahead in any order.
"""

from __future__ import annotations

import copy
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
from ..errors import ConfigError
from .recipe import OptimConfig, SamplerConfig

NO_FAMILY = -1
NO_PAIR = -1

HELD_OUT_CLIPS = 200
"""Sources with more clips of a class than this are never held out."""


@dataclass(frozen=True)
class Batch:
    """Training examples of one length.

    Of several processes each has some rows; ``original`` counts the rows of the whole batch.

    Attributes
    ----------
    waveforms : Tensor, float32, shape (batch, samples)
    is_synthetic : Tensor, float32, shape (batch,)
        1 for synthetic speech; meaningless where ``is_speech`` is 0.
    is_speech : Tensor, float32, shape (batch,)
    family : Tensor, int64, shape (batch,)
        Index into FAMILIES, or NO_FAMILY.
    system : Tensor, int64, shape (batch,)
        Which synthesiser, by a number that means nothing; NO_FAMILY if none.
    original : Tensor, int64, shape (batch,)
        Row of the genuine original of a synthetic clip, or NO_PAIR.
    clean : Tensor, float32, shape (batch, samples), optional
        The same crops as they were recorded.
    """

    waveforms: Tensor
    is_synthetic: Tensor
    is_speech: Tensor
    family: Tensor
    system: Tensor
    original: Tensor
    clean: Tensor | None = None

    def map_labels(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with everything changed but the sounds."""
        sounds = ("waveforms", "clean")
        labels = {name: change(t) for name, t in vars(self).items() if name not in sounds}
        return replace(self, **labels)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})


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


@dataclass(frozen=True)
class _Drawn:
    """A clip that was drawn for a row: itself, perhaps coded, or a copy of it."""

    index: int
    family: int = NO_FAMILY
    system: int = NO_FAMILY
    copy: Rendering | None = None
    coded: Rendering | None = None


@dataclass(frozen=True)
class _Row:
    """One example before the channel: int16, and the generator that goes on with it."""

    samples: np.ndarray
    clean: np.ndarray
    rng: np.random.Generator
    touched: bool
    family: int = NO_FAMILY
    system: int = NO_FAMILY


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
    clean : bool
        Whether batches also hold their crops as they were recorded.
    rows : slice
        The rows of each batch that are made.

    Raises
    ------
    ConfigError
        If pairs are asked for and there are none.
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
        clean: bool = False,
        rows: slice = slice(None),
    ) -> None:
        self.cache = cache
        self.optim = optim
        self.sampler = sampler
        self.augment = augment
        self.coded = coded
        self.copies = copies
        self.clean = clean
        self.rows = rows
        self.bank = bank or SoundBank()
        self.simulator = ChannelSimulator(augment, self.bank)
        synthetic = np.array([cache.clips[i].is_synthetic for i in indices], dtype=bool)
        self._synthetic = BalancedTree(cache.clips, indices[synthetic], sampler)
        self._genuine = BalancedTree(cache.clips, indices[~synthetic], sampler)
        self._copy_trees = [
            BalancedTree(cache.clips, np.intersect1d(copy.indices, indices), sampler)
            for copy in copies
        ]
        self._systems = _system_numbers([cache.clips[i] for i in indices[synthetic]])
        self._originals: dict[int, list[int]] = {}
        if sampler.pairs:
            self._originals = find_originals(cache.clips, indices)
            if not self._originals and not (copies and sampler.copy_share):
                raise ConfigError(
                    "no synthetic clip has a genuine one with the same sentence beside it",
                    name="sampler.pairs",
                    hint="fill in the column sentence, or give vocoders and a copy_share",
                )
            paired = np.array(sorted(self._originals), dtype=np.int64)
            self._paired = BalancedTree(cache.clips, paired, sampler)
        self.n_nonspeech = round(sampler.nonspeech_share * optim.batch_size)
        self.n_speech = optim.batch_size - self.n_nonspeech
        self.n_synthetic = round(sampler.spoof_share * self.n_speech)
        # The first of the synthetic half, and as many of the first of the genuine half.
        self.n_pairs = min(
            round(sampler.pairs * self.n_synthetic), self.n_speech - self.n_synthetic
        )

    def make(self, step: int) -> Batch:
        """Return the batch of a step; the same one however often and wherever it is asked."""
        shared = np.random.default_rng([self.optim.seed, step])
        # Whole tenths of a second: a handful of shapes, which the allocator and kernels reuse.
        crop_s = shared.uniform(*self.optim.crop_range_s(step))
        n_samples = round(crop_s * 10) * SAMPLE_RATE_HZ // 10
        position = np.arange(self.optim.batch_size)[self.rows]
        rows = [self._row(step, each, n_samples) for each in position.tolist()]
        waveforms = _as_float([row.samples for row in rows])
        treated = [i for i, row in enumerate(rows) if row.touched]
        if treated:
            waveforms[treated] = self.simulator(waveforms[treated], [rows[i].rng for i in treated])
        is_paired = position < self.n_pairs
        return Batch(
            waveforms=waveforms,
            is_synthetic=torch.from_numpy((position < self.n_synthetic).astype(np.float32)),
            is_speech=torch.from_numpy((position < self.n_speech).astype(np.float32)),
            family=torch.tensor([row.family for row in rows]),
            system=torch.tensor([row.system for row in rows]),
            original=torch.from_numpy(np.where(is_paired, position + self.n_synthetic, NO_PAIR)),
            clean=_as_float([row.clean for row in rows]) if self.clean else None,
        )

    def _row(self, step: int, position: int, n_samples: int) -> _Row:
        """Draw the example at one position of a batch."""
        seed = self.optim.seed
        fake = position - self.n_synthetic if position >= self.n_synthetic else position
        paired = fake < self.n_pairs and position < self.n_speech
        # A genuine original goes through the very draws of its fake: same crop, same channel.
        rng = np.random.default_rng([seed, step, fake if paired else position])
        touched = bool(rng.random() < self.augment.share)
        if position >= self.n_speech:
            sound = nonspeech(self.bank, n_samples, rng)
            return _Row(sound, sound, rng, touched)
        if paired:
            drawn = self._draw_pair(rng, touched)[int(position >= self.n_synthetic)]
        elif position < self.n_synthetic:
            drawn = self._draw_synthetic(rng, touched)
        else:
            drawn = _Drawn(self._genuine.draw(rng), coded=self._draw_coded(rng, touched))
        again = copy.deepcopy(rng) if self.clean else None
        samples = clean = self._cut(self._samples(drawn), n_samples, rng, touched)
        if again is not None:
            recorded = self._samples(replace(drawn, coded=None))
            clean = self._cut(recorded, n_samples, again, touched, plain=True)
        return _Row(samples, clean, rng, touched, drawn.family, drawn.system)

    def _draw_pair(self, rng: np.random.Generator, touched: bool) -> tuple[_Drawn, _Drawn]:
        """Draw a synthetic clip and its genuine original; a copy as it is, for so is its clip."""
        if self.copies and (not self._originals or rng.random() < self.sampler.copy_share):
            fake = self._draw_copy(rng)
            return fake, _Drawn(fake.index)
        fake = self._corpus_clip(self._paired.draw(rng), rng, touched)
        originals = self._originals[fake.index]
        index = originals[int(rng.integers(len(originals)))]
        return fake, _Drawn(index, coded=fake.coded)

    def _draw_synthetic(self, rng: np.random.Generator, touched: bool) -> _Drawn:
        if self.copies and rng.random() < self.sampler.copy_share:
            return self._draw_copy(rng)
        return self._corpus_clip(self._synthetic.draw(rng), rng, touched)

    def _draw_copy(self, rng: np.random.Generator) -> _Drawn:
        which = int(rng.integers(len(self.copies)))
        return _Drawn(
            self._copy_trees[which].draw(rng),
            FAMILIES.index("vocoder"),
            len(self._systems) + which,
            copy=self.copies[which],
        )

    def _corpus_clip(self, index: int, rng: np.random.Generator, touched: bool) -> _Drawn:
        """Describe a synthetic clip of the corpus."""
        clip = self.cache.clips[index]
        family = FAMILIES.index(clip.family) if clip.family in FAMILIES else NO_FAMILY
        coded = self._draw_coded(rng, touched)
        return _Drawn(index, family, self._systems[_system_of(clip)], coded=coded)

    def _draw_coded(self, rng: np.random.Generator, touched: bool) -> Rendering | None:
        """Choose a coded version for some of the clips that are not left alone."""
        if touched and self.coded and rng.random() < self.augment.codec:
            return self.coded[int(rng.integers(len(self.coded)))]
        return None

    def _samples(self, drawn: _Drawn) -> np.ndarray:
        version = drawn.copy or drawn.coded
        return version.clip(self.cache, drawn.index) if version else self.cache[drawn.index]

    def _cut(
        self,
        samples: np.ndarray,
        n_samples: int,
        rng: np.random.Generator,
        touched: bool,
        *,
        plain: bool = False,
    ) -> np.ndarray:
        """Cut a crop, perhaps of what is left without silent edges, perhaps at another speed.

        A ``plain`` crop is at the speed of the recording; it begins where the other one does.
        """
        if touched and rng.random() < self.augment.trim:
            samples = trim_edges(samples, rng)
        speed = self.augment.speed  # what is off draws no random numbers
        if speed and touched and rng.random() < speed:
            change = self.augment.speed_change
            factor = float(np.exp(rng.uniform(np.log1p(-change), np.log1p(change))))
            needed = int(np.ceil(n_samples * factor)) + 64
            start = _start(samples, needed, rng)
            if not plain:
                return change_speed(_from(samples, start, needed), factor, n_samples)
            return _from(samples, start, n_samples)
        return _from(samples, _start(samples, n_samples, rng), n_samples)


def find_originals(clips: Sequence[Clip], indices: np.ndarray) -> dict[int, list[int]]:
    """Find the genuine clips that say the sentence of each synthetic one.

    Parameters
    ----------
    clips : sequence of Clip
        All clips.
    indices : np.ndarray
        The ones to look among.

    Returns
    -------
    dict of int to list of int
        For each synthetic clip that has any: genuine clips with the same ``sentence``, those of
        its own source if there are such.
    """
    genuine: dict[str, list[int]] = {}
    for index in indices.tolist():
        clip = clips[index]
        if clip.sentence and not clip.is_synthetic:
            genuine.setdefault(clip.sentence, []).append(index)
    found: dict[int, list[int]] = {}
    for index in indices.tolist():
        clip = clips[index]
        if clip.is_synthetic and clip.sentence in genuine:
            same = genuine[clip.sentence]
            nearest = [other for other in same if clips[other].source == clip.source]
            found[index] = nearest or same
    return found


def _system_of(clip: Clip) -> str:
    """Name the synthesiser; where it is unknown, the source stands for it."""
    return clip.system or clip.source


def _system_numbers(clips: Sequence[Clip]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({_system_of(c) for c in clips}))}


def _as_float(rows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows)).float() / 32768.0


def _start(samples: np.ndarray, n_samples: int, rng: np.random.Generator) -> int:
    return int(rng.integers(0, max(len(samples) - n_samples, 0) + 1))


def _from(samples: np.ndarray, start: int, n_samples: int) -> np.ndarray:
    """Cut a crop; shorter clips are repeated, both classes alike, never padded."""
    return np.resize(samples[start : start + n_samples], n_samples)
