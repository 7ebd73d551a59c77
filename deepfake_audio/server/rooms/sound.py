"""The payload of a chunk -> samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InvalidSamplesError
from .protocol import OPUS_RATE_HZ, Encoding

MAX_OPUS_PACKET = 1275 * 6
"""Bytes of the largest packet there can be: six frames, 120 ms (RFC 6716, section 3.2)."""

_PCM: dict[str, np.dtype[Any]] = {"pcm_s16le": np.dtype("<i2"), "pcm_f32le": np.dtype("<f4")}

Samples = npt.NDArray[Any]


class PcmDecoder:
    """Interleaved samples of a fixed type."""

    def __init__(self, encoding: Encoding, channels: int) -> None:
        self._type = _PCM[encoding]
        self._channels = channels

    def decode(self, payload: bytes) -> Samples:
        """Return samples of shape (channels, samples).

        Raises
        ------
        InvalidSamplesError
            If the bytes are no whole number of samples.
        """
        size = self._type.itemsize * self._channels
        if len(payload) % size:
            raise InvalidSamplesError(
                f"{len(payload)} bytes are no whole number of samples",
                hint=f"each takes {size} bytes here",
            )
        return np.frombuffer(payload, self._type).reshape(-1, self._channels).T


class OpusDecoder:
    """Bare packets, one a chunk, each decoded after the one that came before it.

    They are decoded in this process, by FFmpeg's libopus: unlike files, which are decoded in a
    sandbox, packets have no container to parse and a bound on what they decode to.
    """

    def __init__(self, channels: int) -> None:
        import av

        self._av = av
        self._channels = channels
        self._context = av.CodecContext.create("libopus", "r")
        self._context.sample_rate = OPUS_RATE_HZ
        self._context.layout = "mono" if channels == 1 else "stereo"

    def decode(self, payload: bytes) -> Samples:
        """Return samples of shape (channels, samples).

        Raises
        ------
        InvalidSamplesError
            If the packet is broken; the next one can be decoded all the same.
        """
        if len(payload) > MAX_OPUS_PACKET:
            raise InvalidSamplesError(f"an Opus packet of {len(payload)} bytes")
        try:
            frames = self._context.decode(self._av.Packet(payload))
        except (self._av.FFmpegError, ValueError, EOFError) as error:
            raise InvalidSamplesError("a broken Opus packet") from error
        if not frames:
            raise InvalidSamplesError("an Opus packet without sound")
        return np.concatenate(
            [frame.to_ndarray().reshape(-1, self._channels).T for frame in frames], axis=1
        )


Decoder = PcmDecoder | OpusDecoder


def open_decoder(encoding: Encoding, channels: int) -> Decoder:
    """Return what turns the chunks of a speaker into samples."""
    return OpusDecoder(channels) if encoding == "opus" else PcmDecoder(encoding, channels)
