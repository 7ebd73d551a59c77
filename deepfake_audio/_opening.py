"""Any input, from a path to an array, opened as one kind of reader within limits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from numbers import Real
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ._blocks import ArrayReader, Reader
from ._checks import check_header
from ._containers import read_header
from ._readers import open_reader
from ._sources import Deadline, display_name, open_source
from .config import Limits
from .errors import EmptyAudioError, InvalidSamplesError, UnsupportedFormatError

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[Any]


def name_of(source: object) -> str:
    """Return what an input is called where it was given no name."""
    return "<array>" if isinstance(source, np.ndarray) else display_name(source)


@contextmanager
def open_any(
    source: AudioSource,
    sample_rate_hz: int | None,
    name: str,
    limits: Limits,
    deadline: Deadline,
    *,
    digest: bool,
) -> Iterator[tuple[Reader, str | None]]:
    """Open any source and check what its header says; gives its reader, and its SHA-256."""
    if isinstance(source, np.ndarray):
        reader: Reader = _open_array(source, sample_rate_hz, name)
        check_header(reader, name, limits)
        content = np.ascontiguousarray(source).data if digest else b""
        yield reader, hashlib.sha256(content).hexdigest() if digest else None
        return
    with open_source(source, name, limits, deadline, digest=digest) as (file, sha256):
        if not file.size:
            raise EmptyAudioError("the file is empty", name=name, hint="copy or export it again")
        header = read_header(file, file.size)
        deadline.check()
        if header is None:
            raise UnsupportedFormatError(
                "not audio in a known format",
                name=name,
                hint="give WAV, FLAC, Ogg, Opus, MP3, AIFF, CAF, M4A, MP4, WebM, AMR or WMA",
            )
        file.seek(0)
        with closing(open_reader(file, header, name, deadline)) as reader:
            deadline.check()
            check_header(reader, name, limits)
            yield reader, sha256


def _open_array(array: npt.NDArray[Any], sample_rate_hz: int | None, name: str) -> ArrayReader:
    if sample_rate_hz is None:
        raise InvalidSamplesError(
            "an array has no sample rate", name=name, hint="give sample_rate_hz"
        )
    # Rates come as floats, too; a number in a string is a mistake better told than mended.
    if not isinstance(sample_rate_hz, Real) or not float(sample_rate_hz).is_integer():
        raise InvalidSamplesError(
            f"the sample rate {sample_rate_hz!r} is no whole number",
            name=name,
            hint="give sample_rate_hz as an integer, hertz",
        )
    return ArrayReader(array, int(sample_rate_hz), name)
