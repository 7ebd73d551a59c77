"""One table of labelled clips, whatever they came as: parquet, CSV, or a folder per class."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetError, MissingExtraError
from .clip import AUDIO_SUFFIXES, Clip, Label
from .layouts import read_layout

_LABELS: dict[str, Label] = {
    "bonafide": "bonafide",
    "bona-fide": "bonafide",
    "bona_fide": "bonafide",
    "genuine": "bonafide",
    "human": "bonafide",
    "real": "bonafide",
    "spoof": "spoof",
    "fake": "spoof",
    "synthetic": "spoof",
}


_SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
}


_TEXT_COLUMNS = (
    *("system", "family", "source", "speaker", "language", "channel", "sentence"),
    *("source_codec", "source_sample_rate_hz"),
)


def load_manifest(paths: Sequence[str | Path], *, split: str | None = None) -> list[Clip]:
    """Collect the clips of any mix of parquet files, CSV files and folders.

    Parameters
    ----------
    paths : sequence of path
        * a parquet file in the Hugging Face ``Audio`` layout (``audio.bytes`` and ``label``);
          its split is the file name up to the first ``-``, if that is one;
        * a CSV file with the columns ``path`` (relative to it) and ``label``;
        * a folder with such parquet files, or with one sub-folder a class
          (``bonafide``/``real``/``genuine``/``human``, ``spoof``/``fake``/``synthetic``);
        * a corpus in its official layout, see :mod:`deepfake_audio.datasets.layouts`.
    split : str, optional
        Keep only the clips of this split (clips without a split are kept).

    Returns
    -------
    list of Clip

    Raises
    ------
    DatasetError
        If a path holds no clips, a label is unknown, or two clips share an id.
    """
    clips: list[Clip] = []
    for path in map(Path, paths):
        found = [clip for clip in _read(path, split) if not split or clip.split in ("", split)]
        if not found:
            raise DatasetError(
                f"holds no clips{f' of split {split!r}' if split else ''}",
                name=str(path),
                hint="give a parquet file, a CSV file, or a folder with bonafide/ and spoof/",
            )
        clips += found
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise DatasetError("two clips share this id", name=clip.id, hint="make ids unique")
        seen.add(clip.id)
    return clips


def _read(path: Path, split: str | None) -> Iterator[Clip]:
    if path.is_dir():
        parquets = sorted(path.glob("*.parquet"))
        for parquet in parquets:
            if not split or _split_of(parquet) in ("", split):
                yield from _read_parquet(parquet)
        if not parquets:
            official = read_layout(path)
            yield from _read_folder(path) if official is None else official
    elif not path.is_file():
        raise DatasetError("no such file or folder", name=str(path), hint="check the path")
    elif path.suffix == ".parquet":
        yield from _read_parquet(path)
    elif path.suffix == ".csv":
        yield from _read_csv(path)
    else:
        raise DatasetError(
            "is no manifest", name=str(path), hint="give a .parquet or .csv file or a folder"
        )


def _split_of(parquet: Path) -> str:
    """Read the split off a name like ``train-00000-of-00006.parquet``; empty if there is none."""
    return _SPLITS.get(parquet.stem.split("-")[0].lower(), "")


def _split(value: str, name: str) -> str:
    """Check a split that was written down: a misspelt one must not become training data."""
    try:
        return _SPLITS[value.strip().lower()] if value.strip() else ""
    except KeyError:
        raise DatasetError(
            f"unknown split {value!r}", name=name, hint=f"use one of {', '.join(_SPLITS)}"
        ) from None


def _label(value: str, name: str) -> Label:
    try:
        return _LABELS[value.strip().lower()]
    except KeyError:
        raise DatasetError(
            f"unknown label {value!r}", name=name, hint=f"use one of {', '.join(_LABELS)}"
        ) from None


def _clip(cells: Mapping[str, Any], **fixed: Any) -> Clip:
    texts = {key: str(cells.get(key) or "") for key in _TEXT_COLUMNS}
    return Clip(**{**texts, **fixed})


def import_parquet() -> Any:
    """Return ``pyarrow.parquet``, or say which extra brings it."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "parquet files need pyarrow", hint='pip install "deepfake-audio[train]"'
        ) from None
    return pyarrow.parquet


def _read_parquet(path: Path) -> Iterator[Clip]:
    file = import_parquet().ParquetFile(path)
    names = set(file.schema_arrow.names)
    missing = {"audio", "label"} - names
    if missing:
        raise DatasetError(f"lacks the column {', '.join(sorted(missing))}", name=str(path))
    wanted = [c for c in ("id", "label", *_TEXT_COLUMNS) if c in names]
    for index, row in enumerate(file.read(columns=wanted).to_pylist()):
        yield _clip(
            row,
            id=str(row.get("id") or f"{path.stem}:{index}"),
            label=_label(str(row["label"]), str(path)),
            path=path,
            row=index,
            split=_split_of(path),
        )


def _read_csv(path: Path) -> Iterator[Clip]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(f"lacks the column {', '.join(sorted(missing))}", name=str(path))
        for row in reader:
            yield _clip(
                row,
                id=row.get("id") or row["path"],
                label=_label(row["label"], str(path)),
                path=path.parent / row["path"],
                split=_split(row.get("split") or "", str(path)),
            )


def _read_folder(path: Path) -> Iterator[Clip]:
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and p.name.lower() in _LABELS):
        for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
            inside = file.relative_to(folder)
            # A folder below the class names the synthesiser (or, for humans, the source).
            group = inside.parts[0] if len(inside.parts) > 1 else ""
            label = _label(folder.name, str(folder))
            yield Clip(
                id=str(file.relative_to(path)),
                label=label,
                path=file,
                system=group if label == "spoof" else "",
                source=path.name,
            )


def iter_audio(clips: Sequence[Clip]) -> Iterator[tuple[int, Path | bytes]]:
    """Yield ``(index, path or encoded bytes)`` of every clip, each parquet file read once.

    Clips come grouped by file, so not always in order; the index says which one it is.
    """
    by_file: dict[Path, dict[int, int]] = {}
    for index, clip in enumerate(clips):
        if clip.row is None:
            yield index, clip.path
        else:
            by_file.setdefault(clip.path, {})[clip.row] = index
    for path, rows in by_file.items():
        first = 0
        for batch in import_parquet().ParquetFile(path).iter_batches(256, columns=["audio"]):
            for offset, audio in enumerate(batch.column(0).to_pylist()):
                if first + offset in rows:
                    yield rows[first + offset], audio["bytes"]
            first += batch.num_rows


def to_row(clip: Clip) -> dict[str, Any]:
    """Return a clip as a plain dictionary, for score tables and logs."""
    return {**dataclasses.asdict(clip), "path": str(clip.path)}
