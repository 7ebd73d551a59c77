"""What the service remembers: tables, and transactions that read or write.

SQLite for one machine, PostgreSQL for several workers; nothing here depends on which.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    Index,
    Integer,
    Select,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    make_url,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ..errors import ConfigError

SQLITE_WAIT_S = 30
"""How long a writer waits for another one."""


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def new_id(kind: str, moment: datetime | None = None) -> str:
    """Return an identifier that sorts by time and cannot be guessed: ``det_…``."""
    milliseconds = round((moment or now()).timestamp() * 1000)
    return f"{kind}_{milliseconds:012x}{secrets.token_hex(10)}"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps none of the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None:
            return None
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {  # noqa: RUF012
        datetime: Moment(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


class ApiKey(Base):
    """A key to the API: its hash, whose it is, and what it opens."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(128))
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Detection(Base):
    """One submitted recording, from the door to the decision."""

    __tablename__ = "detections"
    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        Index("ix_detections_queue", "status", "id"),
        Index("ix_detections_tenant", "tenant", "id"),
        Index("ix_detections_retention", "retain_until"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    submitted_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    batch_id: Mapped[str | None] = mapped_column(String(64), index=True)

    surface: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    details: Mapped[dict[str, Any]]  # the submitter's metadata, given back as it came
    callback_url: Mapped[str | None] = mapped_column(Text)
    audio_key: Mapped[str | None] = mapped_column(String(255))  # None once the audio is deleted
    retain_until: Mapped[datetime]

    status: Mapped[str] = mapped_column(String(16))  # queued | processing | done | failed
    claim: Mapped[str | None] = mapped_column(String(64))
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(Integer, default=0)

    finished_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    verdict: Mapped[str | None] = mapped_column(String(32))
    p_synthetic: Mapped[float | None]
    novelty: Mapped[float | None]
    action: Mapped[str | None] = mapped_column(String(16))
    decided_by: Mapped[dict[str, Any] | None]  # policy version and hash, model and its hash

    review_state: Mapped[str | None] = mapped_column(String(16), index=True)  # open | closed
    review_decision: Mapped[str | None] = mapped_column(String(16))

    traceparent: Mapped[str | None] = mapped_column(String(64))  # of the request that brought it


class Review(Base):
    """What one person said of one recording."""

    __tablename__ = "reviews"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    detection_id: Mapped[str] = mapped_column(ForeignKey("detections.id"), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    reviewer: Mapped[str] = mapped_column(String(128))
    decision: Mapped[str] = mapped_column(String(16))  # genuine | synthetic | unsure | escalate
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class Room(Base):
    """One live speaker stream, from its opening to its closing report."""

    __tablename__ = "rooms"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    opened_by: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(255))
    details: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    alerted_at: Mapped[datetime | None]
    reports: Mapped[dict[str, Any] | None]  # by speaker
    verdict: Mapped[str | None] = mapped_column(String(32))
    action: Mapped[str | None] = mapped_column(String(16))
    decided_by: Mapped[dict[str, Any] | None]


class Delivery(Base):
    """A callback that is to reach its receiver at least once."""

    __tablename__ = "deliveries"
    __table_args__ = (Index("ix_deliveries_due", "state", "next_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))  # pending | delivered | dead
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    traceparent: Mapped[str | None] = mapped_column(String(64))  # of what it tells of


class ShadowScore(Base):
    """What a candidate model said of a recording that the live one decided on."""

    __tablename__ = "shadow_scores"

    detection_id: Mapped[str] = mapped_column(ForeignKey("detections.id"), primary_key=True)
    model_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    live_sha256: Mapped[str] = mapped_column(String(64))
    llr_synthetic: Mapped[float | None]
    p_synthetic: Mapped[float | None]
    verdict: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(16))


class ServiceState(Base):
    """What all processes of the service have to agree on."""

    __tablename__ = "service_state"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]


class AuditEvent(Base):
    """One link of the audit chain; see :mod:`deepfake_audio.server.audit`."""

    __tablename__ = "audit_events"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))  # as hashed, to the letter
    actor: Mapped[str] = mapped_column(String(160))
    kind: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(160), index=True)
    data: Mapped[str] = mapped_column(Text)  # canonical JSON, as hashed
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The last link of the chain; the one row that all writers of events queue for."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class Database:
    """Transactions on one database.

    Parameters
    ----------
    url : str
        As SQLAlchemy writes it.

    Raises
    ------
    ConfigError
        If the URL or its driver is unknown.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _open_engine(url)
        except Exception as error:
            raise ConfigError(
                f"cannot be opened ({type(error).__name__}: {error})",
                name="database_url",
                hint="use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME, "
                'which needs pip install "deepfake-audio[server]"',
            ) from error
        # A shallow copy over the same pool: its transactions take the write lock at once.
        self._writing = self.engine.execution_options(writes=True)

    @property
    def is_made(self) -> bool:
        """Whether the service has ever been here."""
        return inspect(self.engine).has_table(ApiKey.__tablename__)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that is committed at the end, or undone if anything is raised."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


_Row = TypeVar("_Row", Detection, Room, Delivery)


def newest(
    session: Session,
    rows: type[_Row],
    query: Select[_Row],
    *,
    cursor: str | None,
    limit: int,
) -> tuple[list[_Row], str | None]:
    """Return a page of what a query finds, the newest first, and the cursor of the next."""
    if cursor:
        query = query.where(rows.id < cursor)
    found = list(session.scalars(query.order_by(rows.id.desc()).limit(limit + 1)))
    more = found[limit - 1].id if len(found) > limit else None
    return found[:limit], more


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database; None of others, and of one in memory."""
    try:
        parts = make_url(url)
    except ArgumentError:  # said where it is opened
        return None
    in_a_file = parts.get_backend_name() == "sqlite" and parts.database not in (None, ":memory:")
    return Path(parts.database or "") if in_a_file else None


def _open_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=10, max_overflow=10, pool_pre_ping=True)
    if file := sqlite_file(url):
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, and not by the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # what was accepted survives a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # Two readers that both turn to writing would lock each other out.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
