"""From whatever the caller has (path, bytes, file object) to a bounded, seekable file."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

from .config import Limits
from .errors import AudioError, AudioNotFoundError, LimitExceededError, UnsupportedFormatError

_IN_MEMORY_BYTES = 32 * 1024**2
_COPY_BYTES = 1024**2


class Deadline:
    """The wall-clock time one input may take."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._max_s = limits.max_decode_s
        self._end = time.monotonic() + limits.max_decode_s

    @property
    def passed(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() > self._end

    def rested(self, seconds: float) -> None:
        """Take back time that passed while somebody else was at work."""
        self._end += seconds

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let no time pass meanwhile: somebody else is at work."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.rested(time.monotonic() - began)

    def check(self) -> None:
        """Raise LimitExceededError once the time is used up."""
        if self.passed:
            raise LimitExceededError(
                f"decoding took longer than {self._max_s:g} s",
                name=self._name,
                hint="split the recording or raise limits.max_decode_s",
            )


class BoundedFile:
    """A file as the decoders see it: it ends at the deadline, and its methods never raise.

    An exception inside a callback from C is printed and lost, so trouble is shown to the
    decoder as the end of the file, and told to the caller by :meth:`Deadline.check`.
    """

    def __init__(self, raw: BinaryIO, size: int, deadline: Deadline) -> None:
        self._raw = raw
        self._readinto = cast(Any, raw).readinto
        self._deadline = deadline
        self.size = size

    def part(self, start: int, end: int) -> BoundedFile:
        """Return the bytes from `start` to `end` as a file; the two share one position."""
        return BoundedFile(cast(BinaryIO, _Part(self, start, end)), end - start, self._deadline)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` and return the number of bytes."""
        if self._deadline.passed:
            return 0
        try:
            return int(self._readinto(buffer))
        except (OSError, ValueError):
            return 0

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes."""
        if self._deadline.passed:
            return b""
        try:
            return self._raw.read(count)
        except (OSError, ValueError, OverflowError):
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, or stay where the file stands if there is no such place."""
        try:
            return self._raw.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._raw.tell()

    def tell(self) -> int:
        """Return the position."""
        return self._raw.tell()

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


class _Part(io.RawIOBase):
    """The bytes of a file from `start` to `end` as a file of their own."""

    def __init__(self, file: BoundedFile, start: int, end: int) -> None:
        self._file, self._start, self._size = file, start, end - start
        self._position = 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view[: max(0, self._size - self._position)])
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise ValueError("before the start")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True


def display_name(source: object) -> str:
    """Return what a source is called in reports and messages when nobody named it."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        text = os.fsdecode(path) if isinstance(path, bytes) else path
        # Names that are no valid text must still fit into JSON.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"


@contextmanager
def open_source(
    source: object, name: str, limits: Limits, deadline: Deadline, *, digest: bool
) -> Iterator[tuple[BoundedFile, str | None]]:
    """Open a source and give the file and, if asked for, the SHA-256 of its bytes.

    Raises
    ------
    AudioNotFoundError
        If a path is not that of a readable regular file.
    LimitExceededError
        If there are more than ``limits.max_file_bytes`` bytes.
    AudioError
        If a file object cannot be read.
    UnsupportedFormatError
        If the source is none of the kinds read here.
    """
    with ExitStack() as stack:
        sha256: str | None = None
        if isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)
            _check_size(len(content), name, limits)
            file: BinaryIO = io.BytesIO(content)
            size = len(content)
        elif isinstance(source, str | os.PathLike):
            file, size = _open_path(source, name, limits)
            stack.callback(file.close)
            if digest and size <= _IN_MEMORY_BYTES:
                # Read once: what is hashed is what is decoded, and seeking is free.
                content = _read(file, size, name)
                file, size = stack.enter_context(io.BytesIO(content)), len(content)
        elif callable(getattr(source, "read", None)):
            file = stack.enter_context(_spool(cast(BinaryIO, source), name, limits, deadline))
            size = file.tell()
        else:
            raise UnsupportedFormatError(
                f"cannot read audio from {type(source).__name__}",
                name=name,
                hint="give a path, bytes, a binary file object or a NumPy array",
            )
        if digest:
            file.seek(0)
            sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        file.seek(0)
        yield BoundedFile(file, size, deadline), sha256


def _check_size(size: int, name: str, limits: Limits) -> None:
    if size > limits.max_file_bytes:
        raise LimitExceededError(
            f"more than {limits.max_file_bytes} bytes",
            name=name,
            hint="split the recording or raise limits.max_file_bytes",
        )


def _open_path(path: str | os.PathLike[str], name: str, limits: Limits) -> tuple[BinaryIO, int]:
    try:
        # Without O_NONBLOCK the open itself waits for the writer of a named pipe.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        is_url = "://" in os.fsdecode(path)
        raise AudioNotFoundError(
            "no such file",
            name=name,
            hint="addresses are not fetched: download it first" if is_url else "check the path",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioNotFoundError(
            f"cannot be opened ({reason})", name=name, hint="check the path and its permissions"
        ) from None
    file = os.fdopen(descriptor, "rb", closefd=True) if _is_regular(descriptor) else None
    if file is None:
        os.close(descriptor)
        is_directory = os.path.isdir(path)
        raise AudioNotFoundError(
            "is a directory" if is_directory else "is not a regular file",
            name=name,
            hint="give the files in it"
            if is_directory
            else "give a file, or pass an open file object",
        )
    size = os.fstat(descriptor).st_size
    try:
        _check_size(size, name, limits)
    except LimitExceededError:
        file.close()
        raise
    return file, size


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _read(file: BinaryIO, count: int, name: str) -> bytes:
    try:
        content = file.read(count)
    except Exception as error:  # a file object is foreign code: anything may come out of it
        raise AudioError(
            f"cannot be read ({type(error).__name__}: {error})",
            name=name,
            hint="check that it is open, readable and complete",
        ) from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise UnsupportedFormatError(
            f"read() gave {type(content).__name__} instead of bytes",
            name=name,
            hint='open the file in binary mode ("rb")',
        )
    return bytes(content)


def _spool(source: BinaryIO, name: str, limits: Limits, deadline: Deadline) -> BinaryIO:
    """Copy a file object, which may not be seekable, into a temporary file; left at its end."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    try:
        while chunk := _read(source, _COPY_BYTES, name):
            _check_size(spool.tell() + len(chunk), name, limits)
            deadline.check()
            spool.write(chunk)
    except BaseException:
        spool.close()
        raise
    return cast(BinaryIO, spool)
