"""Codec 2: a voice as pitch, voicing and envelope, at 700 to 3,200 bits a second.

A sinusoidal vocoder (Rowe, PhD thesis, University of South Australia, 1997), through the library of
the same name, which comes with the operating system. It hears and speaks below 4 kHz only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soxr

from ..config import SAMPLE_RATE_HZ
from ..errors import MissingExtraError

RATE_HZ = 8_000

MODES = {3200: 0, 2400: 1, 1600: 2, 1400: 3, 1300: 4, 1200: 5, 700: 8}
"""Bits a second, and how the library calls them."""

_DELAY = {700: 264}
_DELAY_USUAL = 168
"""Samples at 8 kHz by which the copy comes late: one analysis window, as measured on speech."""

_ONE_AT_A_TIME = threading.Lock()


def codec2(samples: np.ndarray, bit_rate: int) -> np.ndarray:
    """Send a voice through Codec 2.

    Above 4 kHz the copy is its original, as the codec is deaf there: a copy that ended at 4 kHz
    would be told by its bandwidth, and teach that telephones are synthetic.

    Parameters
    ----------
    samples : np.ndarray, float32, shape (samples,)
        16 kHz.
    bit_rate : int
        One of :data:`MODES`.

    Returns
    -------
    np.ndarray, float32, shape (samples,)

    Raises
    ------
    MissingExtraError
        If the library is not there.
    """
    low = soxr.resample(samples, SAMPLE_RATE_HZ, RATE_HZ)
    with _library() as library:
        spoken = _through(library, low, MODES[bit_rate])
    late = _DELAY.get(bit_rate, _DELAY_USUAL)
    spoken = spoken[late : late + len(low)]
    change = soxr.resample(spoken - low, RATE_HZ, SAMPLE_RATE_HZ)
    copied = samples.astype(np.float32)
    length = min(len(change), len(copied))
    copied[:length] += change[:length]
    return copied


def _through(library: ctypes.CDLL, samples: np.ndarray, mode: int) -> np.ndarray:
    """Encode and decode; the copy is late, and longer by what it is late."""
    state = library.codec2_create(mode)
    if not state:
        raise MemoryError("codec2_create")
    try:
        size = library.codec2_samples_per_frame(state)
        coded = (ctypes.c_ubyte * ((library.codec2_bits_per_frame(state) + 7) // 8))()
        pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        # What is late has to come out as well: 80 ms are whole frames in every mode.
        frames = np.pad(pcm, (0, -len(pcm) % size + 640)).reshape(-1, size)
        spoken = np.empty_like(frames)
        for heard, said in zip(frames, spoken, strict=True):
            library.codec2_encode(state, coded, heard.ctypes.data)
            library.codec2_decode(state, said.ctypes.data, coded)
    finally:
        library.codec2_destroy(state)
    return spoken.reshape(-1).astype(np.float32) / 32768


@contextmanager
def _library() -> Iterator[ctypes.CDLL]:
    """Load the library, for one voice at a time.

    It keeps the state of its random phases to itself, and that begins anew only with the library:
    otherwise a copy would depend on those that were made before it.
    """
    name = ctypes.util.find_library("codec2")
    if name is None:
        raise MissingExtraError(
            "Codec 2 needs its library",
            name="codec2",
            hint="install libcodec2 (Debian has it with ffmpeg; brew install codec2)",
        )
    with _ONE_AT_A_TIME:
        library = ctypes.CDLL(name)
        try:
            _declare(library)
            yield library
        finally:
            close = ctypes.CDLL(None).dlclose
            close.argtypes = [ctypes.c_void_p]
            close(library._handle)


def _declare(library: ctypes.CDLL) -> None:
    pointer = ctypes.c_void_p
    library.codec2_create.argtypes = [ctypes.c_int]
    library.codec2_create.restype = pointer
    library.codec2_destroy.argtypes = [pointer]
    for counted in (library.codec2_samples_per_frame, library.codec2_bits_per_frame):
        counted.argtypes = [pointer]
    library.codec2_encode.argtypes = [pointer, pointer, pointer]
    library.codec2_decode.argtypes = [pointer, pointer, pointer]
