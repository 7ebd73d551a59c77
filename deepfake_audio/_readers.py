"""Decoders as streams of blocks: libsndfile first, FFmpeg for what it lacks.

Nothing here believes a header: blocks have a fixed size, and what was announced is compared
with what came out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import numpy as np
import soundfile

from ._blocks import Reader, Samples, changes_within, damaged, frames_per_block
from ._containers import MP3, OGG, Header, read_header
from ._ffmpeg import AvReader
from ._sources import BoundedFile, Deadline
from .errors import CorruptAudioError, MissingExtraError

_TAIL_BYTES, _TAIL_S = 1441, 0.25  # one long frame and some short ones may stay unread
_TOLERANCE_S = 0.1  # encoders pad: so much may be missing before it counts as missing
# libsndfile's "unsupported encoding", "unimplemented format" and "malformed fmt chunk".
_NO_CODEC = (4, 18, 64)


def open_reader(file: BoundedFile, header: Header, name: str, deadline: Deadline) -> Reader:
    """Open the decoder for a file whose container is known.

    Raises
    ------
    CorruptAudioError
        If the decoder rejects the file.
    MissingExtraError
        If the format needs PyAV, which is not installed.
    UnsupportedFormatError
        If there is no audio track, or no decoder for it.
    """
    container = header.container
    if not container.sndfile:
        return AvReader(file, header, name, deadline)
    if header.links:
        return ChainReader(file, header, name, deadline)
    if container is MP3 and not header.states_length:
        # libsndfile reads as much as is stated or, without that, as much as it guesses.
        try:
            return AvReader(file, header, name, deadline)
        except (CorruptAudioError, MissingExtraError):
            file.seek(0)
    try:
        return SndfileReader(file, header, name)
    except soundfile.LibsndfileError as error:
        deadline.check()
        refusal = error
    # WAV, AIFF, CAF and Ogg can hold codecs that libsndfile lacks, such as AC-3 or Speex.
    if container.demuxer is not None:
        file.seek(0)
        try:
            return AvReader(file, header, name, deadline)
        except CorruptAudioError:
            pass  # what libsndfile said is the better cause
        except MissingExtraError:
            if refusal.code in _NO_CODEC:
                raise
    raise damaged(container, name) from refusal


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that is only read onwards.

    Where it can, python-soundfile seeks after every read to where the decoder stands already;
    in a damaged file that is one more thing to fail.
    """

    def seekable(self) -> bool:
        return False


class SndfileReader:
    """WAV, FLAC, Ogg, MP3, AIFF, CAF and their kin through libsndfile."""

    def __init__(self, file: BoundedFile, header: Header, name: str) -> None:
        self._bytes = file
        self._end = header.audio_end
        self._file = _Stream(file, "r")
        self._container = header.container
        self._name = name
        self.format = f"{self._file.format}/{self._file.subtype}"
        self.sample_rate_hz = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        frames = int(self._file.frames)
        known = 0 <= frames < 2**62  # libsndfile says 2**63 - 1 when it does not know
        self.announced = frames if known and header.states_length else None
        self.estimate = frames if known else 0
        self.incomplete = header.cut_short
        self.extra_tracks = header.extra_tracks

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels) until libsndfile has no more."""
        most = frames_per_block(self.channels)
        if self._container is MP3:
            most = max(1, most // 16)  # its decoder loses the whole block in which it stumbles
        done = 0
        while True:
            # The last block is no longer than the header says, plus one sample to notice more.
            wanted = min(most, max(self.estimate - done + 1, 1024))
            buffer = np.empty((wanted, self.channels), dtype=np.float32)
            try:
                count = len(self._file.read(out=buffer))
            except soundfile.LibsndfileError as error:
                # libsndfile has counted what it decoded before it stumbled.
                count = min(max(self._file.tell() - done, 0), wanted)
                if done + count == 0:
                    raise damaged(self._container, self._name) from error
                self.incomplete = True
            done += count
            if count:
                yield buffer[:count]
            if count < wanted:
                break
        if self.announced is not None:
            missing = self.announced - done
            self.incomplete |= missing > _TOLERANCE_S * self.sample_rate_hz
        if self._end is not None:
            # The number of frames in an MP3 can be wrong: has the decoder come to the end?
            read = self._bytes.tell()
            slack = _TAIL_BYTES + _TAIL_S * read * self.sample_rate_hz / max(1, done)
            self.incomplete |= read + slack < self._end

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()


class ChainReader:
    """Ogg recordings joined into one file, read one after the other.

    Programs differ in how much of such a file they play; all of it is what can be heard.
    """

    def __init__(self, file: BoundedFile, header: Header, name: str, deadline: Deadline) -> None:
        self._file, self._name, self._deadline = file, name, deadline
        self._spans = list(pairwise((*header.links, file.size)))
        self.incomplete = header.cut_short
        self.extra_tracks = header.extra_tracks
        with closing(self._open(*self._spans[0])) as first:
            self.format = first.format
            self.sample_rate_hz = first.sample_rate_hz
            self.channels = first.channels
        lengths: list[int] = []
        stated = True
        for link in self._links():
            lengths.append(link.estimate)
            stated &= link.announced is not None
        self.estimate = sum(lengths)
        self.announced = self.estimate if stated else None

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels), none across the border of two links."""
        done = False
        for link in self._links():
            try:
                for block in link.blocks():
                    done = True
                    yield block
            except CorruptAudioError:
                self.incomplete = True
            self.incomplete |= link.incomplete
        if not done:
            raise damaged(OGG, self._name)

    def _links(self) -> Iterator[Reader]:
        """Open the links one by one, and leave out what is no recording."""
        for span in self._spans:
            try:
                reader = self._open(*span)
            except CorruptAudioError:
                self.incomplete = True
                continue
            with closing(reader):
                if (reader.sample_rate_hz, reader.channels) != (self.sample_rate_hz, self.channels):
                    raise changes_within(self._name)
                yield reader

    def _open(self, start: int, end: int) -> Reader:
        self._deadline.check()
        part = self._file.part(start, end)
        header = read_header(part, part.size)
        self._deadline.check()
        if header is None:
            raise damaged(OGG, self._name)
        part.seek(0)
        # A mark that a part still holds is not looked at again: one recording, one decoder.
        return open_reader(part, replace(header, links=()), self._name, self._deadline)

    def close(self) -> None:
        """Do nothing: every link is closed once it is read."""
