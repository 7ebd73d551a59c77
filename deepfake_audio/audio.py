"""Audio in: whatever holds sound becomes channels at 16 kHz, within stated limits.

``probe`` looks at the header, ``decode`` reads it all: in blocks, checked as they come, each
through the resampler at once, so that a small file cannot ask for a large memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import soxr

from ._blocks import Reader, Samples
from ._checks import checked_blocks, nothing_in
from ._opening import AudioSource, name_of, open_any
from ._sources import Deadline
from .config import SAMPLE_RATE_HZ, Limits
from .errors import EmptyAudioError
from .quality import SampleMeter, quality_flags

__all__ = ["AudioInfo", "AudioSource", "DecodedAudio", "LongAudio", "begin", "decode", "probe"]

_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class AudioInfo:
    """What an input is.

    Attributes
    ----------
    name : str
        The path as it was given, or the name it was given.
    sha256 : str or None
        Of the bytes of the file; of the raw bytes of an array in C order. None from `probe`.
    format : str
        Container and codec, such as ``"OGG/OPUS"``, ``"WAV/PCM_16"``, ``"M4A/AAC"``; ``"array"``.
    sample_rate_hz : int
        Of the source, hertz.
    channels : int
        Number of channels.
    duration_s : float
        Seconds: those really read after `decode`, those announced (0 if unknown) after `probe`.
    """

    name: str
    sha256: str | None
    format: str
    sample_rate_hz: int
    channels: int
    duration_s: float


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded input.

    Attributes
    ----------
    info : AudioInfo
        What was read.
    samples : ndarray of float32, shape (channels, samples)
        At 16 kHz, full scale is 1. Channels stay apart: a mean of two could be silence.
    flags : tuple of str
        Sorted members of :data:`deepfake_audio.quality.FLAGS`.
    """

    info: AudioInfo
    samples: Samples
    flags: tuple[str, ...]


def probe(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    name: str | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> AudioInfo:
    """Read the header of an input and check it against the limits.

    A file object is read to its end, since it may not allow to go back.

    Parameters
    ----------
    source, sample_rate_hz, name, limits
        As for :func:`decode`.

    Returns
    -------
    AudioInfo
        With ``sha256`` None and ``duration_s`` as announced.

    Raises
    ------
    DeepfakeAudioError
        As for :func:`decode`.
    """
    name = name or name_of(source)
    deadline = Deadline(name, limits)
    with open_any(source, sample_rate_hz, name, limits, deadline, digest=False) as (reader, _):
        return _describe(reader, name, None, reader.estimate)


def decode(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    name: str | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> DecodedAudio:
    """Decode an input to 16 kHz, channels apart, and judge its quality.

    Safe to call from several threads at once, as long as each has its own source.

    Parameters
    ----------
    source : str, path, bytes, binary file object or ndarray
        Bytes are the content of a file. A file object is read from where it stands to its end,
        need not be seekable, and is left open. An array has shape (samples,) or
        (channels, samples), as floats in [-1, 1] or integers scaled to the range of their type.
    sample_rate_hz : int, optional
        Rate of an array, hertz; for arrays only.
    name : str, optional
        What the input is called in reports and messages; by default its path.
    limits : Limits
        What it may cost. Limits hold while reading, whatever the header says.

    Returns
    -------
    DecodedAudio
        Samples of shape (channels, samples) at 16 kHz.

    Raises
    ------
    AudioNotFoundError
        If there is no readable regular file at the path.
    UnsupportedFormatError
        If the content is not audio of a known format.
    MissingExtraError
        If the format needs PyAV, which is not installed.
    CorruptAudioError, EmptyAudioError, InvalidSamplesError
        If there are no usable samples.
    LimitExceededError
        If a limit is exceeded.
    """
    audio = begin(source, sample_rate_hz=sample_rate_hz, name=name, limits=limits)
    assert isinstance(audio, DecodedAudio)
    return audio


def begin(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    name: str | None = None,
    limits: Limits = _DEFAULT_LIMITS,
    keep_samples: float = math.inf,
) -> DecodedAudio | LongAudio:
    """Decode an input, or only its beginning if it is too long to be kept.

    Parameters
    ----------
    source, sample_rate_hz, name, limits
        As for :func:`decode`.
    keep_samples : float
        Once there are more samples than this, over all channels at 16 kHz, the rest is left to
        whoever takes the result.

    Returns
    -------
    DecodedAudio or LongAudio

    Raises
    ------
    DeepfakeAudioError
        As for :func:`decode`.
    """
    reading = _Reading(source, sample_rate_hz, name or name_of(source), limits)
    with reading.closing_on_error():
        parts: list[Samples] = []
        held = 0
        for block in reading.blocks:
            parts.append(block)
            held += block.size
            if held > keep_samples:
                return LongAudio(reading, _joined(parts, reading.channels))
        audio = reading.conclude(_joined(parts, reading.channels))
    reading.close()
    return audio


class LongAudio:
    """An input too long to be kept: decoded as it is asked for, once.

    Attributes
    ----------
    name : str
        What the input is called.
    channels : int
        Number of channels.
    nbytes : int
        Memory that the beginning takes, bytes.
    """

    def __init__(self, reading: _Reading, beginning: Samples) -> None:
        self.name = reading.name
        self.channels = reading.channels
        self.nbytes = beginning.nbytes
        self._reading = reading
        self._beginning: Samples | None = beginning
        self._since = time.monotonic()
        self._end: tuple[AudioInfo, tuple[str, ...]] | None = None

    def blocks(self) -> Iterator[Samples]:
        """Yield all of it as blocks of shape (channels, samples) at 16 kHz.

        Raises
        ------
        DeepfakeAudioError
            As for :func:`decode`, on the way.
        """
        beginning, self._beginning = self._beginning, None
        assert beginning is not None, "blocks() can be used once"
        reading = self._reading
        with reading.closing_on_error():
            reading.deadline.rested(time.monotonic() - self._since)
            # Quality is judged by the beginning.
            flags = quality_flags(beginning, reading.reader.sample_rate_hz, reading.meter)
            with reading.deadline.resting():
                yield beginning
            del beginning
            for block in reading.blocks:
                with reading.deadline.resting():
                    yield block.T
            self._end = reading.about(flags)
        reading.close()

    @property
    def end(self) -> tuple[AudioInfo, tuple[str, ...]]:
        """What was read, and its flags; once the blocks are used up."""
        assert self._end is not None, "the end has not been reached"
        return self._end

    def close(self) -> None:
        """Free the decoder."""
        self._reading.close()


class _Reading:
    """One input being decoded."""

    def __init__(
        self, source: AudioSource, sample_rate_hz: int | None, name: str, limits: Limits
    ) -> None:
        self.name = name
        self.deadline = Deadline(name, limits)
        self.meter = SampleMeter()
        self._opened = ExitStack()
        opening = open_any(source, sample_rate_hz, name, limits, self.deadline, digest=True)
        self.reader, self._sha256 = self._opened.enter_context(opening)
        self.channels = self.reader.channels
        self._frames = 0
        self._limits = limits
        self.blocks = self._blocks()  # (samples, channels) at 16 kHz

    def _blocks(self) -> Iterator[Samples]:
        reader = self.reader
        checked = checked_blocks(reader, self.meter, self.name, self._limits, self.deadline)
        same = reader.sample_rate_hz == SAMPLE_RATE_HZ
        stream = (
            None
            if same
            else soxr.ResampleStream(reader.sample_rate_hz, SAMPLE_RATE_HZ, reader.channels)
        )
        for block in checked:
            self._frames += len(block)
            yield block if stream is None else stream.resample_chunk(block)
        if stream is not None:
            yield stream.resample_chunk(np.empty((0, reader.channels), np.float32), last=True)

    def conclude(self, samples: Samples) -> DecodedAudio:
        """Return all there is as one, samples of shape (channels, samples)."""
        if not self._frames:
            raise nothing_in(self.reader, self.name)
        if not samples.size:
            raise EmptyAudioError(
                f"too few samples ({self._frames})",
                name=self.name,
                hint="give a longer recording",
            )
        flags = quality_flags(samples, self.reader.sample_rate_hz, self.meter)
        info, all_flags = self.about(flags)
        return DecodedAudio(info, samples, all_flags)

    def about(self, flags: set[str]) -> tuple[AudioInfo, tuple[str, ...]]:
        """Return what was read, and the flags with those that the end of the input adds."""
        if self.reader.incomplete:
            flags.add("truncated")
        if self.reader.extra_tracks:
            flags.add("extra_audio_tracks")
        info = _describe(self.reader, self.name, self._sha256, self._frames)
        return info, tuple(sorted(flags))

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Free the decoder if what is done with it fails or is given up."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the decoder."""
        self._opened.close()


def _describe(reader: Reader, name: str, sha256: str | None, frames: int) -> AudioInfo:
    rate = reader.sample_rate_hz
    return AudioInfo(name, sha256, reader.format, rate, reader.channels, frames / rate)


def _joined(parts: list[Samples], channels: int) -> Samples:
    """Join blocks of (samples, channels) to (channels, samples); empties the list."""
    samples = np.empty((channels, sum(map(len, parts))), dtype=np.float32)
    # Emptying the list on the way keeps the peak near one copy, and doing so from its end lets
    # the allocator hand the memory back.
    end = samples.shape[1]
    while parts:
        part = parts.pop()
        samples[:, end - len(part) : end] = part.T
        end -= len(part)
    return samples
