"""Many inputs turned into samples, on threads, in order and ahead of whoever scores them.

Knows nothing of networks: decoding can begin while a model is still being loaded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .audio import AudioSource, DecodedAudio, decode
from .config import Limits
from .errors import AudioError, DeepfakeAudioError, LimitExceededError
from .readahead import read_ahead

DECODE_THREADS = 2
"""Decoding releases the interpreter lock, and runs beside the network."""

READ_AHEAD_INPUTS = 256
"""Most inputs taken, whether decoded or not, before they are scored."""

READ_AHEAD_BYTES = 256 * 1024**2
"""No further input is decoded while decoded audio of this size waits."""


@dataclass(frozen=True)
class Decoded:
    """One input as samples.

    Attributes
    ----------
    audio : DecodedAudio
        What was read.
    elapsed_s : float
        Seconds it took.
    """

    audio: DecodedAudio
    elapsed_s: float


def decode_ahead(
    named: Iterable[tuple[AudioSource, str | None]],
    *,
    sample_rate_hz: int | None = None,
    limits: Limits | None = None,
) -> Iterator[Decoded | DeepfakeAudioError]:
    """Decode a stream of inputs on threads, within bounds of memory.

    Parameters
    ----------
    named : iterable of (source, name)
        Taken as they are needed; names as for :func:`deepfake_audio.audio.decode`.
    sample_rate_hz : int, optional
        Rate of the arrays among them.
    limits : Limits, optional
        What one input may cost.

    Yields
    ------
    Decoded or DeepfakeAudioError
        One for each input, in order; an input that cannot be read gives its error.
    """
    bounds = limits or Limits()
    return read_ahead(
        lambda item: _decode(item[0], sample_rate_hz, item[1], bounds),
        named,
        threads=DECODE_THREADS,
        max_items=READ_AHEAD_INPUTS,
        max_weight=READ_AHEAD_BYTES,
        weigh=lambda item: item.audio.samples.nbytes if isinstance(item, Decoded) else 0,
    )


def begun(
    decoded: Iterator[Decoded | DeepfakeAudioError],
) -> Iterator[Decoded | DeepfakeAudioError]:
    """Let the threads of :func:`decode_ahead` begin now rather than when first asked."""
    return itertools.chain(list(itertools.islice(decoded, 1)), decoded)


def _decode(
    source: AudioSource, sample_rate_hz: int | None, name: str | None, limits: Limits
) -> Decoded | DeepfakeAudioError:
    began = time.perf_counter()
    try:
        audio = decode(source, sample_rate_hz=sample_rate_hz, name=name, limits=limits)
    except DeepfakeAudioError as error:
        return error
    except MemoryError:
        return LimitExceededError(
            "needs more memory than there is", name=name, hint="split it, or lower the limits"
        )
    except Exception as error:
        # Whatever a hostile file brings to light in a decoder must not cost the other files.
        unexpected = AudioError(
            f"could not be decoded ({type(error).__name__})", name=name, hint="please report it"
        )
        unexpected.__cause__ = error
        return unexpected
    return Decoded(audio, time.perf_counter() - began)
