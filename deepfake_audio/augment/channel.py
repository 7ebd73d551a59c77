"""What happens to a voice between mouth and file, for a whole batch at once.

Another pitch, RawBoost and replay; room, microphone and line colouring, band limits, background
sounds, overload; other rates, lost packets, another level: in this order. Randomness comes from
one generator a clip, so that a clip is always treated alike for the same seed and step, whatever
stands beside it in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..config import SAMPLE_RATE_HZ, Config
from .bank import SoundBank, coloured_noise, random_excerpt, synthetic_rir
from .pace import change_pitch
from .rawboost import convolutive, impulsive, stationary
from .replay import replay
from .signals import Generators, at_snr, filtered, overload, quantize, transform_length
from .transport import lose_packets, resampling_chain

Effect = Callable[[Tensor, Generators], Tensor]

EQ_KNOTS_HZ = np.array([60, 150, 300, 600, 1200, 2000, 3000, 4200, 5600, 7900], dtype=np.float64)


@dataclass(frozen=True)
class AugmentConfig(Config):
    """Probability and range of each effect on an augmented clip, both classes alike.

    Attributes
    ----------
    share : float
        Share of clips that anything is done to; the others stay as they are.
    codec : float
        Share of those clips taken from their coded rendering (see :mod:`.renderings`).
    trim : float
        Share of clips whose silent edges are cut off.
    speed : float
        Share of clips played faster or slower, which moves their pitch and whatever a vocoder
        left at fixed frequencies.
    speed_change : float
        Largest change of speed, as a share.
    reverb, eq, band_limit, noise, overload, nonlinear : float
        Probability of each effect.
    snr_db : (float, float)
        Range of speech over background, decibels.
    eq_db : float
        Largest boost or cut of the random equaliser, decibels.
    low_pass_hz, high_pass_hz : (float, float)
        Ranges of the band limits, hertz.
    double_coding : float
        Share of the coded renderings that went through a second codec.
    pitch : float
        Probability of another pitch at the same pace.
    pitch_semitones : float
        Largest change of pitch.
    convolutive, impulsive, stationary : float
        Probability of each part of RawBoost, see :mod:`.rawboost`.
    replay : float
        Probability of a loudspeaker, a room and a microphone, see :mod:`.replay`.
    resample : float
        Probability of one or two other sample rates on the way.
    packet_loss : float
        Probability of lost packets, three in four times concealed.
    loss_share : (float, float)
        Range of the share of packets that are lost.
    level : float
        Probability of another level.
    level_db : (float, float)
        Range of its change, decibels.
    """

    share: float = 1.0
    codec: float = 0.4
    trim: float = 0.5
    speed: float = 0.0
    speed_change: float = 0.12
    reverb: float = 0.2
    eq: float = 0.4
    band_limit: float = 0.2
    noise: float = 0.4
    overload: float = 0.08
    nonlinear: float = 0.1
    snr_db: tuple[float, float] = (5.0, 35.0)
    eq_db: float = 10.0
    low_pass_hz: tuple[float, float] = (3_000.0, 7_800.0)
    high_pass_hz: tuple[float, float] = (50.0, 400.0)
    # What is off draws no random numbers: recipes from before there was more give the same batches.
    double_coding: float = 0.0
    pitch: float = 0.0
    pitch_semitones: float = 2.0
    convolutive: float = 0.0
    impulsive: float = 0.0
    stationary: float = 0.0
    replay: float = 0.0
    resample: float = 0.0
    packet_loss: float = 0.0
    loss_share: tuple[float, float] = (0.01, 0.2)
    level: float = 0.0
    level_db: tuple[float, float] = (-30.0, 0.0)


NO_AUGMENTATION = AugmentConfig(
    share=0, codec=0, trim=0, speed=0, reverb=0, eq=0, band_limit=0, noise=0, overload=0,
    nonlinear=0,
)  # fmt: skip
"""Clips as they are."""


class ChannelSimulator:
    """Applies random recording and transmission conditions to batches of speech.

    Parameters
    ----------
    config : AugmentConfig
        What to apply, how often and how strongly.
    bank : SoundBank
        Background sounds and rooms; what it lacks is made up.
    """

    def __init__(self, config: AugmentConfig, bank: SoundBank) -> None:
        self.config = config
        self.bank = bank

    def __call__(self, waveforms: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        """Treat each row of ``waveforms`` (batch, samples) with its own generator."""
        rngs = list(rngs)
        config = self.config
        for share, effect in (
            (config.pitch, partial(_each, self._other_pitch)),
            (config.convolutive, convolutive),
            (config.impulsive, impulsive),
            (config.stationary, stationary),
            (config.replay, partial(replay, room=self._room)),
            (1.0, self._line),
            (config.resample, partial(_each, resampling_chain)),
            (config.packet_loss, partial(_each, self._lossy)),
            (config.level, self._other_level),
        ):
            waveforms = _to_some(waveforms, rngs, share, effect)
        return quantize(waveforms)

    def _line(self, waveforms: Tensor, rngs: Generators) -> Tensor:
        """Room, equaliser and band limits, then background, then overload."""
        n_samples = waveforms.shape[1]
        response = torch.from_numpy(np.stack([self._line_response(n_samples, r) for r in rngs]))
        wet = filtered(waveforms, response)
        backgrounds = torch.from_numpy(np.stack([self._background(n_samples, r) for r in rngs]))
        drive = torch.tensor([self._draw(self.config.overload, r, 1.5, 8.0) for r in rngs])
        bend = torch.tensor([self._draw(self.config.nonlinear, r, -0.3, 0.3) for r in rngs])
        snr_db = torch.tensor([r.uniform(*self.config.snr_db) for r in rngs], dtype=wet.dtype)
        noisy = wet + at_snr(wet, backgrounds.to(wet), snr_db.to(wet))
        return overload(noisy, drive.to(wet), bend.to(wet))

    def _other_pitch(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        limit = self.config.pitch_semitones
        return change_pitch(samples, float(rng.uniform(-limit, limit)))

    def _lossy(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        share, conceal = rng.uniform(*self.config.loss_share), rng.random() < 0.75
        return lose_packets(samples, share, rng, conceal=bool(conceal))

    def _other_level(self, waveforms: Tensor, rngs: Generators) -> Tensor:
        decibels = torch.tensor([r.uniform(*self.config.level_db) for r in rngs])
        return waveforms * 10.0 ** (decibels.to(waveforms)[:, None] / 20.0)

    @staticmethod
    def _draw(probability: float, rng: np.random.Generator, low: float, high: float) -> float:
        """Draw from [low, high) with the given probability, else 0; always uses two numbers."""
        applies, value = rng.random() < probability, rng.uniform(low, high)
        return float(value) if applies else 0.0

    def _line_response(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Frequency response of room, equaliser and band limits together, complex64."""
        config = self.config
        n_fft = transform_length(n_samples)
        bins_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ)
        gain_db = np.zeros_like(bins_hz)
        if rng.random() < config.eq:
            knots_db = rng.uniform(-1, 1, len(EQ_KNOTS_HZ)) * rng.uniform(0, config.eq_db)
            gain_db += np.interp(np.log(np.maximum(bins_hz, 1.0)), np.log(EQ_KNOTS_HZ), knots_db)
        if rng.random() < config.band_limit:
            edge_hz = rng.uniform(*config.low_pass_hz)
            slope_db = rng.uniform(24.0, 200.0)  # an octave
            gain_db -= slope_db * np.maximum(0, np.log2(np.maximum(bins_hz, 1.0) / edge_hz))
        if rng.random() < config.band_limit:
            edge_hz = rng.uniform(*config.high_pass_hz)
            gain_db -= 24.0 * np.maximum(0, np.log2(edge_hz / np.maximum(bins_hz, 1.0)))
        response: np.ndarray = 10.0 ** (np.maximum(gain_db, -100.0) / 20.0)
        if rng.random() < config.reverb:
            response = response * np.fft.rfft(self._room(rng), n_fft)
        return response.astype(np.complex64)

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        """Response of a room, recorded or made up."""
        if self.bank.rir and rng.random() < 0.6:
            return self.bank.rir[rng.integers(len(self.bank.rir))]
        return synthetic_rir(rng)

    def _background(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Background sound, or silence where the clip gets none; float32."""
        if rng.random() >= self.config.noise:
            return np.zeros(n_samples, dtype=np.float32)
        kinds = [k for k in (self.bank.noise, self.bank.music, self.bank.babble) if k]
        if kinds and rng.random() < 0.7:
            kind = kinds[rng.integers(len(kinds))]
            excerpt = random_excerpt(kind[rng.integers(len(kind))], n_samples, rng)
            return excerpt.astype(np.float32)
        return coloured_noise(n_samples, rng)


def _to_some(waveforms: Tensor, rngs: Generators, share: float, effect: Effect) -> Tensor:
    """Apply an effect to the clips that draw it; one with share 0 or 1 is not drawn."""
    if not share:
        return waveforms
    chosen = [i for i, rng in enumerate(rngs) if share >= 1 or rng.random() < share]
    if len(chosen) == len(rngs):
        return effect(waveforms, rngs)
    if not chosen:
        return waveforms
    changed = waveforms.clone()
    changed[chosen] = effect(waveforms[chosen], [rngs[i] for i in chosen])
    return changed


def _each(
    effect: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    waveforms: Tensor,
    rngs: Generators,
) -> Tensor:
    """Apply to one clip after the other what has no batched form; lengths stay."""
    rows = waveforms.cpu().numpy()
    changed = np.stack([effect(row, rng) for row, rng in zip(rows, rngs, strict=True)])
    return torch.from_numpy(changed).to(waveforms)


def trim_edges(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut silent edges down to a random remainder of at most 0.2 s.

    The length of leading silence alone tells synthetic from human in some corpora (Müller et
    al., 2106.12914); what is random cannot be learned.

    Parameters
    ----------
    samples : np.ndarray, int16, shape (samples,)
        16 kHz.
    """
    frame = SAMPLE_RATE_HZ // 100
    n_frames = len(samples) // frame
    if n_frames < 20:
        return samples
    frames = samples[: n_frames * frame].reshape(n_frames, frame).astype(np.float32)
    energy = np.square(frames).mean(1)
    loud = np.flatnonzero(energy > energy.max() * 1e-4)
    if len(loud) < 10:
        return samples
    before, after = rng.integers(0, 20, 2)
    return samples[max(loud[0] - before, 0) * frame : (loud[-1] + 1 + after) * frame]
