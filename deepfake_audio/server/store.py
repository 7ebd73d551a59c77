"""Where audio is kept: a folder, or anything fsspec reaches, such as a bucket.

Keys are made here from identifiers of ours; no name that a client gave is ever part of a path.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..errors import ConfigError

_MARK = "belongs-to"
_STALE_S = 3600
"""Uploads that nobody finishes are swept away after so many seconds."""


class StoreUnavailableError(Exception):
    """The store does not answer; it may later."""


class Store:
    """A folder or bucket of recordings.

    Parameters
    ----------
    url : str
        Folder, or a URL that fsspec knows.
    incoming : Path
        Local folder in which uploads are written before they are accepted. For a local store it
        must lie on the same file system.

    Raises
    ------
    ConfigError
        If the store cannot be reached or written to.
    """

    def __init__(self, url: str, incoming: Path) -> None:
        self.url = url
        self.incoming = incoming
        try:
            incoming.mkdir(parents=True, exist_ok=True)
            self._fs, self._root = fsspec.core.url_to_fs(url)
            self._local = isinstance(self._fs, LocalFileSystem)
            self._fs.makedirs(self._root, exist_ok=True)
        except Exception as error:
            raise ConfigError(
                f"cannot be used ({type(error).__name__}: {error})",
                name="storage_url",
                hint="give a folder or a bucket that can be written to",
            ) from error

    def key(self, tenant: str, detection_id: str) -> str:
        """Return where a recording goes; two letters keep folders small."""
        return f"{tenant}/{detection_id[-2:]}/{detection_id}"

    @contextmanager
    def upload(self) -> Iterator[Path]:
        """Lend a file to write an upload into; it is removed unless :meth:`keep` took it."""
        handle, name = tempfile.mkstemp(dir=self.incoming, prefix="upload-")
        os.close(handle)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path, key: str) -> None:
        """Move a finished upload to its place; once this returns it survives a power cut."""
        target = self._path(key)
        if not self._local:
            self._fs.put_file(str(path), target)
            return
        folder = Path(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        _sync(path)
        os.replace(path, target)
        _sync(folder)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Lend a local file with the content of a recording.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        StoreUnavailableError
            If the store does not answer.
        """
        if self._local:
            path = Path(self._path(key))
            if not path.is_file():
                if not Path(self._root).is_dir():
                    raise StoreUnavailableError(f"{self._root} is not there")
                raise FileNotFoundError(key)
            yield path
            return
        with self.upload() as copy:
            try:
                with self._fs.open(self._path(key), "rb") as source, copy.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
            except FileNotFoundError:
                raise
            except Exception as error:  # stores raise all sorts of things
                raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error
            yield copy

    def open(self, key: str) -> Any:
        """Open a recording for reading.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        """
        return self._fs.open(self._path(key), "rb")

    def delete(self, key: str) -> None:
        """Remove a recording; it is no error if it is gone already."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def belongs_to(self, identity: str) -> bool:
        """Tell whether this store is marked with an identity; an empty one is marked now."""
        mark = self._path(_MARK)
        try:
            with self._fs.open(mark, "rb") as file:
                return bool(file.read().decode() == identity)
        except FileNotFoundError:
            pass
        if next(self.keys(), None) is not None:
            return False
        with self._fs.open(mark, "wb") as file:
            file.write(identity.encode())
        return True

    def keys(self) -> Iterator[str]:
        """Yield the keys of all recordings, in no particular order."""
        for path in self._fs.find(self._root):
            key = path.removeprefix(f"{self._root}/")
            if key != _MARK:
                yield key

    def sweep(self, now_s: float) -> int:
        """Remove what interrupted uploads left behind; returns how many files."""
        removed = 0
        for path in self.incoming.glob("upload-*"):
            try:
                if now_s - path.stat().st_mtime > _STALE_S:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _sync(path: Path) -> None:
    """Have a file, or the entries of a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
