"""Lossy codecs in memory: what telephones, messengers and video platforms do to a voice."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr

from ..config import SAMPLE_RATE_HZ
from ..errors import ConfigError, MissingExtraError

LIBSNDFILE = "libsndfile"
"""Encoder of what FFmpeg may lack."""


@dataclass(frozen=True)
class Codec:
    """One way of coding speech.

    Attributes
    ----------
    name : str
        Short name, as in tables.
    encoder, container : str
        FFmpeg's names; the encoder may also be LIBSNDFILE.
    sample_rate_hz : int
        Rate at which the codec works.
    bit_rates : tuple of int
        Bits a second to choose from; empty where the codec has only one.
    """

    name: str
    encoder: str
    container: str
    sample_rate_hz: int
    bit_rates: tuple[int, ...] = ()


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            "mp3", "libmp3lame", "mp3", 16_000, (24_000, 32_000, 48_000, 64_000, 96_000, 128_000)
        ),
        Codec("aac", "aac", "adts", 16_000, (24_000, 32_000, 48_000, 64_000, 96_000)),
        Codec("opus", "libopus", "ogg", 16_000, (8_000, 12_000, 16_000, 24_000, 32_000, 64_000)),
        # Not every build of FFmpeg has libvorbis; libsndfile does, at its usual quality.
        Codec("vorbis", LIBSNDFILE, "ogg", 16_000),
        Codec("amr-nb", "libopencore_amrnb", "amr", 8_000, (4_750, 7_950, 12_200)),
        Codec("amr-wb", "libvo_amrwbenc", "amr", 16_000, (8_850, 12_650, 23_850)),
        Codec("g722", "g722", "wav", 16_000),
        Codec("g726", "g726", "wav", 8_000, (16_000, 24_000, 32_000, 40_000)),
        Codec("a-law", "pcm_alaw", "wav", 8_000),
        Codec("mu-law", "pcm_mulaw", "wav", 8_000),
    )
}


def import_av() -> Any:
    """Return PyAV, or say which extra brings it."""
    try:
        import av
    except ImportError:
        raise MissingExtraError(
            "codecs need PyAV", hint='pip install "deepfake-audio[av]"'
        ) from None
    return av


def available_codecs() -> list[str]:
    """Return the names of the codecs that this build of FFmpeg can encode."""
    av = import_av()
    known = {LIBSNDFILE, *av.codecs_available}
    return [name for name, codec in CODECS.items() if codec.encoder in known]


def transcode(samples: np.ndarray, codec: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode speech in memory.

    Parameters
    ----------
    samples : np.ndarray, int16, shape (samples,)
        16 kHz.
    codec : str
        A key of :data:`CODECS`.
    bit_rate : int, optional
        Bits a second; ignored by codecs with one rate.

    Returns
    -------
    np.ndarray, int16, same shape
        16 kHz; the codec's delay is left in, the end cut or padded with silence.

    Raises
    ------
    ConfigError
        If the codec is unknown.
    MissingExtraError
        If PyAV is not installed.
    """
    if codec not in CODECS:
        raise ConfigError(f"unknown codec {codec!r}", hint=f"known are {', '.join(CODECS)}")
    if codec not in available_codecs():
        raise ConfigError(
            f"this build of FFmpeg cannot encode {codec}",
            hint=f"it can {', '.join(available_codecs())}",
        )
    spec = CODECS[codec]
    signal = samples = np.asarray(samples)  # a memory-mapped slice is not what soxr expects
    if spec.sample_rate_hz != SAMPLE_RATE_HZ:
        signal = soxr.resample(samples, SAMPLE_RATE_HZ, spec.sample_rate_hz)
    decoded = _decode(_encode(signal, spec, bit_rate), spec)
    if spec.sample_rate_hz != SAMPLE_RATE_HZ:
        decoded = soxr.resample(decoded, spec.sample_rate_hz, SAMPLE_RATE_HZ)
    out = np.zeros_like(samples)
    length = min(len(out), len(decoded))
    out[:length] = decoded[:length]
    return out


def _encode(signal: np.ndarray, spec: Codec, bit_rate: int | None) -> io.BytesIO:
    av = import_av()
    buffer = io.BytesIO()
    if spec.encoder == LIBSNDFILE:
        soundfile.write(buffer, signal, spec.sample_rate_hz, format="OGG", subtype="VORBIS")
        buffer.seek(0)
        return buffer
    with av.open(buffer, "w", format=spec.container) as container:
        stream = container.add_stream(spec.encoder, rate=spec.sample_rate_hz)
        stream.layout = "mono"
        if spec.bit_rates and bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(signal[None], format="s16", layout="mono")
        frame.sample_rate = spec.sample_rate_hz
        convert = av.AudioResampler(
            format=stream.codec_context.format, layout="mono", rate=spec.sample_rate_hz
        )
        # Encoders with a fixed frame size are fed through PyAV's own queue.
        for part in convert.resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    buffer.seek(0)
    return buffer


def _decode(buffer: io.BytesIO, spec: Codec) -> np.ndarray:
    av = import_av()
    convert = av.AudioResampler(format="s16", layout="mono", rate=spec.sample_rate_hz)
    container_format = "aac" if spec.container == "adts" else spec.container
    parts: list[np.ndarray] = []
    with av.open(buffer, format=container_format) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in convert.resample(frame)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)
