"""Whom the service talks to on somebody's behalf: never to what only it can reach.

A name is looked up once and the connection goes to that address, so that a second lookup cannot
lead elsewhere; redirections are not followed, no proxy of the environment is asked, and nobody
holds the line for longer than it was given.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from .errors import RequestError

MAX_URL = 2048


def check_url(url: str, *, allow_private: bool, name: str) -> None:
    """Refuse a URL that can be seen to lead where it must not.

    Parameters
    ----------
    url : str
        As a client gave it.
    allow_private : bool
        Whether private addresses are fine.
    name : str
        The field it was given in.

    Raises
    ------
    RequestError
        If it is no HTTP(S) URL with a host, holds credentials, or its host is written as an
        address that is not public. Names are looked up in :func:`exchange`.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    bad = parts.scheme not in ("http", "https") or not host or "@" in parts.netloc
    if bad or len(url) > MAX_URL or not url.isprintable():
        raise RequestError("is no http or https URL without credentials", name=name, status=422)
    if not allow_private and not _may_be_public(host or ""):
        raise RequestError("leads to a private address", name=name, status=422)


def _may_be_public(host: str) -> bool:
    if host == "localhost":
        return False
    try:
        return _is_public(ipaddress.ip_address(host))
    except ValueError:
        return True  # a name, or an old way of writing an address, which the lookup will tell


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    inner = getattr(address, "ipv4_mapped", None) or address
    return inner.is_global and not inner.is_multicast


def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """Return the address to connect to.

    Raises
    ------
    OSError
        If there is none that may be used.
    """
    found = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in map(str, found):
        if allow_private or _is_public(ipaddress.ip_address(text.partition("%")[0])):
            return text
    raise OSError(f"{host} leads to private addresses only")


@contextmanager
def exchange(
    method: str,
    url: str,
    *,
    allow_private: bool,
    seconds: float,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[httpx.Response]:
    """Make a request and lend its answer, the body still to be read.

    Parameters
    ----------
    method, url : str
        What to ask.
    allow_private : bool
        Whether private addresses are fine.
    seconds : float
        For all of it, reading the body included: the connection is cut then.
    content : bytes, optional
        Body of the request.
    headers : mapping, optional
        More of them.

    Raises
    ------
    TimeoutError
        If it took too long; what was read of the body until then may be less than all.
    OSError
        If the name has no address that may be used.
    httpx.HTTPError
        If the other side does not answer.
    """
    with _Deadline(seconds) as deadline:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = resolve(host, port, allow_private=allow_private)
        literal = f"[{address}]" if ":" in address else address
        # No redirection is followed, and no proxy asked.
        with httpx.Client(timeout=seconds, trust_env=False, follow_redirects=False) as client:
            request = client.build_request(
                method,
                parts._replace(netloc=f"{literal}:{port}").geturl(),
                content=content,
                headers={"Host": parts.netloc, **(headers or {})},
                # The certificate is that of the name, not of the address.
                extensions={"sni_hostname": host, "trace": deadline.watch},
            )
            answer = client.send(request, stream=True)
            try:
                yield answer
            finally:
                answer.close()


class _Deadline:
    """Cuts a connection when its time is up.

    The timeouts of httpx begin anew with each byte: whoever sends one now and then is never late.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []
        self._expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._timer.cancel()
        with self._lock:
            for line in self._lines:
                line.close()
            self._lines.clear()
        # A body that ends where its connection does looks whole when it is cut.
        if self._expired and (kind is None or issubclass(kind, (OSError, httpx.HTTPError))):
            raise TimeoutError("it took too long")

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Take hold of a connection; httpx tells of each step that it makes."""
        if event == "connection.connect_tcp.complete":
            with self._lock:
                # TLS takes the socket over; a duplicate stays ours, and is the same connection.
                self._lines.append(info["return_value"].get_extra_info("socket").dup())
                if self._expired:
                    self._cut()

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            self._cut()

    def _cut(self) -> None:
        for line in self._lines:
            with contextlib.suppress(OSError):  # the other side has gone already
                line.shutdown(socket.SHUT_RDWR)
