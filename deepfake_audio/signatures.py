"""What a callback of the service is signed with, and how its receiver checks it.

The signature is ``HMAC-SHA256(secret, "{timestamp}.{body}")`` in ``Deepfake-Audio-Signature:
t=…,v1=…``; receivers recompute it, refuse timestamps older than some minutes, and remember the
delivery's identifier. :func:`verify` does the first two.
"""

from __future__ import annotations

import hashlib
import hmac
import time

SIGNATURE_HEADER = "Deepfake-Audio-Signature"

TOLERANCE_S = 300.0
"""How old a signature may be."""


def sign(secret: str, body: bytes, timestamp: int) -> str:
    """Return the value of the signature header."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={digest.hexdigest()}"


def verify(secret: str, body: bytes, header: str, *, now_s: float | None = None) -> bool:
    """Tell whether a callback is ours and fresh; for receivers.

    Parameters
    ----------
    secret : str
        Shared with the service.
    body : bytes
        As it was received, to the byte.
    header : str
        Value of :data:`SIGNATURE_HEADER`.
    now_s : float, optional
        The present moment, seconds since the epoch.
    """
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stated = parts.get("t", "")
    if not stated.isdecimal() or len(stated) > 12:
        return False
    age_s = abs((time.time() if now_s is None else now_s) - int(stated))
    genuine = hmac.compare_digest(sign(secret, body, int(stated)).encode(), header.encode())
    return genuine and age_s <= TOLERANCE_S
