"""What happens to a voice between mouth and file, for a whole batch at once.

Room, microphone and line colouring, band limits, background sounds, overload. Randomness comes
from one generator a clip, so that a clip is always treated alike for the same seed and step,
whatever stands beside it in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from torch import Tensor

from ..config import SAMPLE_RATE_HZ, Config
from .bank import SoundBank, coloured_noise, random_excerpt, synthetic_rir

_EQ_KNOTS_HZ = np.array([60, 150, 300, 600, 1200, 2000, 3000, 4200, 5600, 7900], dtype=np.float64)


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
        n_samples = waveforms.shape[1]
        response = torch.from_numpy(np.stack([self._line_response(n_samples, r) for r in rngs]))
        n_fft = 2 * (response.shape[1] - 1)
        spectrum = torch.fft.rfft(waveforms, n_fft) * response.to(waveforms.device)
        wet = torch.fft.irfft(spectrum, n_fft)[:, :n_samples]
        backgrounds = torch.from_numpy(np.stack([self._background(n_samples, r) for r in rngs]))
        drive = torch.tensor([self._draw(self.config.overload, r, 1.5, 8.0) for r in rngs])
        bend = torch.tensor([self._draw(self.config.nonlinear, r, -0.3, 0.3) for r in rngs])
        snr_db = torch.tensor([r.uniform(*self.config.snr_db) for r in rngs], dtype=wet.dtype)
        noisy = wet + _at_snr(wet, backgrounds.to(wet), snr_db.to(wet))
        return _quantize(_overload(noisy, drive.to(wet), bend.to(wet)))

    @staticmethod
    def _draw(probability: float, rng: np.random.Generator, low: float, high: float) -> float:
        """Draw from [low, high) with the given probability, else 0; always uses two numbers."""
        applies, value = rng.random() < probability, rng.uniform(low, high)
        return float(value) if applies else 0.0

    def _line_response(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Frequency response of room, equaliser and band limits together, complex64."""
        config = self.config
        n_fft = _fast_length(n_samples + SAMPLE_RATE_HZ // 2)
        bins_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ)
        gain_db = np.zeros_like(bins_hz)
        if rng.random() < config.eq:
            knots_db = rng.uniform(-1, 1, len(_EQ_KNOTS_HZ)) * rng.uniform(0, config.eq_db)
            gain_db += np.interp(np.log(np.maximum(bins_hz, 1.0)), np.log(_EQ_KNOTS_HZ), knots_db)
        if rng.random() < config.band_limit:
            edge_hz = rng.uniform(*config.low_pass_hz)
            slope_db = rng.uniform(24.0, 200.0)  # an octave
            gain_db -= slope_db * np.maximum(0, np.log2(np.maximum(bins_hz, 1.0) / edge_hz))
        if rng.random() < config.band_limit:
            edge_hz = rng.uniform(*config.high_pass_hz)
            gain_db -= 24.0 * np.maximum(0, np.log2(edge_hz / np.maximum(bins_hz, 1.0)))
        response: np.ndarray = 10.0 ** (np.maximum(gain_db, -100.0) / 20.0)
        if rng.random() < config.reverb:
            room = (
                self.bank.rir[rng.integers(len(self.bank.rir))]
                if self.bank.rir and rng.random() < 0.6
                else synthetic_rir(rng)
            )
            response = response * np.fft.rfft(room, n_fft)
        return response.astype(np.complex64)

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


def _fast_length(n: int) -> int:
    """Round up to a multiple of a large power of two, where transforms are fast."""
    unit = 1 << max(int(np.log2(n)) - 2, 0)
    return -(-n // unit) * unit


def _at_snr(speech: Tensor, background: Tensor, snr_db: Tensor) -> Tensor:
    """Scale each background to lie ``snr_db`` under its speech; silence stays silent."""
    speech_rms = speech.square().mean(1, keepdim=True).sqrt()
    background_rms = background.square().mean(1, keepdim=True).sqrt()
    gain = speech_rms / background_rms.clamp_min(1e-9) * 10.0 ** (-snr_db[:, None] / 20.0)
    return background * torch.where(background_rms > 0, gain, 0.0)


def _overload(waveforms: Tensor, drive: Tensor, bend: Tensor) -> Tensor:
    """Bend (even and odd harmonics) and clip the rows that drew it, relative to their peaks."""
    peak = waveforms.abs().amax(1, keepdim=True).clamp_min(1e-6)
    unit = waveforms / peak
    bent = unit + bend[:, None] * (unit.square() - unit.pow(3))
    clipped = (bent * drive[:, None].clamp_min(1.0)).clamp(-1.0, 1.0)
    return torch.where(drive[:, None] > 0, clipped, bent) * peak


def _quantize(waveforms: Tensor) -> Tensor:
    """Round to 16 bits at a peak below full scale, as any file would."""
    peak = waveforms.abs().amax(1, keepdim=True)
    scaled = waveforms / peak.clamp_min(1.0)
    return torch.round(scaled * 32767.0) / 32767.0


def change_speed(samples: np.ndarray, factor: float, n_samples: int) -> np.ndarray:
    """Play ``factor`` times as fast, pitch and all.

    Parameters
    ----------
    samples : np.ndarray, int16, shape (samples,)
        Enough of them: ``factor * n_samples``; what is missing is repeated.
    n_samples : int
        Length of the result.
    """
    played = soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ")
    return np.resize(played, n_samples)


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
