"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lend a path beside ``path``; what is written there takes its place, unless it fails."""
    partial = path.with_name(path.name + ".partial")  # of a killed run: overwritten by the next
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors lets nobody else read what it writes
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
