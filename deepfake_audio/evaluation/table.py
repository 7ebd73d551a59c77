"""One row a clip: what it is, and what the detector said. In and out of CSV."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..calibration import probability
from ..errors import DatasetError, DeepfakeAudioError
from ..report import Report

LABELS = ("bonafide", "spoof")
_NUMBERS = ("llr_synthetic", "p_synthetic")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Columns of equal length; a text that is not known is empty, a missing score NaN.

    Attributes
    ----------
    id : ndarray of str
        Unique.
    label : ndarray of str
        ``bonafide`` or ``spoof``.
    llr_synthetic, p_synthetic : ndarray of float
        High = synthetic; NaN where the clip could not be scored.
    system, family, source, speaker, language, channel : ndarray of str
        As in the data set.
    verdict, reason : ndarray of str
        As in the report; ``failed`` and the error's code where there was none.

    Raises
    ------
    DatasetError
        If lengths differ, an ``id`` occurs twice, or a label is unknown.
    """

    id: NDArray[Any]
    label: NDArray[Any]
    llr_synthetic: NDArray[Any]
    p_synthetic: NDArray[Any]
    system: NDArray[Any]
    family: NDArray[Any]
    source: NDArray[Any]
    speaker: NDArray[Any]
    language: NDArray[Any]
    channel: NDArray[Any]
    verdict: NDArray[Any]
    reason: NDArray[Any]

    def __post_init__(self) -> None:
        for name in self.columns():
            kind = np.float64 if name in _NUMBERS else str
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
            if getattr(self, name).shape != (len(self),):
                raise DatasetError(
                    f"has {getattr(self, name).size} rows where id has {len(self)}", name=name
                )
        ids, counts = np.unique(self.id, return_counts=True)
        if counts.size and counts.max() > 1:
            raise DatasetError("this id occurs more than once", name=str(ids[counts.argmax()]))
        unknown = sorted(set(self.label.tolist()) - set(LABELS))
        if unknown:
            raise DatasetError(f"unknown label {unknown[0]!r}", hint="use bonafide or spoof")

    def __len__(self) -> int:
        return int(np.size(self.id))

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_columns(
        cls,
        id: Sequence[str] | NDArray[Any],
        label: Sequence[str] | NDArray[Any],
        llr_synthetic: ArrayLike,
        **columns: Sequence[Any] | NDArray[Any],
    ) -> Self:
        """Build from some columns; absent text is empty, absent ``p_synthetic`` is at prior 0.5."""
        unknown = sorted(set(columns) - set(cls.columns()))
        if unknown:
            raise DatasetError(f"unknown column {', '.join(unknown)}")
        llr = np.asarray(llr_synthetic, dtype=np.float64)
        p = np.asarray(columns.pop("p_synthetic", np.full(llr.shape, np.nan)), dtype=np.float64)
        columns["p_synthetic"] = np.where(np.isnan(p), probability(llr), p)
        empty = [""] * len(id)
        rest = {name: columns.get(name, empty) for name in cls.columns()[3:]}
        return cls(id, label, llr, **rest)  # type: ignore[arg-type]

    @property
    def is_bonafide(self) -> NDArray[np.bool_]:
        """True for genuine speech, shape (clips,)."""
        mask: NDArray[np.bool_] = self.label == "bonafide"
        return mask

    @property
    def bonafide_score(self) -> NDArray[np.float64]:
        """Scores as the metrics want them, high = bona fide, shape (clips,)."""
        return np.asarray(-self.llr_synthetic)

    @property
    def has_score(self) -> NDArray[np.bool_]:
        """True where there is a score, shape (clips,)."""
        mask: NDArray[np.bool_] = np.isfinite(self.llr_synthetic)
        return mask

    @property
    def is_counted(self) -> NDArray[np.bool_]:
        """True for clips that headline figures rest on, shape (clips,).

        They have a score, and are no human speech through a codec (spoofs of family ``codec``).
        """
        mask: NDArray[np.bool_] = self.has_score & (self.is_bonafide | (self.family != "codec"))
        return mask

    def select(self, rows: NDArray[Any]) -> Self:
        """Return the rows that a mask or an index array picks."""
        return type(self)(*(getattr(self, name)[rows] for name in self.columns()))

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all columns as UTF-8 CSV with a header; a missing score is an empty field."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns())
            columns = [getattr(self, name).tolist() for name in self.columns()]
            for row in zip(*columns, strict=True):
                writer.writerow("" if value != value else value for value in row)

    @classmethod
    def read_csv(cls, path: str | os.PathLike[str]) -> Self:
        """Read CSV with a header; ``id``, ``label`` and ``llr_synthetic`` are required.

        Columns that a table does not have are ignored.

        Raises
        ------
        DatasetError
            If the file cannot be read, or a column or a number is missing or malformed.
        """
        name = Path(path).name
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restval="")
                rows, header = list(reader), reader.fieldnames or []
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"cannot be read as CSV: {error}", name=name) from error
        missing = [column for column in cls.columns()[:3] if column not in header]
        if missing:
            raise DatasetError(f"has no column {', '.join(missing)}", name=name)
        columns: dict[str, Any] = {}
        for column in (column for column in cls.columns() if column in header):
            texts = [row[column] for row in rows]
            columns[column] = _numbers(texts, column, name) if column in _NUMBERS else texts
        return cls.from_columns(**columns)


def _numbers(texts: Iterable[str], column: str, name: str) -> list[float]:
    numbers = []
    for line, text in enumerate(texts, start=2):
        try:
            numbers.append(float(text) if text.strip() else float("nan"))
        except ValueError:
            message = f"line {line}: {column} {text!r} is not a number"
            raise DatasetError(message, name=name) from None
    return numbers


def score_table_from_reports(
    rows: Sequence[Mapping[str, Any]], reports: Iterable[Report | DeepfakeAudioError]
) -> ScoreTable:
    """Join the rows of a data set with the reports on them, in the same order.

    A clip that could not be read stays in the table, with verdict ``failed`` and the error's code
    as its reason; an inconclusive one keeps its score if the report has one.

    Parameters
    ----------
    rows : sequence of mapping
        With ``id`` and ``label``, and any other text column of :class:`ScoreTable`.
    reports : iterable of Report or DeepfakeAudioError
        One a row, as :meth:`Detector.detect_many` yields them.

    Raises
    ------
    DatasetError
        If there are more or fewer reports than rows, or a row lacks ``id`` or ``label``.
    """
    said = list(reports)
    if len(said) != len(rows):
        raise DatasetError(f"{len(rows)} clips but {len(said)} reports")
    about = [name for name in ScoreTable.columns() if name not in (*_NUMBERS, "verdict", "reason")]
    columns: dict[str, list[Any]] = {name: [_text(row.get(name)) for row in rows] for name in about}
    if "" in columns["id"] or "" in columns["label"]:
        raise DatasetError("a clip has no id or no label")
    failed = [isinstance(report, DeepfakeAudioError) for report in said]
    for name in _NUMBERS:
        values = [getattr(report, name, None) for report in said]
        columns[name] = [float("nan") if value is None else float(value) for value in values]
    columns["verdict"] = [
        "failed" if bad else str(getattr(report, "verdict", ""))
        for report, bad in zip(said, failed, strict=True)
    ]
    columns["reason"] = [
        _text(getattr(report, "code" if bad else "reason", None))
        for report, bad in zip(said, failed, strict=True)
    ]
    return ScoreTable.from_columns(**columns)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
