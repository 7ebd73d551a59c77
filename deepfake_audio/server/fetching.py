"""Recordings that a client names by their address instead of sending them; off by default."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from . import outbound
from .errors import RequestError
from .uploads import FileWriter, UploadedFile, UploadLimits, display_name, too_large


def fetch(url: str, path: Path, limits: UploadLimits, *, allow_private: bool) -> UploadedFile:
    """Write what is at a URL into a file.

    Parameters
    ----------
    url : str
        As a client gave it.
    path : Path
        A file of ours.
    limits : UploadLimits
        Largest size, and longest time.
    allow_private : bool
        Whether private addresses are fine.

    Raises
    ------
    RequestError
        If the URL must not be asked, does not answer well, or gives too much or too slowly.
    """
    outbound.check_url(url, allow_private=allow_private, name="url")
    writer = FileWriter(path, display_name(unquote(urlsplit(url).path).encode()))
    try:
        with outbound.exchange(
            "GET", url, allow_private=allow_private, seconds=limits.seconds
        ) as answer:
            if not answer.is_success:
                raise _failed(f"HTTP status {answer.status_code}")
            for block in answer.iter_raw(1 << 18):
                writer.n_bytes += len(block)
                if writer.n_bytes > limits.max_file_bytes:
                    raise too_large(limits.max_file_bytes)
                writer.write(block)
        return writer.close()
    except TimeoutError as error:
        raise _failed(f"it takes longer than {limits.seconds:g} s") from error
    # What exactly is wrong inside a network is nothing to tell to the outside.
    except (OSError, httpx.HTTPError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise _failed("it does not answer") from error


def _failed(why: str) -> RequestError:
    return RequestError(f"could not be fetched: {why}", name="url", status=422, code="fetch_failed")
