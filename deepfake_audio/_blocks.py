"""Blocks of samples: how long they are, their type, and what every reader offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ._containers import Container
from .errors import CorruptAudioError, InvalidSamplesError

Samples = npt.NDArray[np.float32]

BLOCK_SAMPLES = 1 << 18  # samples x channels: one megabyte of float32, whatever the source


class Reader(Protocol):
    """One open input.

    Attributes
    ----------
    format : str
        Container and codec, such as ``"OGG/OPUS"``.
    sample_rate_hz, channels : int
        Of the source.
    announced : int or None
        Samples per channel that the header announces; None if it does not, or only by a guess.
    estimate : int
        The same with guesses allowed; 0 if there is none.
    incomplete : bool
        Samples are missing; final once :meth:`blocks` is exhausted.
    extra_tracks : bool
        There is more sound beside the track that is read, such as another language.
    """

    format: str
    sample_rate_hz: int
    channels: int
    announced: int | None
    estimate: int
    incomplete: bool
    extra_tracks: bool

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels)."""

    def close(self) -> None:
        """Free the decoder."""


def frames_per_block(channels: int) -> int:
    """Return the length of a block of that many channels, samples."""
    return max(1, BLOCK_SAMPLES // max(1, channels))


def damaged(container: Container, name: str) -> CorruptAudioError:
    """Return the error for a file that its decoder gives up on."""
    return CorruptAudioError(
        f"the {container.label} file is damaged", name=name, hint="copy or export it again"
    )


def changes_within(name: str) -> CorruptAudioError:
    """Return the error for a recording that is not of one kind from end to end."""
    return CorruptAudioError(
        "the sample rate or the number of channels changes within the recording",
        name=name,
        hint="convert it to WAV or FLAC first",
    )


def as_float32(array: npt.NDArray[Any]) -> Samples:
    """Scale integers by the range of their type to [-1, 1); contiguous float32."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is found later
            return np.ascontiguousarray(array, dtype=np.float32)
    bits = 8 * array.dtype.itemsize
    centre = 2.0 ** (bits - 1) if array.dtype.kind == "u" else 0.0
    # Of 32 bits, float32 would round the differences from the centre away.
    wide: Any = np.array(array, dtype=np.float64 if bits > 16 else np.float32, order="C")
    if centre:
        wide -= centre
    wide *= 2.0 ** (1 - bits)
    scaled: Samples = wide.astype(np.float32, copy=False)
    return scaled


class ArrayReader:
    """Samples that are in memory already, shape (samples,) or (channels, samples)."""

    def __init__(self, array: npt.NDArray[Any], sample_rate_hz: int, name: str) -> None:
        if array.ndim not in (1, 2):
            raise InvalidSamplesError(
                f"the array has {array.ndim} dimensions",
                name=name,
                hint="give shape (samples,) or (channels, samples)",
            )
        if array.dtype.kind not in "fiu" or array.dtype.itemsize * (array.dtype.kind != "f") > 4:
            raise InvalidSamplesError(
                f"the array is of type {array.dtype}",
                name=name,
                hint="give floats in [-1, 1], or integers of 8, 16 or 32 bits at full scale",
            )
        self._array = np.atleast_2d(array)
        self.channels, self.estimate = self._array.shape
        self.sample_rate_hz = sample_rate_hz
        self.format = "array"
        self.announced: int | None = self.estimate
        self.incomplete = self.extra_tracks = False
        if self.channels > self.estimate > 0:
            raise InvalidSamplesError(
                f"the array of shape {array.shape} has more channels than samples",
                name=name,
                hint="give shape (channels, samples): transpose it",
            )

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks of shape (samples, channels), as floats in [-1, 1]."""
        most = frames_per_block(self.channels)
        for start in range(0, self.estimate, most):
            yield as_float32(self._array[:, start : start + most].T)

    def close(self) -> None:
        """Do nothing: the array belongs to the caller."""
