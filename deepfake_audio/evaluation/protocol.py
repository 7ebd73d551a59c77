"""ASVspoof protocol and score files, plain or gzipped, in and out.

Scores in these files are high for bona fide speech; in a :class:`ScoreTable` they become
``llr_synthetic = -score``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.protocol import (
    PathLike,
    ProtocolRow,
    open_text,
    protocol_row,
    read_lines,
    read_protocol,
    require_unique,
)
from ..errors import DatasetError
from .table import ScoreTable

ASV_KEYS = ("target", "nontarget", "spoof")


@dataclass(frozen=True, eq=False)
class AsvScores:
    """Scores of a speaker verifier, high = target.

    Attributes
    ----------
    key : ndarray of str, shape (trials,)
        ``target``, ``nontarget`` or ``spoof``.
    score : ndarray of float, shape (trials,)
    id : ndarray of str, shape (trials,), or None
        The clip of each trial, where the file names it.
    """

    key: NDArray[Any]
    score: NDArray[Any]
    id: NDArray[Any] | None = None

    def of(self, key: str) -> NDArray[Any]:
        """Scores of one kind of trial."""
        return np.asarray(self.score[self.key == key])


def read_scores(path: PathLike) -> tuple[dict[str, float], list[ProtocolRow]]:
    """Read a score file: ``id score``, or a protocol line followed by the score.

    Returns
    -------
    scores : dict of str to float
        High = bona fide.
    protocol : list of ProtocolRow
        What the lines say beside the score; empty if they give only ids.

    Raises
    ------
    DatasetError
        If the file cannot be read, a line is malformed, or an id occurs twice.
    """
    ids, values, protocol = [], [], []
    for number, fields in read_lines(path):
        value = _number(fields[-1])
        if value is None and number == 1:
            continue  # a header such as "filename cm-score"
        row = protocol_row(fields[:-1])
        if value is None or (row is None and len(fields) != 2):
            raise DatasetError(
                f"line {number} is neither 'id score' nor 'speaker id - attack key score'",
                name=Path(path).name,
            )
        ids.append(fields[0] if row is None else row.id)
        values.append(value)
        if row is not None:
            protocol.append(row)
    require_unique(ids, path)
    if protocol and len(protocol) != len(ids):
        raise DatasetError("only some lines name a key", name=Path(path).name)
    return dict(zip(ids, values, strict=True)), protocol


def read_asvspoof(scores: PathLike, protocol: PathLike | None = None) -> ScoreTable:
    """Make a table of an ASVspoof score file and protocol, with no model at hand.

    Parameters
    ----------
    scores : path
        See :func:`read_scores`.
    protocol : path, optional
        Needed if the score file gives only ids. Its trials without a score stay in the table
        with a NaN; scores of other trials are not used.

    Raises
    ------
    DatasetError
        If a file is malformed, or the two have no trial in common.
    """
    values, rows = read_scores(scores)
    if protocol is not None:
        rows = read_protocol(protocol)
    if not rows:
        raise DatasetError(
            "gives scores but no keys", name=Path(scores).name, hint="give the protocol file too"
        )
    if not any(row.id in values for row in rows):
        raise DatasetError("has no score for any trial of the protocol", name=Path(scores).name)
    speaker, ids, attack, label, channel = map(list, zip(*rows, strict=True))
    llr = -np.array([values.get(row.id, np.nan) for row in rows])
    return ScoreTable.from_columns(
        id=ids,
        label=label,
        llr_synthetic=llr,
        system=attack,
        speaker=speaker,
        channel=channel,
        reason=np.where(np.isfinite(llr), "", "no_score"),
    )


def write_protocol(path: PathLike, table: ScoreTable) -> None:
    """Write ``speaker id - attack key``, one line a clip."""
    with open_text(path, "wt") as file:
        file.writelines(f"{line}\n" for line in _protocol_lines(table))


def write_scores(path: PathLike, table: ScoreTable, *, with_protocol: bool = False) -> None:
    """Write ``id score`` (high = bona fide), one line a clip that has a score.

    With ``with_protocol`` the line is ``speaker id - attack key score``.
    """
    scored = table.select(table.has_score)
    starts = _protocol_lines(scored) if with_protocol else [_word(i) for i in scored.id]
    with open_text(path, "wt") as file:
        for start, score in zip(starts, scored.bonafide_score.tolist(), strict=True):
            file.write(f"{start} {score!r}\n")


def _protocol_lines(table: ScoreTable) -> list[str]:
    systems = np.where(table.is_bonafide, "", table.system)
    columns = zip(table.speaker, table.id, systems, table.label, strict=True)
    return [f"{_word(s)} {_word(i)} - {_word(a)} {k}" for s, i, a, k in columns]


def _word(text: str) -> str:
    """Text as one column: fields are split at blanks, and an empty one is a dash."""
    return "_".join(str(text).split()) or "-"


def read_asv_scores(path: PathLike) -> AsvScores:
    """Read verifier scores: ``source key score``, or ``speaker id key score``.

    Raises
    ------
    DatasetError
        If the file cannot be read or a line is malformed.
    """
    ids, keys, scores = [], [], []
    for number, fields in read_lines(path):
        score = _number(fields[-1])
        if score is None or len(fields) not in (3, 4) or fields[-2] not in ASV_KEYS:
            raise DatasetError(
                f"line {number} is not 'source key score' with a key of {', '.join(ASV_KEYS)}",
                name=Path(path).name,
            )
        keys.append(fields[-2])
        scores.append(score)
        if len(fields) == 4:
            ids.append(fields[1])
    named = np.array(ids) if len(ids) == len(keys) else None
    return AsvScores(np.array(keys), np.array(scores), named)


def read_sasv_scores(path: PathLike) -> tuple[ScoreTable, AsvScores]:
    """Read ``asv_score,cm_score,sasv_label`` (0 spoof, 1 target, 2 non-target) with a header.

    Returns the detector's table and the verifier's scores of the same trials, numbered.
    """
    name = Path(path).name
    lines = [line for _, fields in read_lines(path) for line in ["".join(fields)]]
    if not lines or lines[0].lower() != "asv_score,cm_score,sasv_label":
        raise DatasetError("first line is not asv_score,cm_score,sasv_label", name=name)
    try:
        asv, cm, code = np.array([line.split(",") for line in lines[1:]], dtype=np.float64).T
    except ValueError as error:
        raise DatasetError("a line does not hold three numbers", name=name) from error
    if not np.isin(code, (0, 1, 2)).all():
        raise DatasetError("sasv_label must be 0, 1 or 2", name=name)
    key = np.array(["spoof", "target", "nontarget"])[code.astype(int)]
    ids = np.array([f"trial_{i:06d}" for i in range(1, len(lines))])
    table = ScoreTable.from_columns(ids, np.where(code == 0, "spoof", "bonafide"), -cm)
    return table, AsvScores(key, asv, ids)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
