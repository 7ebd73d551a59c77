"""Noise, music, babble and room responses to mix with speech, recorded or made up."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..audio import decode
from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import to_int16
from ..datasets.manifest import import_parquet
from ..errors import DatasetError

_RIR_LENGTH = SAMPLE_RATE_HZ // 2  # half a second holds the audible part of most rooms
_KINDS = ("noise", "music", "babble", "rir")


@dataclass(frozen=True)
class SoundBank:
    """Recordings that are not the speech to be judged.

    Attributes
    ----------
    noise, music, babble : list of np.ndarray, int16, shape (samples,)
        16 kHz recordings by kind; may be empty.
    rir : list of np.ndarray, float32, shape (samples,)
        Room impulse responses of unit energy that start at their direct sound; may be empty.
    """

    noise: list[np.ndarray] = field(default_factory=list)
    music: list[np.ndarray] = field(default_factory=list)
    babble: list[np.ndarray] = field(default_factory=list)
    rir: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def load(cls, path: str | Path, *, held_out: bool = False) -> SoundBank:
        """Read a parquet file with the columns ``id``, ``kind`` and ``audio``.

        Parameters
        ----------
        path : path
            ``kind`` is one of noise, music, babble, rir; ``audio.bytes`` an encoded file.
        held_out : bool
            Return the fifth of the recordings that training does not see instead of the rest.

        Raises
        ------
        DatasetError
            If a column is missing.
        """
        table = import_parquet().read_table(path)
        if missing := {"id", "kind", "audio"} - set(table.column_names):
            raise DatasetError(f"lacks the column {', '.join(sorted(missing))}", name=str(path))
        bank = cls()
        for row in table.select(["id", "kind", "audio"]).to_pylist():
            # Ids are hashes: their last digit deals recordings out at random, yet always alike.
            if row["kind"] not in _KINDS or (row["id"][-1] in "037") != held_out:
                continue
            samples = decode(io.BytesIO(row["audio"]["bytes"]), name=row["id"]).samples[0]
            if row["kind"] == "rir":
                bank.rir.append(_direct_first(samples))
            elif len(samples) >= SAMPLE_RATE_HZ // 4 and np.any(samples):
                getattr(bank, row["kind"]).append(to_int16(samples))
        return bank


def _direct_first(response: np.ndarray) -> np.ndarray:
    """Cut a room response to its direct sound and what follows, at unit energy."""
    start = max(int(np.argmax(np.abs(response))) - 16, 0)
    cut = response[start : start + _RIR_LENGTH].astype(np.float32)
    scaled: np.ndarray = cut / max(float(np.sqrt(np.sum(cut**2))), 1e-9)
    return scaled


def synthetic_rir(rng: np.random.Generator) -> np.ndarray:
    """Make a room response: a direct sound and a decaying tail of noise (Moorer, 1979)."""
    decay_s = rng.uniform(0.1, 0.8)  # time to fall by 60 dB
    time_s = np.arange(_RIR_LENGTH) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(_RIR_LENGTH) * 10.0 ** (-3.0 * time_s / decay_s)
    tail[: rng.integers(16, 160)] = 0.0
    tail *= 10.0 ** (rng.uniform(-15.0, 3.0) / 20.0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    response: np.ndarray = tail / np.sqrt(np.sum(tail**2))
    return response.astype(np.float32)


def coloured_noise(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls as ``1 / f ** k`` with a random k from 0 (white) to 2 (brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    shape = np.arange(1, len(spectrum) + 1) ** (-0.5 * rng.uniform(0.0, 2.0))
    noise: np.ndarray = np.fft.irfft(spectrum * shape, n_samples)
    noise /= np.abs(noise).max() + 1e-9
    return noise.astype(np.float32)


def random_excerpt(recording: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut an excerpt of ``n_samples``, repeating recordings that are shorter."""
    start = int(rng.integers(0, max(len(recording) - n_samples, 0) + 1))
    return np.resize(recording[start : start + n_samples], n_samples)


def _tones(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """One to four steady or gliding tones, as test signals, beeps and dial tones have."""
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    signal = np.zeros(n_samples)
    for _ in range(rng.integers(1, 5)):
        start_hz = np.exp(rng.uniform(np.log(60.0), np.log(7000.0)))
        end_hz = start_hz if rng.random() < 0.7 else np.exp(rng.uniform(np.log(60), np.log(7000)))
        ramp_hz = start_hz + (end_hz - start_hz) * time_s / max(time_s[-1], 1e-9) / 2
        signal += rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * ramp_hz * time_s + rng.uniform(0, 6))
    if rng.random() < 0.3:  # interrupted, like a ringing or busy tone
        signal *= (time_s * rng.uniform(0.5, 5.0)) % 1.0 < rng.uniform(0.2, 0.8)
    return signal


def _harmonics(phase: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """Sum sines of the phase and its multiples from one sine and one cosine (Clenshaw, 1955)."""
    twice = 2 * np.cos(phase)
    last, before = np.zeros_like(phase), np.zeros_like(phase)
    for amplitude in loudness[::-1]:
        last, before = amplitude + twice * last - before, last
    tone: np.ndarray = np.sin(phase) * last
    return tone


def melody(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Play notes and chords of a random instrument over a random beat."""
    signal = np.zeros(n_samples)
    beat = int(SAMPLE_RATE_HZ * rng.uniform(0.12, 0.6))
    root_hz = rng.uniform(55.0, 330.0)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12]) if rng.random() < 0.5 else np.arange(13)
    roll_off, decay_s = rng.uniform(0.8, 3.0), rng.uniform(0.1, 2.0)
    voices, drums = rng.integers(1, 5), rng.random() < 0.5
    for start in range(0, n_samples, beat):
        length = min(int(beat * rng.integers(1, 4)), n_samples - start)
        time_s = np.arange(length) / SAMPLE_RATE_HZ
        attack = np.minimum(time_s / 0.01, 1.0) * np.exp(-time_s / decay_s)
        for note in rng.choice(scale, voices):
            pitch_hz = root_hz * 2.0 ** (note / 12.0)
            loudness = np.arange(1.0, min(int(7500 / pitch_hz), 12) + 1) ** -roll_off
            tone = _harmonics(2 * np.pi * pitch_hz * time_s, loudness)
            signal[start : start + length] += attack * tone
        if drums:
            hit = rng.standard_normal(length) * np.exp(-time_s / rng.uniform(0.01, 0.1))
            signal[start : start + length] += rng.uniform(0.3, 2.0) * hit
    return signal


def nonspeech(bank: SoundBank, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make an excerpt without speech: recorded noise or music, tones, melodies, hiss, hush.

    Returns
    -------
    np.ndarray, int16, shape (n_samples,)
        At a random level.
    """
    recorded = [kind for kind in (bank.noise, bank.music) if kind]
    choice = rng.random()
    if choice < 0.55 and recorded:
        kind = recorded[rng.integers(len(recorded))]
        signal = random_excerpt(kind[rng.integers(len(kind))], n_samples, rng).astype(np.float64)
    elif choice < 0.70:
        signal = _tones(n_samples, rng)
    elif choice < 0.90:
        signal = melody(n_samples, rng)
    else:
        signal = coloured_noise(n_samples, rng).astype(np.float64)
    if rng.random() < 0.3:
        share = rng.uniform(0.0, 0.5)
        signal = signal / (np.abs(signal).max() + 1e-9) + share * coloured_noise(n_samples, rng)
    level = 10.0 ** (rng.uniform(-40.0, -1.0) / 20.0)
    return to_int16(signal * level / (np.abs(signal).max() + 1e-9))
