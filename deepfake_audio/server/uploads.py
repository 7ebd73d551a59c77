"""Multipart bodies, written to disk as they come, under limits of size and time.

Nothing is kept in memory but the block at hand, and nothing on disk but what was allowed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ..report import printable
from .errors import RequestError
from .store import Store

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 32
MAX_NAME = 255
_BLOCK = 1 << 20


@dataclass(frozen=True)
class UploadedFile:
    """One file of a body, on disk."""

    path: Path
    name: str
    sha256: str
    n_bytes: int


@dataclass
class Form:
    """A body that was read: its text fields, and its files."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[UploadedFile] = field(default_factory=list)


@dataclass(frozen=True)
class UploadLimits:
    """What one body may hold.

    Attributes
    ----------
    max_file_bytes, max_files : int
        Size of a file, and how many of them.
    max_total_bytes : int
        Size of the body.
    seconds : float
        How long it may take to come.
    """

    max_file_bytes: int
    max_files: int
    max_total_bytes: int
    seconds: float


async def read_form(request: Request, store: Store, limits: UploadLimits, kept: ExitStack) -> Form:
    """Read a multipart body.

    Parameters
    ----------
    request : Request
        Whose body has not been read.
    store : Store
        Lends the files that uploads are written to.
    limits : UploadLimits
        What is accepted.
    kept : ExitStack
        Removes those files at its end.

    Raises
    ------
    RequestError
        If the body is no multipart form, too large, too slow, or breaks off.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RequestError(
            "the body is no multipart form",
            hint="send multipart/form-data with the recording as the part 'file'",
            status=415,
            code="unsupported_media_type",
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.max_total_bytes:
        raise too_large(limits.max_total_bytes)
    receiver = _Receiver(store, limits, kept)
    try:
        async with asyncio.timeout(limits.seconds):
            await _feed(MultipartParser(boundary, receiver.callbacks()), receiver, request.stream())
    except TimeoutError as error:
        raise RequestError(
            f"the upload took longer than {limits.seconds:g} s",
            hint="send it again over a faster line",
            status=408,
            code="upload_too_slow",
        ) from error
    except MultipartParseError as error:
        raise RequestError(
            "the multipart body is malformed", hint="let a library write it", status=400
        ) from error
    except ClientDisconnect as error:
        raise RequestError(
            "the upload broke off", hint="send it again", status=400, code="upload_incomplete"
        ) from error
    if not receiver.ended:
        raise RequestError(
            "the upload broke off", hint="send it again", status=400, code="upload_incomplete"
        )
    return receiver.form


async def _feed(parser: MultipartParser, receiver: _Receiver, body: AsyncIterator[bytes]) -> None:
    total = 0
    async for block in body:
        total += len(block)
        if total > receiver.limits.max_total_bytes:
            raise too_large(receiver.limits.max_total_bytes)
        parser.write(block)
        if receiver.pending >= _BLOCK:  # the disk may be slow, and others are served meanwhile
            await asyncio.to_thread(receiver.flush)
    parser.finalize()
    await asyncio.to_thread(receiver.flush)


class _Receiver:
    """Takes what the parser finds."""

    def __init__(self, store: Store, limits: UploadLimits, kept: ExitStack) -> None:
        self.limits = limits
        self.form = Form()
        self.ended = False
        self.pending = 0
        self._store = store
        self._kept = kept
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._text = bytearray()
        self._part: FileWriter | None = None
        self._full: list[tuple[FileWriter, bytes]] = []  # blocks for the disk, in order
        self._done: list[FileWriter] = []

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._over,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._field, self._part = None, None
        self._text = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            if len(self.form.fields) >= MAX_FIELDS:
                raise RequestError(f"more than {MAX_FIELDS} fields", status=413)
            self._field = name
            return
        if name not in ("file", "files"):
            raise RequestError(
                f"a file in the part {printable(name)[:64]!r}",
                hint="call the part 'file'",
                status=422,
            )
        if len(self._done) >= self.limits.max_files:
            raise RequestError(
                f"more than {self.limits.max_files} files",
                hint="send several requests",
                status=413,
                code="limit_exceeded",
            )
        path = self._kept.enter_context(self._store.upload())
        self._part = FileWriter(path, display_name(options[b"filename"]))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part.n_bytes += end - start
            if self._part.n_bytes > self.limits.max_file_bytes:
                raise too_large(self.limits.max_file_bytes)
            self._full.append((self._part, data[start:end]))
            self.pending += end - start
            return
        self._text += data[start:end]
        if len(self._text) > MAX_FIELD_BYTES:
            raise RequestError(f"a field of more than {MAX_FIELD_BYTES} bytes", status=413)

    def _end(self) -> None:
        if self._part is not None:
            self._done.append(self._part)
        elif self._field is not None:
            self.form.fields[self._field] = self._text.decode("utf-8", "replace")

    def _over(self) -> None:
        self.ended = True

    def flush(self) -> None:
        """Write what waits; off the event loop."""
        for part, block in self._full:
            part.write(block)
        self._full.clear()
        self.pending = 0
        if self.ended:
            self.form.files = [part.close() for part in self._done]


class FileWriter:
    """One file that is being received.

    Parameters
    ----------
    path : Path
        A file of ours.
    name : str
        What it is called in reports.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.n_bytes = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def write(self, block: bytes) -> None:
        """Append a block."""
        if self._file is None:
            self._file = self.path.open("wb", buffering=0)
        self._hash.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(self._file.fileno(), view) :]

    def close(self) -> UploadedFile:
        """Say what was written."""
        if self._file is not None:
            self._file.close()
        return UploadedFile(self.path, self.name, self._hash.hexdigest(), self.n_bytes)


def display_name(raw: bytes) -> str:
    """Return what to call a file: the last part of what the client says, printable and short."""
    name = raw.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return printable(name)[:MAX_NAME] or "recording"


def too_large(limit: int) -> RequestError:
    """Return the error of a recording that is too large."""
    return RequestError(
        f"larger than {limit} bytes",
        hint="send a shorter or compressed recording",
        status=413,
        code="limit_exceeded",
    )
