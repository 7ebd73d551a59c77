"""Codec 2: a voice as pitch, voicing and envelope, at 700 to 3,200 bits a second.

A sinusoidal vocoder (Rowe, PhD thesis, University of South Australia, 1997), through the library of
the same name, which comes with the operating system. It hears and speaks below 4 kHz only.
"""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path

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

_PROGRAM = Path(__file__).with_name("_codec2.py")


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
        If the library is not there, or not what it should be.
    """
    low = soxr.resample(samples, SAMPLE_RATE_HZ, RATE_HZ)
    spoken = _through(low, MODES[bit_rate])
    late = _DELAY.get(bit_rate, _DELAY_USUAL)
    spoken = spoken[late : late + len(low)]
    change = soxr.resample(spoken - low, RATE_HZ, SAMPLE_RATE_HZ)
    copied = samples.astype(np.float32)
    length = min(len(change), len(copied))
    copied[:length] += change[:length]
    return copied


def _through(samples: np.ndarray, mode: int) -> np.ndarray:
    """Encode and decode; the copy is late, and longer by what it is late."""
    name = ctypes.util.find_library("codec2")
    if name is None:
        raise MissingExtraError(
            "Codec 2 needs its library",
            name="codec2",
            hint="install libcodec2 (Debian has it with ffmpeg; brew install codec2)",
        )
    pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_PROGRAM), name, str(mode)],
        input=pcm.tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise MissingExtraError(
            f"Codec 2 fails ({said})", name=name, hint="install libcodec2 anew, or leave it out"
        )
    return np.frombuffer(done.stdout, np.int16).astype(np.float32) / 32768
