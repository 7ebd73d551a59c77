"""Reading through FFmpeg (extra ``av``) what libsndfile cannot: AAC, video, AMR, joined MP3s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._blocks import Samples, as_float32, changes_within, damaged, frames_per_block
from ._containers import Header
from ._sources import BoundedFile, Deadline
from .errors import MissingExtraError, UnsupportedFormatError

_TOLERANCE_S = 0.3  # durations are rounded to frames, and encoders pad
_VIDEO_DEMUXERS = ("mov", "matroska", "asf")
_DAMAGED_SHARE = 0.5  # with more undecodable packets than this, the rest is no recording


class AvReader:
    """M4A, MP4, MOV, WebM, MKV, AMR, 3GP, WMA, AAC and MP3 through FFmpeg.

    FFmpeg gets a file object, one demuxer and no protocol, so that no content can make it
    open anything else (playlists, ``concat:``, network addresses).
    """

    def __init__(self, file: BoundedFile, header: Header, name: str, deadline: Deadline) -> None:
        container = header.container
        try:
            import av
        except ImportError:
            raise MissingExtraError(
                f'{container.content} needs the "av" extra',
                name=name,
                hint='pip install "deepfake-audio[av]"',
            ) from None
        demuxer = str(container.demuxer)
        options = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
        self._errors: tuple[type[Exception], ...] = (av.FFmpegError, ValueError, MemoryError)
        self._name, self._container, self._deadline = name, container, deadline
        try:
            self._av: Any = av.open(
                file, "r", format=demuxer, options=options, metadata_errors="replace"
            )
        except self._errors as error:
            deadline.check()
            raise damaged(container, name) from error
        try:
            self._describe(header)
        except BaseException:
            self._av.close()
            raise

    def _describe(self, header: Header) -> None:
        container = self._container
        self._stream: Any = self._av.streams.best("audio")
        if self._stream is None:
            if container.demuxer not in _VIDEO_DEMUXERS:
                raise damaged(container, self._name)
            raise UnsupportedFormatError(
                f"the {container.label} file has no audio track",
                name=self._name,
                hint="give a recording with sound",
            )
        context = self._stream.codec_context
        if context is None:
            raise UnsupportedFormatError(
                f"no decoder for the audio track of this {container.label} file",
                name=self._name,
                hint="convert it to WAV, FLAC or Opus",
            )
        context.thread_count = 1  # the caller decides about threads
        self.format = f"{container.label}/{context.codec.canonical_name.upper()}"
        self.sample_rate_hz = int(context.sample_rate or 0)
        self.channels = int(context.layout.nb_channels) if context.layout else 0
        if not (self.sample_rate_hz and self.channels):
            raise damaged(container, self._name)
        self.incomplete = header.cut_short
        self.extra_tracks = len(self._av.streams.audio) > 1
        seconds = self._duration_s()
        self.estimate = int((seconds or 0.0) * self.sample_rate_hz)
        self.announced = self.estimate if seconds and header.states_length else None

    def _duration_s(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        tag = stream.metadata.get("DURATION", "")  # Matroska has it by track only as a tag
        try:
            hours, minutes, seconds = tag.split(":")
            return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
        except ValueError:
            pass
        # The duration of a whole video says little about that of its sound.
        if self._av.duration and not self._av.streams.video:
            return float(self._av.duration) / 1e6
        return None

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels), joined from the codec's short frames."""
        pending: list[Samples] = []
        samples, most = 0, frames_per_block(self.channels)
        for frame in self._frames():
            block = self._to_block(frame)
            pending.append(block)
            samples += len(block)
            if samples >= most:
                yield np.concatenate(pending)
                pending, samples = [], 0
        if pending:
            yield np.concatenate(pending)

    def _frames(self) -> Iterator[Any]:
        rate, end_s, done = self.sample_rate_hz, 0.0, 0
        good = bad = 0
        packets = self._av.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
                good += 1
            except self._errors:
                # Skip what cannot be decoded; without end, if it is the file that is at fault.
                bad += 1
                if bad > 16 and bad > _DAMAGED_SHARE * (good + bad):
                    break
                continue
            self._deadline.check()
            for frame in frames:
                done += frame.samples
                # By time stamp, since recorders leave pauses out.
                end_s = (frame.time or 0.0) + frame.samples / rate
                yield frame
        self._deadline.check()
        if not done and bad:
            raise damaged(self._container, self._name)
        if self.announced is not None:
            reached_s = max(end_s, done / rate)
            self.incomplete |= reached_s < self.announced / rate - _TOLERANCE_S
        self.incomplete |= bad > 0

    def _to_block(self, frame: Any) -> Samples:
        if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate_hz, self.channels):
            raise changes_within(self._name)
        array = frame.to_ndarray()  # planar: (channels, samples); packed: (1, samples * channels)
        block = array.T if frame.format.is_planar else array.reshape(-1, self.channels)
        return as_float32(block)

    def close(self) -> None:
        """Free the decoder."""
        self._av.close()
