"""Decoders as streams of blocks: libsndfile first, FFmpeg for what it lacks.

Nothing here believes a header: blocks have a fixed size, and what was announced is compared
with what came out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soundfile

from ._blocks import Reader, Samples, damaged, frames_per_block
from ._containers import MP3, Header
from ._ffmpeg import AvReader
from ._sources import BoundedFile, Deadline
from .errors import CorruptAudioError, MissingExtraError

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

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()
