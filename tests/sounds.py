"""Sound made for tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Piece = tuple[float, np.ndarray]  # start in seconds, samples


def make_speech(seconds: float, seed: int = 0, rate_hz: int = 16_000) -> np.ndarray:
    """Harmonics of a gliding pitch in syllables, with a little noise; float32 (samples,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 10 * (seed % 5) + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voice = _harmonics(phase, 1 / np.arange(1, 30))
    syllables = np.sin(2 * np.pi * 2.5 * time + seed) > -0.3
    sound = 0.1 * voice * syllables + 0.002 * rng.standard_normal(time.size)
    return sound.astype(np.float32)


def _harmonics(phase: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """Sum sines of the phase and its multiples by Clenshaw's recurrence: thousands are made."""
    twice = 2 * np.cos(phase)
    last, before = np.zeros_like(phase), np.zeros_like(phase)
    for amplitude in loudness[::-1]:
        last, before = amplitude + twice * last - before, last
    return np.sin(phase) * last


MUSIC_STYLES = ("organ", "strings", "piano", "guitar", "techno")

_CHORDS = np.array([[60, 64, 67], [57, 60, 64], [53, 57, 60], [55, 59, 62]])  # MIDI notes


def make_music(style: str, seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """Play four chords over and over in one of ``MUSIC_STYLES``; float32 (samples,)."""
    instrument = _Instrument(rate_hz)
    sound = np.zeros(round((seconds + 4) * rate_hz))
    for start_s, piece in getattr(instrument, style)(seconds):
        at = round(start_s * rate_hz)
        sound[at : at + piece.size] += piece
    sound = sound[: round(seconds * rate_hz)]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


class _Instrument:
    """Each style yields pieces of sound and the seconds at which they start."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._rng = np.random.default_rng(0)

    def organ(self, seconds: float) -> Iterator[Piece]:
        time = self._time(2.0)
        envelope = np.clip(np.minimum(time / 0.03, (2.0 - time) / 0.05), 0, 1)
        for start_s, chord in self._bars(seconds):
            stops = [(k, 1 / k) for k in (1, 2, 3, 4, 6, 8)]
            yield start_s, envelope * sum(self._partials(f, time, stops) for f in _hz(chord))

    def strings(self, seconds: float) -> Iterator[Piece]:
        time = self._time(2.2)
        envelope = np.clip(np.minimum(time / 0.3, (2.2 - time) / 0.3), 0, 1)
        bowed = time + 1e-4 * np.sin(2 * np.pi * 5.5 * time)  # vibrato
        for start_s, chord in self._bars(seconds):
            desks = [f * detune for f in _hz(chord) for detune in (0.997, 1.0, 1.004)]
            saw = [(k, 1 / k) for k in range(1, 25)]
            yield start_s, envelope * sum(self._partials(f, bowed, saw) for f in desks)

    def piano(self, seconds: float) -> Iterator[Piece]:
        time = self._time(2.5)
        for start_s, note in self._arpeggio(seconds, 0.25):
            partials = [(k * np.sqrt(1 + 4e-4 * k * k), k) for k in range(1, 14)]
            yield (
                start_s,
                sum(
                    self._partials(_hz(note), time, [(stretched, 1 / k)])
                    * np.exp(-time * (1.5 + 0.6 * k))
                    for stretched, k in partials
                ),
            )

    def guitar(self, seconds: float) -> Iterator[Piece]:
        """Pluck strings after Karplus and Strong."""
        for start_s, note in self._arpeggio(seconds, 0.2):
            period = self._rng.uniform(-1, 1, round(self._rate_hz / _hz(note - 12)))
            periods = []
            for _ in range(round(2 * self._rate_hz / period.size)):
                periods.append(period)
                period = 0.498 * (period + np.roll(period, 1))
            yield start_s, np.concatenate(periods)

    def techno(self, seconds: float) -> Iterator[Piece]:
        time = self._time(0.4)
        kick = np.sin(2 * np.pi * (50 * time - 4 * np.exp(-time * 30))) * np.exp(-time * 9)
        hat = np.diff(self._rng.standard_normal(time.size + 1)) * np.exp(-time * 60)
        saw = [(k, 1 / k) for k in range(1, 40)]
        for beat in range(round(seconds * 2)):
            root = _hz(_CHORDS[beat // 4 % 4][0] - 24)
            yield beat / 2, 3 * kick
            yield beat / 2 + 0.25, 0.6 * hat
            for quarter in range(4):
                bass = self._partials(root, time, saw) * np.exp(-time * 12)
                yield beat / 2 + quarter / 8, bass

    def _time(self, seconds: float) -> np.ndarray:
        return np.arange(round(seconds * self._rate_hz)) / self._rate_hz

    def _partials(
        self, pitch_hz: float, time: np.ndarray, partials: list[tuple[float, float]]
    ) -> np.ndarray:
        heard = [(ratio, gain) for ratio, gain in partials if ratio * pitch_hz < 7500]
        return sum(gain * np.sin(2 * np.pi * ratio * pitch_hz * time) for ratio, gain in heard)

    @staticmethod
    def _bars(seconds: float) -> Iterator[Piece]:
        for bar in range(round(seconds / 2)):
            yield 2.0 * bar, _CHORDS[bar % 4]

    @staticmethod
    def _arpeggio(seconds: float, step_s: float) -> Iterator[tuple[float, int]]:
        for index in range(round(seconds / step_s)):
            chord = _CHORDS[index // 8 % 4]
            yield index * step_s, chord[index % 3] + 12 * (index % 5 == 4)


def _hz(note: np.ndarray | int) -> np.ndarray:
    return 440.0 * 2.0 ** ((np.asarray(note) - 69) / 12)
