"""Whom the service talks to on somebody's behalf: never to what only it can reach.

A name is looked up once and the connection goes to that address, so that a second lookup cannot
lead elsewhere; redirections are not followed, and no proxy of the environment is asked.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
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
        address that is not public. Names are looked up in :func:`send`.
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


def connect(timeout_s: float) -> httpx.Client:
    """Return a client that follows no redirections and asks no proxy."""
    return httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False)


def send(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    allow_private: bool,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Make a request, its answer still to be read; the caller closes it.

    Raises
    ------
    OSError
        If the name has no address that may be used.
    httpx.HTTPError
        If the other side does not answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve(host, port, allow_private=allow_private)
    literal = f"[{address}]" if ":" in address else address
    request = client.build_request(
        method,
        parts._replace(netloc=f"{literal}:{port}").geturl(),
        content=content,
        headers={"Host": parts.netloc, **(headers or {})},
        # The certificate is that of the name, not of the address.
        extensions={"sni_hostname": host},
    )
    return client.send(request, stream=True)
