"""Writing AIGC labels into files, and taking back what was written.

The audio is copied as it is. A label of somebody else cannot be taken out here: the Labelling
Measures (article 10) forbid that, and tools for it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from .._containers import SeekableFile, read_header
from ..errors import (
    AudioNotFoundError,
    DeepfakeAudioError,
    LabelError,
    UnsupportedFormatError,
)
from . import flac, id3, mp4, ogg, riff
from .aigc import CLAIMS, AigcLabel, merge_label, read_label
from .edits import Edit, Replacement, apply, inverse, sha256
from .places import MAX_LABEL_BYTES
from .reading import best_label, search

Writer = Callable[[SeekableFile, int, str], list[Edit]]

WRITERS: dict[str, Writer] = {
    "WAV": riff.edits, "MP3": id3.edits, "FLAC": flac.edits, "OGG": ogg.edits,
    "M4A": mp4.edits, "MP4": mp4.edits, "MOV": mp4.edits, "3GP": mp4.edits,
}  # fmt: skip
"""By the label of a container."""

UNDO_SUFFIX = ".aigc-undo"
"""Behind the name of a file that was labelled in place: the record of how to take that back."""

_UNDO_SCHEMA = "deepfake_audio.undo/1"


@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    label : AigcLabel
        The label in the file: what was asked for, and what was there already.
    has_manifest : bool
        The file holds a C2PA manifest, whose signature no longer fits its bytes.
    """

    label: AigcLabel
    has_manifest: bool


def write_label(
    path: str | os.PathLike[str],
    label: AigcLabel,
    *,
    out: str | os.PathLike[str] | None = None,
) -> Written:
    """Write an AIGC label into a file, or into a copy of it.

    The new file takes its place whole or not at all. In place, a record beside it lets
    :func:`undo_label` restore the file byte for byte.

    Parameters
    ----------
    path : path
        A WAV, MP3, FLAC, Ogg, M4A or MP4 file.
    label : AigcLabel
        Merged with a label that is there, see :func:`~deepfake_audio.provenance.aigc.merge_label`.
    out : path, optional
        Where the labelled copy goes; must not exist.

    Raises
    ------
    LabelError
        If the label is incomplete or contradicts the one that is there, or nothing can be written.
    AudioError
        If the file is not of a format that takes labels, or damaged.
    """
    source = Path(path).resolve()  # a link stays a link to the new file
    target = source if out is None else Path(out)
    try:
        if out is not None and target.exists():
            raise LabelError("there already", name=str(out), hint="choose another name")
        with _open(source) as file:
            return _write(file, source, target, label)
    except DeepfakeAudioError as error:
        error.name = error.name or str(path)
        raise
    except OSError as error:
        raise _not_writable(error, str(out or path)) from error


def undo_label(path: str | os.PathLike[str]) -> None:
    """Restore a file as it was before :func:`write_label` last changed it in place.

    Raises
    ------
    LabelError
        If there is no record of that, or the file was changed since.
    """
    source = Path(path).resolve()
    try:
        with _open(source) as file:
            _undo(file, source)
    except DeepfakeAudioError as error:
        error.name = error.name or str(path)
        raise
    except OSError as error:
        raise _not_writable(error, str(path)) from error


def _write(file: BinaryIO, source: Path, target: Path, label: AigcLabel) -> Written:
    size = os.fstat(file.fileno()).st_size
    header = read_header(file, size)
    container = header.container.label if header else ""
    writer = WRITERS.get(container)
    if writer is None:
        raise UnsupportedFormatError(
            "takes no labels", hint="WAV, MP3, FLAC, Ogg, M4A and MP4 files do"
        )
    found, complete = search(file, size, container)
    if not complete:
        raise LabelError("its tags cannot be read", hint="repair them first")
    has_manifest = any(item.kind == "c2pa" for item in found)
    there = best_label(found)
    if there is not None and there[1].label is None:
        raise LabelError("holds an AIGC label that cannot be read", hint="have a person look at it")
    merged = merge_label(there[1].label if there else None, label)
    text = _checked(merged)
    edits = writer(file, size, text)
    with Replacement(target, like=source) as replacement:
        apply(file, edits, replacement.file)
        _verify(replacement.file, container, merged)
        if target == source:
            _remember(source, file, edits, replacement.file)
        replacement.commit()
    return Written(merged, has_manifest)


def _checked(label: AigcLabel) -> str:
    """Return the text of a label; raise LabelError if it does not say what the law asks for."""
    if not label.label:
        raise LabelError("has no label yet", hint="say what the new one says: 1, 2 or 3")
    if label.label not in CLAIMS:
        raise LabelError(f"no such label, {label.label!r}", hint='"1", "2" and "3" are known')
    produced = label.content_producer and label.produce_id
    if not produced and not (label.content_propagator and label.propagate_id):
        raise LabelError(
            "does not say who labels which content",
            hint="give a producer and its number, or a propagator and its number",
        )
    try:
        n_bytes = len(label.to_json().encode())
    except UnicodeEncodeError:
        raise LabelError("a field is not text", hint="give it as UTF-8") from None
    if n_bytes > MAX_LABEL_BYTES:
        raise LabelError(f"longer than {MAX_LABEL_BYTES} bytes", hint="give shorter fields")
    return label.to_json()


def _verify(file: BinaryIO, container: str, label: AigcLabel) -> None:
    """Read back what was written, before it takes the place of anything."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    best = best_label(search(file, size, container)[0])
    if best is None or read_label(best[0].value).label != label:
        raise LabelError("the label could not be read back", hint="nothing was changed")


def _remember(path: Path, before: BinaryIO, edits: list[Edit], after: BinaryIO) -> None:
    """Add the way back to the records of a file."""
    undo = [
        [edit.start, edit.end, base64.b64encode(edit.new).decode()]
        for edit in inverse(before, edits)
    ]
    record = {
        "schema": _UNDO_SCHEMA, "before": sha256(before), "after": sha256(after), "edits": undo,
    }  # fmt: skip
    _store(path, [*_records(path), record])


def _undo(file: BinaryIO, path: Path) -> None:
    records = _records(path)
    if not records:
        raise LabelError(
            "no record of a label written here", hint=f"it would be in {path.name}{UNDO_SUFFIX}"
        )
    now = sha256(file)
    # Behind the last record that fits may be one of a run that was cut off before it wrote.
    while records and records[-1].get("after") != now:
        records.pop()
    if not records:
        raise LabelError(
            "was changed since it was labelled", hint="its bytes are not those that were written"
        )
    record = records.pop()
    with Replacement(path, like=path) as replacement:
        try:
            edits = [Edit(start, end, base64.b64decode(new)) for start, end, new in record["edits"]]
            apply(file, edits, replacement.file)
        except (KeyError, TypeError, ValueError, AssertionError):
            raise _damaged() from None
        if sha256(replacement.file) != record.get("before"):
            raise _damaged()
        replacement.commit()
    _store(path, records)


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.with_name(path.name + UNDO_SUFFIX).read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines()]
    except FileNotFoundError:
        return []
    except ValueError:
        raise _damaged() from None
    if not all(isinstance(r, dict) and r.get("schema") == _UNDO_SCHEMA for r in records):
        raise _damaged()
    return records


def _store(path: Path, records: list[dict[str, Any]]) -> None:
    place = path.with_name(path.name + UNDO_SUFFIX)
    if not records:
        place.unlink(missing_ok=True)
        return
    with Replacement(place, like=path) as replacement:
        for record in records:
            replacement.file.write(json.dumps(record).encode() + b"\n")
        replacement.commit()


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise AudioNotFoundError("is not a file", hint="check the path")
    return open(path, "rb")


def _damaged() -> LabelError:
    return LabelError("the record of its label is damaged", hint="restore the file from a copy")


def _not_writable(error: OSError, name: str) -> LabelError:
    reason = error.strerror or str(error)
    return LabelError(f"cannot be written ({reason})", name=name, hint="check the permissions")
