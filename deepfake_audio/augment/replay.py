"""A recording played by a loudspeaker into a room and recorded there: the replay attack.

The chain of the simulations behind ASVspoof 2019 PA (Todisco et al., 1904.05441): band-limited,
resonant loudspeaker that bends what it plays; room; microphone; background noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..config import SAMPLE_RATE_HZ
from .bank import coloured_noise
from .signals import Generators, at_snr, filtered, peaks, transform_length

Room = Callable[[np.random.Generator], np.ndarray]
"""Draws a room response of unit energy, float32, shape (samples,)."""

_SNR_DB = (15.0, 45.0)
_DRIVE = (0.3, 2.5)
"""Gain before the tanh; small loudspeakers at full volume are far from linear."""

_EVEN = 0.2
"""Largest share of the second power, from the asymmetry of a cone."""


def _device_response_db(bins_hz: np.ndarray, rng: np.random.Generator, low_hz: float) -> np.ndarray:
    """Gain of a small loudspeaker or microphone: two band edges and some resonances, decibels.

    ``low_hz`` is the highest that its lower band edge may be.
    """
    octaves = np.log2(np.maximum(bins_hz, 1.0))
    low = rng.uniform(np.log2(low_hz / 6), np.log2(low_hz))
    high = np.log2(rng.uniform(4_500.0, 8_000.0))
    slopes_db = rng.uniform(12.0, 36.0, 2)  # an octave
    gain_db = -slopes_db[0] * np.maximum(0, low - octaves)
    gain_db -= slopes_db[1] * np.maximum(0, octaves - high)
    for _ in range(rng.integers(2, 6)):
        centre, width = rng.uniform(np.log2(200.0), np.log2(7_500.0)), rng.uniform(0.1, 0.8)
        gain_db += rng.uniform(-7.0, 7.0) * np.exp(-(((octaves - centre) / width) ** 2))
    limited: np.ndarray = np.maximum(gain_db, -80.0)
    return limited


def replay(waveforms: Tensor, rngs: Generators, room: Room) -> Tensor:
    """Play each clip and record it again, at the level it had.

    Parameters
    ----------
    waveforms : Tensor, float32, shape (batch, samples)
        16 kHz.
    rngs : list of Generator
        One a clip.
    room : callable
        Draws the room between loudspeaker and microphone.
    """
    n_samples = waveforms.shape[1]
    n_fft = transform_length(n_samples)
    bins_hz = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ)
    speakers, microphones, noises, numbers = [], [], [], []
    for rng in rngs:
        speakers.append(10.0 ** (_device_response_db(bins_hz, rng, 500.0) / 20.0))
        microphone = 10.0 ** (_device_response_db(bins_hz, rng, 150.0) / 20.0)
        microphones.append(microphone * np.fft.rfft(room(rng), n_fft))
        noises.append(coloured_noise(n_samples, rng))
        numbers.append([rng.uniform(*_DRIVE), rng.uniform(-_EVEN, _EVEN), rng.uniform(*_SNR_DB)])
    drive, even, snr_db = torch.tensor(numbers).to(waveforms).unbind(1)
    played = filtered(waveforms, _tensor(speakers))
    unit = played / peaks(played) * drive[:, None]
    bent = torch.tanh(unit + even[:, None] * unit.square())
    heard = filtered(bent, _tensor(microphones))
    heard = heard + at_snr(heard, torch.from_numpy(np.stack(noises)).to(heard), snr_db)
    return at_snr(waveforms, heard, torch.zeros_like(snr_db))  # 0 dB: as loud as it was


def _tensor(responses: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(responses).astype(np.complex64))
