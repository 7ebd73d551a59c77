"""Many inputs turned into samples, on threads, in order and ahead of whoever scores them.

Knows nothing of networks: decoding can begin while a model is still being loaded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from ._blocks import Samples
from .audio import AudioSource, DecodedAudio, LongAudio, begin
from .config import SAMPLE_RATE_HZ, Limits
from .errors import AudioError, DeepfakeAudioError, LimitExceededError
from .readahead import read_ahead

DECODE_THREADS = 2
"""Decoding releases the interpreter lock."""

READ_AHEAD_INPUTS = 256
"""Most inputs taken, whether decoded or not, before they are scored."""

READ_AHEAD_BYTES = 256 * 1024**2
"""No further input is decoded while decoded audio of this size waits."""


KEEP_SAMPLES = 20 * 60 * SAMPLE_RATE_HZ
"""Inputs with more samples than this, over all channels at 16 kHz, are not decoded as a whole."""


@dataclass(frozen=True)
class Decoded:
    """One input as samples.

    Attributes
    ----------
    audio : DecodedAudio or LongAudio
        What was read, or what is being read.
    elapsed_s : float
        Seconds it took.
    """

    audio: DecodedAudio | LongAudio
    elapsed_s: float

    @property
    def nbytes(self) -> int:
        """Memory that the samples take, bytes."""
        audio = self.audio
        return audio.nbytes if isinstance(audio, LongAudio) else audio.samples.nbytes


class DecodeAhead(Iterator[Decoded | DeepfakeAudioError]):
    """A stream of inputs, decoded on threads in order and within bounds of memory.

    Iterating gives one result for each input: what was decoded, or its error.

    Parameters
    ----------
    named : iterable of (source, name)
        Taken as they are needed; names as for :func:`deepfake_audio.audio.decode`.
    sample_rate_hz : int, optional
        Rate of the arrays among them.
    limits : Limits, optional
        What one input may cost.
    """

    def __init__(
        self,
        named: Iterable[tuple[AudioSource, str | None]],
        *,
        sample_rate_hz: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        may_decode = Event()
        may_decode.set()
        bounds = limits or Limits()

        # Not a method: a thread that holds this object would keep it from being thrown away.
        def work(item: tuple[AudioSource, str | None]) -> Decoded | DeepfakeAudioError:
            may_decode.wait()
            return _decode(item[0], sample_rate_hz, item[1], bounds)

        self._may_decode = may_decode
        self._first: list[Decoded | DeepfakeAudioError] = []
        self._results = read_ahead(
            work,
            named,
            threads=DECODE_THREADS,
            max_items=READ_AHEAD_INPUTS,
            max_weight=READ_AHEAD_BYTES,
            weigh=lambda item: item.nbytes if isinstance(item, Decoded) else 0,
        )

    def __next__(self) -> Decoded | DeepfakeAudioError:
        return self._first.pop() if self._first else next(self._results)

    def begin(self) -> None:
        """Let the threads begin now rather than when first asked; waits for the first result."""
        self._first = self._first or list(itertools.islice(self._results, 1))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Begin no further input meanwhile; those in the middle are finished.

        A network on the same cores is served badly beside decoding: its threads wait for each
        other at every layer, and so for whichever of them has to share its core.
        """
        self._may_decode.clear()
        try:
            yield
        finally:
            self._may_decode.set()


def _decode(
    source: AudioSource, sample_rate_hz: int | None, name: str | None, limits: Limits
) -> Decoded | DeepfakeAudioError:
    began = time.perf_counter()
    try:
        audio = begin(
            source,
            sample_rate_hz=sample_rate_hz,
            name=name,
            limits=limits,
            keep_samples=KEEP_SAMPLES,
        )
    except Exception as error:
        return _as_error(error, name)
    return Decoded(audio, time.perf_counter() - began)


def blocks_of(audio: LongAudio) -> Iterator[Samples]:
    """Yield the blocks of a long input; whatever goes wrong in decoding is one of our errors."""
    try:
        yield from audio.blocks()
    except Exception as error:
        raise _as_error(error, audio.name) from error


def _as_error(error: Exception, name: str | None) -> DeepfakeAudioError:
    """Return whatever went wrong with an input as one of our errors."""
    if isinstance(error, DeepfakeAudioError):
        return error
    if isinstance(error, MemoryError):
        return LimitExceededError(
            "needs more memory than there is", name=name, hint="split it, or lower the limits"
        )
    # Whatever a hostile file brings to light in a decoder must not cost the other files.
    unexpected = AudioError(
        f"could not be decoded ({type(error).__name__})", name=name, hint="please report it"
    )
    unexpected.__cause__ = error
    return unexpected
