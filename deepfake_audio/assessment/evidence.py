"""Where a number is from: files with their hashes and commands, and places in them.

What the assessment was given is copied beside the report under its hash; what it works out itself
is written there as JSON first. So each number of the report is read from a file that lies there,
at a place that the report names.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._files import remedy_of
from ..errors import ConfigError, DatasetError

FOLDER = "evidence"
"""In the folder of the report."""

_NAME = "@name"
_MEASURED = (".json", ".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Ref:
    """A place in a source: its id, and a JSON pointer (RFC 6901)."""

    source: str
    pointer: str

    def __truediv__(self, key: str | int) -> Ref:
        """Return a place further in."""
        part = str(key).replace("~", "~0").replace("/", "~1")
        return Ref(self.source, f"{self.pointer}/{part}")

    @property
    def name(self) -> Ref:
        """The name of a place, its last key, in place of what lies there."""
        return Ref(self.source, f"{_NAME}{self.pointer}")

    @property
    def parts(self) -> list[str]:
        """Keys from the root to the place; none of a fact about the file itself."""
        return self.pointer.removeprefix(_NAME).split("/")[1:]

    @property
    def is_fact(self) -> bool:
        """Whether it is about the file itself, and not in it."""
        return self.pointer.startswith("@") and not self.pointer.startswith(_NAME)


@dataclass(frozen=True)
class Source:
    """A file that numbers are from.

    Attributes
    ----------
    id : str
        ``E1``, ``E2``, ...
    path : str
        As the configuration names it, or below the folder of the report.
    sha256 : str
    n_bytes : int
    modified_at : str
        In UTC, as the file system says.
    command : str or None
        Makes it again.
    copy : str or None
        Where it lies below the folder of the report; None if it was not copied.
    made_from : tuple of str
        Ids of the sources that it was worked out from.
    """

    id: str
    path: str
    sha256: str
    n_bytes: int
    modified_at: str
    command: str | None
    copy: str | None
    made_from: tuple[str, ...] = ()

    @property
    def ref(self) -> Ref:
        """All of it."""
        return Ref(self.id, "")

    @property
    def kept(self) -> str:
        """Where it can be found: its copy, or else itself."""
        return self.copy or self.path

    @property
    def makers(self) -> str:
        """Ids of the sources that it was worked out from, as text."""
        return " ".join(self.made_from)

    @property
    def is_measured(self) -> bool:
        """Whether a command must have made it; other files people write."""
        return Path(self.path).suffix in _MEASURED

    def about(self, fact: str) -> Ref:
        """Return the place of a fact about the file itself, such as its hash."""
        return Ref(self.id, f"@{fact}")


class Evidence:
    """The sources of one report.

    Parameters
    ----------
    root : Path
        Where the paths of the configuration start.
    out : Path
        Folder of the report.
    """

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.sources: dict[str, Source] = {}
        self._content: dict[str, Any] = {}

    def add(
        self,
        path: str,
        command: str | None = None,
        *,
        copy: bool = True,
        shown: str | None = None,
    ) -> Source:
        """Take in a file that is there.

        Parameters
        ----------
        path : str
            From the folder of the configuration.
        command : str, optional
            Made it.
        copy : bool
            False for what may hold secrets or is very large: its hash stands for it.
        shown : str, optional
            What the report calls it, if not by its path.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        given = self.root / path
        try:
            with given.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            about = given.stat()
        except OSError as error:
            raise DatasetError(
                f"cannot be read ({error.strerror})", name=path, hint=remedy_of(error)
            ) from error
        # Under its hash, so that the evidence of earlier reports stays beside that of this one.
        kept = _kept(given.name, sha256) if copy else None
        if kept is not None:
            target = self._target(kept)
            if target.resolve() != given.resolve():
                shutil.copyfile(given, target)
        modified = datetime.fromtimestamp(about.st_mtime, UTC)
        return self._note(shown or path, sha256, about.st_size, modified, command, kept)

    def make(
        self,
        name: str,
        data: Any,
        command: str,
        made_from: Sequence[Source] = (),
        *,
        moment: datetime | None = None,
    ) -> Source:
        """Write down what was worked out, as JSON.

        Parameters
        ----------
        name : str
            Of the file, which gets its hash into it.
        data : Any
            Plain JSON types.
        command : str
            Makes it again.
        made_from : sequence of Source
            What it was worked out from.
        moment : datetime, optional
            Of what it tells; now.
        """
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        content = text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        kept = _kept(name, sha256)
        self._target(kept).write_bytes(content)
        ids = tuple(source.id for source in made_from)
        at = moment or datetime.now(UTC)
        return self._note(kept, sha256, len(content), at, command, kept, ids)

    def made(
        self, path: Path, command: str, made_from: Sequence[Source] = (), *, copy: bool = True
    ) -> Source:
        """Take in a file below the folder of the report that was just written there."""
        name, content = path.relative_to(self.out).as_posix(), path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        kept = _kept(path.name, sha256) if copy else name
        if copy:
            shutil.copyfile(path, self._target(kept))
        ids = tuple(source.id for source in made_from)
        return self._note(name, sha256, len(content), datetime.now(UTC), command, kept, ids)

    def read(self, ref: Ref) -> Any:
        """Return what lies at a place, read from the file beside the report.

        A place that starts with ``@`` is a fact about the file itself, ``@sha256``, or the name of
        a place in it, ``@name/detections/groups/live``.

        Raises
        ------
        KeyError
            If there is no such source or no such place.
        """
        if ref.pointer.startswith(_NAME):
            pointer = ref.pointer.removeprefix(_NAME)
            self.read(Ref(ref.source, pointer))  # it has to be there
            return _unescaped(pointer.rpartition("/")[2])
        if ref.is_fact:
            return getattr(self.sources[ref.source], ref.pointer[1:])
        if ref.source not in self._content:
            copy = self.sources[ref.source].copy
            if copy is None:
                raise KeyError(ref.source)
            try:
                text = (self.out / copy).read_text(encoding="utf-8")
                self._content[ref.source] = json.loads(text, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                raise DatasetError(
                    f"is no JSON ({error})", name=self.sources[ref.source].path
                ) from error
        return at(self._content[ref.source], ref.pointer)

    def _target(self, kept: str) -> Path:
        target = self.out / kept
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be created ({error.strerror})", name=str(target.parent)
            ) from error
        return target

    def _note(
        self,
        path: str,
        sha256: str,
        n_bytes: int,
        modified: datetime,
        command: str | None,
        kept: str | None,
        made_from: tuple[str, ...] = (),
    ) -> Source:
        source = Source(
            id=f"E{len(self.sources) + 1}",
            path=path,
            sha256=sha256,
            n_bytes=n_bytes,
            modified_at=modified.isoformat(timespec="seconds"),
            command=command,
            copy=kept,
            made_from=made_from,
        )
        self.sources[source.id] = source
        return source


def at(value: Any, pointer: str) -> Any:
    """Return what a JSON pointer points to.

    Raises
    ------
    KeyError
        If nothing is there.
    """
    for part in pointer.split("/")[1:]:
        key = _unescaped(part)
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise KeyError(pointer) from error
    return value


def _kept(name: str, sha256: str) -> str:
    path = Path(name)
    return f"{FOLDER}/{path.stem}.{sha256[:12]}{path.suffix}"


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
