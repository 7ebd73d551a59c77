"""What an input has to be: within the limits, with samples, and those of sound."""

from __future__ import annotations

from collections.abc import Iterator

from ._blocks import Reader, Samples
from ._sources import Deadline
from .config import SAMPLE_RATE_HZ, Limits
from .errors import CorruptAudioError, EmptyAudioError, InvalidSamplesError, LimitExceededError
from .quality import SampleMeter

MAX_INVALID_SHARE = 0.001
"""Up to this share of NaN or infinite samples they are zeroed and flagged, above it refused."""
MAX_PEAK = 4.0
"""Decoders overshoot full scale a little; 12 dB above it is damage or a wrong scale."""

_PLAIN_FORMATS = ("WAV", "RF64", "AIFF", "CAF", "FLAC", "AU", "W64", "NIST", "array")


def check_rate(rate_hz: int, limits: Limits, name: str, hint: str) -> None:
    """Refuse a sample rate that is out of the limits; ``hint`` says what to do about it."""
    if not limits.min_sample_rate_hz <= rate_hz <= limits.max_sample_rate_hz:
        raise LimitExceededError(
            f"a sample rate of {rate_hz} Hz is outside "
            f"{limits.min_sample_rate_hz}-{limits.max_sample_rate_hz} Hz",
            name=name,
            hint=hint,
        )


def check_header(reader: Reader, name: str, limits: Limits) -> None:
    """Refuse what is out of the limits before anything is decoded."""
    check_rate(reader.sample_rate_hz, limits, name, "convert it to 16000 Hz, or correct its header")
    if reader.channels > limits.max_channels:
        raise LimitExceededError(
            f"{reader.channels} channels are more than {limits.max_channels}",
            name=name,
            hint="split the channels or raise limits.max_channels",
        )
    _check_length(reader.announced or 0, reader, name, limits)


def _check_length(frames: int, reader: Reader, name: str, limits: Limits) -> None:
    rate = reader.sample_rate_hz
    if frames > limits.max_duration_s * rate:
        raise LimitExceededError(
            f"longer than {limits.max_duration_s:g} s",
            name=name,
            hint="split the recording or raise limits.max_duration_s",
        )
    samples = frames * reader.channels
    if samples * SAMPLE_RATE_HZ > limits.max_samples * rate:
        raise LimitExceededError(
            f"more than {limits.max_samples} samples at 16 kHz over all channels",
            name=name,
            hint="split the recording or raise limits.max_samples",
        )
    if samples > limits.max_source_samples:
        raise LimitExceededError(
            f"more than {limits.max_source_samples} samples over all channels",
            name=name,
            hint="split the recording or raise limits.max_source_samples",
        )


def checked_blocks(
    reader: Reader, meter: SampleMeter, name: str, limits: Limits, deadline: Deadline
) -> Iterator[Samples]:
    """Yield the blocks of a reader, checked: limits, invalid samples, absurd values."""
    frames = 0
    for block in reader.blocks():
        deadline.check()
        frames += len(block)
        _check_length(frames, reader, name, limits)
        block = meter.update(block)
        if meter.peak > MAX_PEAK:
            raise _absurd(reader, name, meter.peak)
        yield block
    deadline.check()
    if meter.invalid_share > MAX_INVALID_SHARE:
        raise InvalidSamplesError(
            f"{100 * meter.invalid_share:.3g} % of the samples are NaN or infinite",
            name=name,
            hint="export the recording again",
        )


def _absurd(reader: Reader, name: str, peak: float) -> InvalidSamplesError | CorruptAudioError:
    message = f"damaged, or in a wrong scale: samples reach {peak:.3g} times full scale"
    if reader.format == "array" or reader.format.endswith(("FLOAT", "DOUBLE")):
        return InvalidSamplesError(
            message, name=name, hint="divide integers kept as floats by 32768, or scale to [-1, 1]"
        )
    return CorruptAudioError(message, name=name, hint="copy or export it again")


def nothing_in(reader: Reader, name: str) -> EmptyAudioError | CorruptAudioError:
    """Return the error of an input in which there are no samples."""
    hint = "copy or export it again"
    if reader.estimate == 0 and not reader.incomplete and reader.format.startswith(_PLAIN_FORMATS):
        return EmptyAudioError("there are no samples in it", name=name, hint=hint)
    return CorruptAudioError("not one sample could be decoded", name=name, hint=hint)
