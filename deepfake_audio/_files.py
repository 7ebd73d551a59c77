"""Files that are there whole or not at all, and settings files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ConfigError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lend a path beside ``path``; what is written there takes its place, unless it fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)  # of a killed run
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors lets nobody else read what it writes
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", name=str(path), hint=remedy_of(error)
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is no valid TOML ({error})", name=str(path)) from error


def remedy_of(error: OSError) -> str:
    """Say what to do about a file that cannot be opened."""
    if isinstance(error, PermissionError):
        return "let this user read it"
    return "check the path"
