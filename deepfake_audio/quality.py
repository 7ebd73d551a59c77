"""What is wrong with a recording as a recording: flags that go beside a score.

All of it is counting and one short spectrum, done on whole arrays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._blocks import Samples
from .config import SAMPLE_RATE_HZ

FLAGS = (
    "clipped",
    "dc_offset",
    "extra_audio_tracks",
    "invalid_samples",
    "lost_audio",
    "narrow_band",
    "noisy",
    "short",
    "silent_channel",
    "truncated",
)
"""All flags that a recording can carry."""

SHORT_S = 1.0
"""Below so many seconds a recording is ``short``."""
NARROW_BAND_RATE_HZ = 12_000
"""Sources sampled below this rate are ``narrow_band`` whatever they hold."""

CLIPPED_SHARE = 0.001
NOISY_SNR_DB = 16.0  # of the estimate, which reads some 6 dB above the plain ratio
DC_OFFSET = 0.005

_FULL_SCALE = 0.999
_LOUD = 0.1  # near -20 dBFS and below, flat tops are quantisation rather than overload
_FRAME = 320  # 20 ms at 16 kHz
_SPECTRUM_FRAMES = 64
_SILENCE_DB = -80.0
_DIGITAL_SILENCE = 10**-9.5  # mean square: below the last bit of 16
_SILENT_CHANNEL_DB = 40.0
_NARROW_BAND_DB = 52.0  # speech of 16 kHz stays below 46 dB, telephone speech in Opus above 55


class SampleMeter:
    """Running facts about samples at their source rate, where clipping still shows.

    Attributes
    ----------
    peak : float
        Largest magnitude so far.
    invalid : int
        Samples that were NaN or infinite, and were replaced by zero.
    clipped : int
        Samples on a plateau at the top of the waveform.
    total : int
        Samples seen, over all channels.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self.invalid = 0
        self.clipped = 0
        self.total = 0

    def update(self, block: Samples) -> Samples:
        """Take in a block of shape (samples, channels); return it with invalid samples zeroed."""
        self.total += block.size
        magnitude = np.abs(block)
        peaks = magnitude.max(axis=0, initial=0.0)  # (channels,)
        peak = float(peaks.max(initial=0.0))
        if not np.isfinite(peak):  # NaN and infinity both survive a maximum: one pass finds them
            invalid = ~np.isfinite(block)
            self.invalid += int(np.count_nonzero(invalid))
            block = np.where(invalid, np.float32(0), block)
            magnitude = np.abs(block)
            peaks = magnitude.max(axis=0)
            peak = float(peaks.max())
        self.peak = max(self.peak, peak)
        if peak > _LOUD:
            self.clipped += _count_clipped(block, magnitude, peaks)
        return block

    @property
    def invalid_share(self) -> float:
        """Share of samples that were NaN or infinite."""
        return self.invalid / self.total if self.total else 0.0

    @property
    def clipped_share(self) -> float:
        """Share of samples on a plateau at the top of the waveform."""
        return self.clipped / self.total if self.total else 0.0


def _count_clipped(block: Samples, magnitude: Samples, peaks: Samples) -> int:
    """Count samples at full scale, or in flat runs of three or more near the block's peak.

    A recording that was clipped and then turned down has plateaus below full scale; a codec
    rounds plateaus off, and leaves samples at full scale.
    """
    floor = np.where(peaks > _LOUD, np.minimum(0.97 * peaks, _FULL_SCALE), np.inf)
    rows, channels = (magnitude >= floor.astype(np.float32)).nonzero()
    inside = (rows > 0) & (rows < len(block) - 1)
    rows, channels = rows[inside], channels[inside]
    here = block[rows, channels]
    step = 1e-4 * peaks[channels]
    flat = np.abs(block[rows - 1, channels] - here) <= step
    flat &= np.abs(block[rows + 1, channels] - here) <= step
    return int(np.count_nonzero(flat | (np.abs(here) >= _FULL_SCALE)))


def quality_flags(samples: Samples, sample_rate_hz: int, meter: SampleMeter) -> set[str]:
    """Judge a decoded recording.

    Parameters
    ----------
    samples : ndarray, shape (channels, samples)
        At 16 kHz, at least one sample.
    sample_rate_hz : int
        Rate of the source, hertz.
    meter : SampleMeter
        What was seen before resampling.

    Returns
    -------
    set of str
        Members of :data:`FLAGS`; all but ``truncated``, ``extra_audio_tracks`` and
        ``lost_audio``, which only the reader knows.
    """
    flags = set()
    if samples.shape[1] < SHORT_S * SAMPLE_RATE_HZ:
        flags.add("short")
    if meter.invalid:
        flags.add("invalid_samples")
    if meter.clipped_share > CLIPPED_SHARE:
        flags.add("clipped")
    if sample_rate_hz < NARROW_BAND_RATE_HZ:
        flags.add("narrow_band")

    power = _frame_power(samples)  # (channels, frames)
    level_db = _decibel(power.mean(axis=1))  # (channels,)
    silent = (level_db < _SILENCE_DB) | (level_db < level_db.max() - _SILENT_CHANNEL_DB)
    if level_db.max() < _SILENCE_DB:
        return flags
    if silent.any():
        flags.add("silent_channel")
        samples, power = samples[~silent], power[~silent]
    if _has_dc_offset(samples, power):
        flags.add("dc_offset")
        samples = samples - samples.mean(axis=1, keepdims=True)  # else it passes for noise
        power = _frame_power(samples)
    if (estimate_snr_db(power) < NOISY_SNR_DB).any():
        flags.add("noisy")
    if "narrow_band" not in flags and _is_narrow_band(samples, power):
        flags.add("narrow_band")
    return flags


def _decibel(power: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    level: npt.NDArray[np.float64] = 10.0 * np.log10(power.astype(np.float64) + 1e-12)
    return level


def _frames(samples: Samples) -> Samples:
    """View as frames of 20 ms, (channels, frames, 320); a shorter recording is one frame."""
    channels, length = samples.shape
    size = min(_FRAME, length)
    count = length // size
    return samples[:, : count * size].reshape(channels, count, size)


def _frame_power(samples: Samples) -> Samples:
    frames = _frames(samples)
    power: Samples = np.einsum("cft,cft->cf", frames, frames) / np.float32(frames.shape[2])
    return power


def _has_dc_offset(samples: Samples, power: Samples) -> bool:
    mean = np.abs(samples.mean(axis=1))
    rms = np.sqrt(power.mean(axis=1))
    return bool(((mean > DC_OFFSET) & (mean > 0.1 * rms)).any())


def estimate_snr_db(power: Samples) -> npt.NDArray[np.float64]:
    """Estimate the signal-to-noise ratio of speech from the spread of its frame levels.

    Speech pauses: its loud frames stand for speech, its quiet frames for the noise.

    Parameters
    ----------
    power : ndarray, shape (channels, frames)
        Mean square of each frame of 20 ms.

    Returns
    -------
    ndarray, shape (channels,)
        Decibels: the 95th percentile of the frame levels above the 10th, digital silence left
        out; infinite with fewer than ten frames to judge by.
    """
    snr_db = np.full(len(power), np.inf)
    for channel, frames in enumerate(power):
        heard = frames[frames > _DIGITAL_SILENCE]
        if len(heard) >= 10:
            quiet, loud = len(heard) // 10, len(heard) * 95 // 100
            ordered = np.partition(heard, (quiet, loud))
            snr_db[channel] = 10.0 * np.log10(ordered[loud] / ordered[quiet])
    return snr_db


def _is_narrow_band(samples: Samples, power: Samples) -> bool:
    """Tell whether the loud frames hold next to nothing above 4.2 kHz, as telephone speech."""
    frames = _frames(samples)
    if frames.shape[2] < _FRAME:
        return False
    count = min(_SPECTRUM_FRAMES, max(1, power.shape[1] // 4))
    loud = np.argpartition(power, -count, axis=1)[:, -count:]
    window = np.hanning(_FRAME).astype(np.float32)
    chosen = np.take_along_axis(frames, loud[:, :, None], axis=1) * window
    spectrum = np.square(np.abs(np.fft.rfft(chosen, axis=2))).mean(axis=1)  # (channels, bins)
    hz_per_bin = SAMPLE_RATE_HZ / _FRAME
    low = spectrum[:, : int(4000 / hz_per_bin)].mean(axis=1)
    high = spectrum[:, int(4400 / hz_per_bin) : int(7000 / hz_per_bin)].mean(axis=1)
    return bool((_decibel(high) < _decibel(low) - _NARROW_BAND_DB).all())
