"""What a clip may go through before it is judged, by name: ``opus:12000``, ``noise:10``, ...

A name is a kind, with a number after a colon where the kind has one; a ``+`` joins what comes one
after the other, as in ``amr-nb:12200+opus:24000``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch

from ..datasets.cache import to_int16
from ..errors import ConfigError
from .bank import SoundBank, melody, random_excerpt
from .channel import NO_AUGMENTATION, AugmentConfig, ChannelSimulator, trim_edges
from .codecs import CODECS, transcode
from .pace import change_pitch, change_speed, change_tempo
from .signals import at_snr
from .transport import change_level, lose_packets, resample_through

Samples = np.ndarray
"""int16, shape (samples,), 16 kHz."""

Condition = Callable[[Samples, int], Samples]
"""What is done to a clip, given a seed of its own."""

MakeAttack = Callable[[str, float], Condition]
"""Makes an attack of a kind and a strength, see
:class:`deepfake_audio.evaluation.attacks.Attacks`."""

CLEAN = "clean"

SUITE: dict[str, tuple[str, ...]] = {
    "codecs": (
        *("mp3:32000", "mp3:64000", "aac:32000", "aac:64000"),
        *("opus:8000", "opus:12000", "opus:24000", "vorbis"),
        *("a-law", "mu-law", "amr-nb:4750", "amr-nb:12200", "g722"),
    ),
    "double": ("amr-nb:12200+opus:24000", "opus:24000+mp3:64000", "mp3:64000+aac:32000"),
    "background": ("noise:20", "noise:10", "noise:5", "music:20", "music:10"),
    "rooms": ("reverb", "replay"),
    "line": ("rawboost", "resample:8000", "resample:11025", "resample:44100"),
    "packets": ("loss:5", "loss:20"),
    "edits": ("trim", "level:-20", "speed:0.9", "speed:1.1", "tempo:1.2", "pitch:-2", "pitch:2"),
    "attacks": ("fgsm:40", "fgsm:30", "pgd:40", "pgd:30", "filter:6"),
    "durations": ("duration:1", "duration:2", "duration:4", "duration:10"),
}
"""Conditions by topic; the name of a topic stands for all of them."""

EVERYTHING = (CLEAN, *SUITE)
"""The whole suite."""

CONDITIONS = (CLEAN, *(topic for topic in SUITE if topic not in ("attacks", "durations")))
"""What is measured unless other conditions are named: all that is done to clips alike."""


@dataclass(frozen=True)
class _Kind:
    """One kind of condition: its unit (empty if it has no number), the range, the maker."""

    unit: str
    range: tuple[float, float]
    make: Callable[[float, SoundBank], Condition]


def expand(names: Sequence[str]) -> list[str]:
    """Put conditions in the places of the topics of :data:`SUITE` among the names."""
    return [condition for name in names for condition in SUITE.get(name, (name,))]


def condition(
    name: str, bank: SoundBank | None = None, attack: MakeAttack | None = None
) -> Condition:
    """Return what a condition does to a clip, given a seed of its own.

    Parameters
    ----------
    name : str
        ``clean``; a codec of :data:`~deepfake_audio.augment.codecs.CODECS`, with a bit rate after
        a colon where it has several (``opus:12000``); ``noise:10``, ``music:10``, ``babble:10``,
        background at so many decibels under the speech; ``reverb``, a room; ``replay``, a
        loudspeaker in a room; ``rawboost``, its three parts; ``resample:8000``, through that rate;
        ``loss:5``, so many packets in a hundred lost and concealed; ``trim``; ``level:-20``,
        ``speed:1.1``, ``tempo:1.1``, ``pitch:-2`` (semitones); ``fgsm:30``, ``pgd:30`` (signal to
        noise), ``filter:6`` (largest gain, decibels). Several with ``+`` between them.
    bank : SoundBank, optional
        Noise, music, babble and rooms; made up where there are none.
    attack : callable, optional
        Makes attacks on a detector; without it there are none.

    Raises
    ------
    ConfigError
        If there is no such condition, or its number is out of range.
    """
    parts = [_part(part, name, bank or SoundBank(), attack) for part in name.split("+")]
    return parts[0] if len(parts) == 1 else partial(_one_by_one, parts)


def _one_by_one(parts: Sequence[Condition], samples: Samples, seed: int) -> Samples:
    return reduce(lambda heard, part: part(heard, seed), parts, samples)


def _part(part: str, name: str, bank: SoundBank, attack: MakeAttack | None) -> Condition:
    kind, _, value = part.partition(":")
    number = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else None
    if kind == CLEAN and not value:
        return lambda samples, seed: samples
    if kind in CODECS and (number is not None) == bool(CODECS[kind].bit_rates):
        bit_rate = None if number is None else int(number)
        return lambda samples, seed: transcode(samples, kind, bit_rate)
    if kind in ATTACKS and number is not None:
        if attack is None:
            raise ConfigError(f"{kind} attacks a detector: none is given here", name=name)
        return attack(kind, number)
    known = _KINDS.get(kind)
    if known is None or bool(known.unit) != (number is not None) or bool(value) != bool(known.unit):
        raise ConfigError(f"unknown condition {name!r}", hint=_hint())
    low, high = known.range
    if number is not None and not low <= number <= high:
        raise ConfigError(f"{kind} lies between {low:g} and {high:g}", name=name)
    return known.make(number or 0.0, bank)


def _hint() -> str:
    kinds = [f"{kind}:{known.unit}" if known.unit else kind for kind, known in _KINDS.items()]
    kinds += [f"{kind}:DECIBELS" for kind in ATTACKS]
    return (
        f"use {CLEAN}, {', '.join(kinds)}, or a codec with its bit rate if it has several: "
        f"{', '.join(CODECS)}; + between them for one after the other"
    )


def _as_float(samples: Samples) -> np.ndarray:
    scaled: np.ndarray = samples.astype(np.float32) / 32768.0
    return scaled


def _channel(config: AugmentConfig, bank: SoundBank) -> Condition:
    """Return what the channel of the training does with a configuration of certain effects."""
    simulate = ChannelSimulator(config, bank)

    def apply(samples: Samples, seed: int) -> Samples:
        waveform = torch.from_numpy(_as_float(samples))[None]
        return to_int16(simulate(waveform, [np.random.default_rng(seed)])[0].numpy())

    return apply


def _simulated(effects: Sequence[str], number: float, bank: SoundBank) -> Condition:
    return _channel(NO_AUGMENTATION.replace(**dict.fromkeys(effects, 1.0)), bank)


def _noise(snr_db: float, bank: SoundBank) -> Condition:
    return _channel(NO_AUGMENTATION.replace(noise=1.0, snr_db=(snr_db, snr_db)), bank)


def _background(kind: str, snr_db: float, bank: SoundBank) -> Condition:
    recordings: list[np.ndarray] = getattr(bank, kind)
    if kind == "babble" and not recordings:
        raise ConfigError("needs recordings of babble", name=kind, hint="give some with --noise")

    def apply(samples: Samples, seed: int) -> Samples:
        rng = np.random.default_rng(seed)
        if recordings:
            chosen = recordings[rng.integers(len(recordings))]
            sound = random_excerpt(chosen, len(samples), rng).astype(np.float32)
        else:
            sound = melody(len(samples), rng).astype(np.float32)
        speech = torch.from_numpy(_as_float(samples))[None]
        added = at_snr(speech, torch.from_numpy(sound)[None], torch.tensor([snr_db]))
        return to_int16((speech + added)[0].numpy())

    return apply


def _of_samples(function: Callable[[Samples, float], Samples]) -> Callable[..., Condition]:
    """Make conditions of a function of int16 samples and the number."""
    return lambda number, bank: lambda samples, seed: function(samples, number)


def _of_floats(function: Callable[[np.ndarray, float], np.ndarray]) -> Callable[..., Condition]:
    """Make conditions of a function of float32 samples and the number."""
    return lambda number, bank: lambda samples, seed: to_int16(function(_as_float(samples), number))


def _loss(percent: float, bank: SoundBank) -> Condition:
    return lambda samples, seed: lose_packets(samples, percent / 100, np.random.default_rng(seed))


def _trim(number: float, bank: SoundBank) -> Condition:
    return lambda samples, seed: trim_edges(samples, np.random.default_rng(seed))


def _faster(samples: Samples, factor: float) -> Samples:
    return change_speed(samples, factor, round(len(samples) / factor))


_SNR_DB = (-20.0, 80.0)
_FACTOR = (0.5, 2.0)
_NONE = (0.0, 0.0)

ATTACKS = ("fgsm", "pgd", "filter")
"""Kinds of attack; evaluation makes them, see :data:`MakeAttack`."""

_KINDS: dict[str, _Kind] = {
    "noise": _Kind("DECIBELS", _SNR_DB, _noise),
    "music": _Kind("DECIBELS", _SNR_DB, partial(_background, "music")),
    "babble": _Kind("DECIBELS", _SNR_DB, partial(_background, "babble")),
    "reverb": _Kind("", _NONE, partial(_simulated, ["reverb"])),
    "replay": _Kind("", _NONE, partial(_simulated, ["replay"])),
    "rawboost": _Kind("", _NONE, partial(_simulated, ["convolutive", "impulsive", "stationary"])),
    "resample": _Kind(
        "HERTZ", (2_000, 384_000), _of_samples(lambda x, rate: resample_through(x, int(rate)))
    ),
    "loss": _Kind("PERCENT", (0.0, 90.0), _loss),
    "trim": _Kind("", _NONE, _trim),
    "level": _Kind("DECIBELS", (-80.0, 40.0), _of_samples(change_level)),
    "speed": _Kind("FACTOR", _FACTOR, _of_samples(_faster)),
    "tempo": _Kind("FACTOR", _FACTOR, _of_floats(change_tempo)),
    "pitch": _Kind("SEMITONES", (-12.0, 12.0), _of_floats(change_pitch)),
}
