"""Which process a room lives in, and whether that process is alive.

Each process holds the lock of a file for as long as it lives; its rooms bear the file's name. The
system gives a lock back however a process ends, so that a lock that can be had tells of rooms
that nobody will close.
"""

from __future__ import annotations

import fcntl
import secrets
from pathlib import Path

_SUFFIX = ".alive"


class Lifeline:
    """The lock of this process.

    Parameters
    ----------
    folder : Path
        Shared by the processes of one machine.

    Attributes
    ----------
    mark : str
        Eight hexadecimal digits.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.mark = secrets.token_hex(4)
        self._path = folder / f"{self.mark}{_SUFFIX}"
        self._file = self._path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let go: no room of this process is open."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def dead(folder: Path) -> list[str]:
    """Return the marks of processes that ended without a :meth:`Lifeline.release`."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it lives, or has just gone in peace
            continue
        found.append(path.stem)
    return found


def bury(folder: Path, mark: str) -> None:
    """Forget a dead process, once its rooms are closed."""
    (folder / f"{mark}{_SUFFIX}").unlink(missing_ok=True)
