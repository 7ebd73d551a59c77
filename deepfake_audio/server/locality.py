"""A service without keys is for this machine alone, and not for pages of others in its browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from .errors import RequestError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_SAFE = ("GET", "HEAD", "OPTIONS")


def check(method: str, host: str | None, origin: str | None) -> None:
    """Refuse what a page of another site makes a browser ask of a service without keys.

    Parameters
    ----------
    method : str
        Of HTTP; for a WebSocket, which lets pages of any site read along, anything unsafe.
    host : str or None
        The header. A name of somebody's own may lead here: only ours will do, or else a page
        from under that name would be no other site.
    origin : str or None
        The header, which a browser sends along with what changes something.

    Raises
    ------
    RequestError
        If it is not for that.
    """
    try:
        named = urlsplit(f"//{host}").hostname
        site = urlsplit(origin or "").netloc
    except ValueError:
        named, site = None, ""
    if named not in LOOPBACK:
        raise _foreign("asked under a name that is not this machine's, and no key")
    if origin and method not in _SAFE and site != host:
        raise _foreign("a page of another site, and no key")


def _foreign(why: str) -> RequestError:
    return RequestError(why, hint="use keys", status=403, code="forbidden")
