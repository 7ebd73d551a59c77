"""API keys: made once, shown once, kept as a hash; scoped to a tenant and to what they open."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit
from .database import ApiKey, new_id, now
from .errors import NotFoundError, RequestError

SECRET_PREFIX = "dfa_"  # pragma: allowlist secret
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


class Scope(StrEnum):
    """What a key may do.

    ``admin`` may do everything with what is its tenant's. What concerns all tenants (the models in
    force, the metrics, the head of the audit chain) is for ``operator``, and an operator's key
    opens nothing else.
    """

    SUBMIT = "submit"
    READ = "read"
    REVIEW = "review"
    ADMIN = "admin"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes
    ----------
    id : str
        Of the key; stands in the audit trail.
    name : str
        What people call it.
    tenant : str
        Whose data it can see.
    scopes : frozenset of Scope
        What it may do.
    """

    id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Tell whether this opens it."""
        if scope in self.scopes:
            return True
        return Scope.ADMIN in self.scopes and scope is not Scope.OPERATOR


LOCAL = Principal("local", "local", "local", frozenset(Scope))
"""Whoever asks a service that was started with ``--insecure-local``."""


def create(
    session: Session,
    *,
    tenant: str,
    name: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None = None,
    actor: str = "cli",
) -> tuple[ApiKey, str]:
    """Make a key; the secret is returned here and never again.

    Raises
    ------
    RequestError
        If the tenant's name is not lower-case letters, digits and hyphens.
    """
    if not _TENANT.match(tenant):
        raise RequestError(
            f"{tenant!r} is no tenant", hint="use up to 63 of a-z, 0-9 and hyphens", status=422
        )
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=new_id("key"),
        tenant=tenant,
        name=name[:128],
        secret_sha256=_hash(secret),
        scopes=sorted(scopes),
        created_at=now(),
        expires_at=expires_at,
        revoked_at=None,
    )
    session.add(key)
    audit.append(
        session,
        actor=actor,
        kind="key.created",
        subject=key.id,
        data={"tenant": tenant, "name": key.name, "scopes": key.scopes},
    )
    return key, secret


def authenticate(session: Session, secret: str) -> Principal | None:
    """Return whose secret it is, if it is anybody's and still holds."""
    # The secret is 256 random bits: a plain hash cannot be guessed back, and is looked up
    # without comparing secrets byte by byte.
    key = session.execute(
        select(ApiKey).where(ApiKey.secret_sha256 == _hash(secret))
    ).scalar_one_or_none()
    if key is None or key.revoked_at is not None:
        return None
    if key.expires_at is not None and key.expires_at <= now():
        return None
    return Principal(key.id, key.name, key.tenant, frozenset(map(Scope, key.scopes)))


def revoke(session: Session, key_id: str, *, actor: str = "cli") -> ApiKey:
    """End a key at once.

    Raises
    ------
    NotFoundError
        If there is no such key.
    """
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFoundError(f"no key {key_id}")
    if key.revoked_at is None:
        key.revoked_at = now()
        audit.append(session, actor=actor, kind="key.revoked", subject=key.id, data={})
    return key


def rotate(
    session: Session, key_id: str, *, old_until: datetime | None = None, actor: str = "cli"
) -> tuple[ApiKey, str]:
    """Make a key like an old one, which ends at once or, to change over, at a moment.

    Raises
    ------
    NotFoundError
        If there is no such key, or it is revoked.
    """
    old = session.get(ApiKey, key_id)
    expired = old is not None and old.expires_at is not None and old.expires_at <= now()
    if old is None or old.revoked_at is not None or expired:
        raise NotFoundError(f"no valid key {key_id}")
    key, secret = create(
        session,
        tenant=old.tenant,
        name=old.name,
        scopes=frozenset(map(Scope, old.scopes)),
        expires_at=old.expires_at,
        actor=actor,
    )
    if old_until is None:
        revoke(session, old.id, actor=actor)
    else:
        old.expires_at = min(old_until, old.expires_at or old_until)
    audit.append(
        session, actor=actor, kind="key.rotated", subject=old.id, data={"successor": key.id}
    )
    return key, secret


def listed(session: Session) -> list[ApiKey]:
    """Return all keys, the oldest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
