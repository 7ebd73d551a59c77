"""The tables as they came to be; :func:`upgrade` brings any older database to the present."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from ...errors import ConfigError
from ..database import Database

_ADVISORY_LOCK = 0x6466_6175_6469_6F


def alembic_config() -> Config:
    """Return what Alembic's commands need."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def upgrade(database: Database) -> None:
    """Create or change the tables as needed; several processes may start at once.

    Raises
    ------
    ConfigError
        If the database does not answer, or is of a later version.
    """
    config = alembic_config()
    try:
        with database.write() as session:
            connection = session.connection()
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except Exception as error:
        raise ConfigError(
            f"cannot be used ({type(error).__name__}: {error})",
            name="database_url",
            hint="check that the database runs and belongs to this version",
        ) from error
