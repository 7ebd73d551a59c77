"""The audible label of GB 45438-2025: short-long, short-short, as "AI" in Morse code.

Only plain tones are heard as beeps, alone and in one pitch, so that speech and music, which are
full of rhythms, are not taken for a label: four of them in the proportions of Morse, with quiet
between them, and none of the same pitch right before or behind.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config import SAMPLE_RATE_HZ

HOP_S = 0.01
_HOP = round(HOP_S * SAMPLE_RATE_HZ)
_WINDOW = 2 * _HOP
_FFT = 512
_LOBE = 3  # bins on each side of a peak that belong to it
_LOWEST_BIN = 8  # 250 Hz; below it lies the pitch of voices
_TONALITY = 0.85  # share of a frame's power in one peak
_POWER = 1e-5  # mean square of -50 dB below full scale
_QUIET = 0.1  # power of pauses as a share of that of beeps
_CHUNK = 4096  # frames analysed at a time

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Beep:
    """A tone; times in frames."""

    start: int
    end: int
    bin: int

    @property
    def length(self) -> int:
        return self.end - self.start


class RhythmListener:
    """Listens to a recording in blocks.

    Parameters
    ----------
    channels : int
        Heard one by one.
    """

    def __init__(self, channels: int) -> None:
        self._rest = np.zeros((channels, 0), np.float32)
        # For each channel and frame: the pitch as a bin, -1 without a tone; and the power.
        self._bins: list[list[npt.NDArray[np.int16]]] = [[] for _ in range(channels)]
        self._power: list[list[Floats]] = [[] for _ in range(channels)]

    def feed(self, samples: Floats) -> None:
        """Listen on; samples of shape (channels, samples) at 16 kHz."""
        sound = np.concatenate([self._rest, samples], axis=1)
        n_frames = max(0, (sound.shape[1] - _WINDOW) // _HOP + 1)
        self._rest = sound[:, n_frames * _HOP :].copy()
        if not n_frames:
            return
        views = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW, axis=1)[:, ::_HOP]
        for channel, windows in enumerate(views):
            for first in range(0, n_frames, _CHUNK):
                bins, power = _tones(windows[first : first + _CHUNK])
                self._bins[channel].append(bins)
                self._power[channel].append(power)

    def found_s(self) -> float | None:
        """Return where the first rhythm begins, seconds from the start; None if there is none."""
        starts = [
            start
            for bins, power in zip(self._bins, self._power, strict=True)
            if bins
            for start in _rhythms(list(_beeps(np.concatenate(bins))), np.concatenate(power))
        ]
        return round(min(starts) * HOP_S, 2) if starts else None


def _tones(windows: Floats) -> tuple[npt.NDArray[np.int16], Floats]:
    """Return pitch (as a bin, -1 without a tone) and power of windows of shape (frames, 320)."""
    hann = np.hanning(_WINDOW).astype(np.float32)
    spectrum = np.square(np.abs(np.fft.rfft(windows * hann, _FFT)))
    peak = spectrum.argmax(axis=1)
    low = np.maximum(peak - _LOBE, 0)
    high = np.minimum(peak + _LOBE + 1, spectrum.shape[1])
    up_to = np.pad(np.cumsum(spectrum, axis=1), ((0, 0), (1, 0)))
    frames = np.arange(len(peak))
    lobe = up_to[frames, high] - up_to[frames, low]
    power = np.mean(np.square(windows), axis=1)
    is_tone = (lobe > _TONALITY * up_to[:, -1]) & (power > _POWER) & (peak >= _LOWEST_BIN)
    return np.where(is_tone, peak, -1).astype(np.int16), power


def _beeps(bins: npt.NDArray[np.int16]) -> Iterator[_Beep]:
    """Yield the stretches of at least three frames with one pitch."""
    edges = np.flatnonzero(np.abs(np.diff(bins.astype(np.int32))) > 1) + 1
    bounds = [0, *edges.tolist(), len(bins)]
    for start, end in itertools.pairwise(bounds):
        if bins[start] >= 0 and end - start >= 3:
            yield _Beep(start, end, int(np.median(bins[start:end])))


def _rhythms(beeps: list[_Beep], power: Floats) -> Iterator[int]:
    """Yield the frames at which four beeps begin that are a label."""
    for at in range(len(beeps) - 3):
        four = beeps[at : at + 4]
        before = beeps[at - 1] if at else None
        behind = beeps[at + 4] if at + 4 < len(beeps) else None
        if _is_ai(four) and _stands_alone(four, before, behind) and _is_quiet(four, power):
            yield four[0].start


def _is_ai(four: list[_Beep]) -> bool:
    shorts = [four[index].length for index in (0, 2, 3)]
    unit = sum(shorts) / 3
    inside, between, inside_too = (
        second.start - first.end for first, second in itertools.pairwise(four)
    )
    return (
        max(beep.bin for beep in four) - min(beep.bin for beep in four) <= 1
        and 4 <= unit <= 60
        and max(shorts) - min(shorts) <= max(2, 0.3 * unit)
        and 1.8 <= four[1].length / unit <= 4.5
        and 0.4 * unit <= min(inside, inside_too)
        and max(inside, inside_too) <= 2 * unit
        and abs(inside - inside_too) <= max(2, 0.5 * unit)
        and 1.3 * max(inside, inside_too) < between <= 10 * unit
    )


def _stands_alone(four: list[_Beep], before: _Beep | None, behind: _Beep | None) -> bool:
    # What is hardly farther away than one letter from the other belongs to the same message.
    apart = 1.5 * (four[2].start - four[1].end)

    def same_pitch(beep: _Beep) -> bool:
        return abs(beep.bin - four[0].bin) <= 1

    return not (
        (before is not None and same_pitch(before) and four[0].start - before.end < apart)
        or (behind is not None and same_pitch(behind) and behind.start - four[3].end < apart)
    )


def _is_quiet(four: list[_Beep], power: Floats) -> bool:
    """Tell whether the pauses, but for the edges of the beeps, are far below the beeps."""
    loud = np.mean([power[beep.start : beep.end].mean() for beep in four])
    pauses = [power[first.end + 1 : second.start - 1] for first, second in itertools.pairwise(four)]
    return all(pause.size == 0 or pause.mean() < _QUIET * loud for pause in pauses)
