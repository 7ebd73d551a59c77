"""What happens to a recording on its way: other sample rates, lost packets, another level."""

from __future__ import annotations

import numpy as np
import soxr

from ..config import SAMPLE_RATE_HZ

PACKET_S = 0.020
"""Audio in a packet of voice over IP, seconds."""

_PACKET = round(PACKET_S * SAMPLE_RATE_HZ)
_OVERLAP = _PACKET // 8  # 2.5 ms, as decoders blend what they made up into what they got
_FADE = np.array([1.0, 1.0, 0.6, 0.3, 0.0], dtype=np.float32)
"""Gain of a packet that came, of its first repetition, of its second, ...: as ITU-T G.711
Appendix I, nothing is left after 60 ms."""

RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Rates that files and sound cards have, hertz."""

QUALITIES = ("QQ", "LQ", "MQ", "HQ")
"""soxr's, from cubic interpolation to nearly perfect."""


def resample_through(samples: np.ndarray, rate_hz: int, quality: str = "HQ") -> np.ndarray:
    """Resample to another rate and back.

    Parameters
    ----------
    samples : np.ndarray, int16 or float32, shape (samples,)
        16 kHz.
    rate_hz : int
        Below 16 kHz the upper band is lost.
    quality : str
        One of :data:`QUALITIES`.

    Returns
    -------
    np.ndarray, same type and shape
    """
    there = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz, quality=quality)
    back = soxr.resample(there, rate_hz, SAMPLE_RATE_HZ, quality=quality)
    out = np.zeros_like(samples)
    length = min(len(out), len(back))
    out[:length] = back[:length]
    return out


def resampling_chain(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resample through one or two random rates and back, each time more or less well."""
    for _ in range(rng.integers(1, 3)):
        rate_hz, quality = int(rng.choice(RATES_HZ)), str(rng.choice(QUALITIES))
        samples = resample_through(samples, rate_hz, quality)
    return samples


def lost_packets(
    n_packets: int, share: float, rng: np.random.Generator, burst: float = 2.0
) -> np.ndarray:
    """Draw which packets are lost, in bursts (Gilbert, 1960).

    Parameters
    ----------
    n_packets : int
        How many there are.
    share : float
        Of the packets that are lost on average, below 1.
    burst : float
        Mean number lost in a row.

    Returns
    -------
    np.ndarray of bool, shape (n_packets,)
    """
    if share <= 0:
        return np.zeros(n_packets, dtype=np.bool_)
    come = rng.geometric(min(share / (burst * (1 - share)), 1.0), n_packets)
    go = rng.geometric(1 / burst, n_packets)
    first_lost = int(rng.random() < share)
    lengths = np.stack([go, come] if first_lost else [come, go], 1).ravel()[:n_packets]
    states = np.arange(len(lengths)) % 2 == 1 - first_lost
    lost: np.ndarray = np.repeat(states, np.minimum(lengths, n_packets))[:n_packets]
    return lost


def lose_packets(
    samples: np.ndarray, share: float, rng: np.random.Generator, *, conceal: bool = True
) -> np.ndarray:
    """Lose packets of 20 ms and hide the gaps by repeating, ever fainter, what came last.

    Parameters
    ----------
    samples : np.ndarray, int16 or float32, shape (samples,)
        16 kHz.
    share : float
        Of the packets that are lost on average.
    conceal : bool
        Otherwise gaps are silent.

    Returns
    -------
    np.ndarray, same type and shape
    """
    n_packets = -(-len(samples) // _PACKET)
    lost = lost_packets(n_packets, share, rng)
    number = np.arange(n_packets)
    last = np.maximum.accumulate(np.where(lost, -1, number))  # -1: nothing has come yet
    age = np.where(last < 0, len(_FADE) - 1, number - last)
    gain = _FADE[np.minimum(age, len(_FADE) - 1)] if conceal else (~lost).astype(np.float32)
    padded = np.zeros((n_packets + 1) * _PACKET, dtype=np.float32)
    padded[: len(samples)] = samples
    # Each packet with the beginning of what followed it, blended: packets that all came add up
    # to what was sent.
    reach = np.arange(_PACKET + _OVERLAP)
    pieces = padded[np.maximum(last, 0)[:, None] * _PACKET + reach]
    ramp = np.minimum((reach + 0.5) / _OVERLAP, 1.0)
    blended = pieces * (ramp * ramp[::-1] * gain[:, None]).astype(np.float32)
    out = np.zeros((n_packets + 1, _PACKET), dtype=np.float32)
    out[:-1] += blended[:, :_PACKET]
    out[1:, :_OVERLAP] += blended[:, _PACKET:]
    out[0, :_OVERLAP] += pieces[0, :_OVERLAP] * (1 - ramp[:_OVERLAP]) * gain[0]
    heard: np.ndarray = out.ravel()[: len(samples)]
    return heard if samples.dtype.kind == "f" else np.rint(heard).astype(samples.dtype)


def change_level(samples: np.ndarray, decibels: float) -> np.ndarray:
    """Make int16 samples louder or fainter; what no longer fits into 16 bits is clipped."""
    louder = samples.astype(np.float32) * 10.0 ** (decibels / 20.0)
    clipped: np.ndarray = np.clip(np.rint(louder), -32768, 32767).astype(np.int16)
    return clipped
