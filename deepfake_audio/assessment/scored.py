"""Error rates and abstentions counted from a score table, at the threshold in force."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..evaluation.table import ScoreTable
from .cells import Cell, rate
from .config import ScoreFile
from .evidence import Evidence, Source

Mask = NDArray[np.bool_]

TRADE_OFF_SCHEMA = "deepfake_audio.trade_off/1"
TRADE_OFF_STEPS = 50

_COLUMNS = ("family", "language", "codec", "noise", "surface", "channel")


def score_cells(
    evidence: Evidence,
    given: ScoreFile,
    sources: tuple[Source, ...],
    threshold: float,
    authentic_below: float,
) -> Iterator[Cell]:
    """Count errors in a score table, overall and by what is known of its clips.

    Parameters
    ----------
    evidence : Evidence
    given : ScoreFile
    sources : tuple of Source
        The table, and its metadata if there are any.
    threshold, authentic_below : float
        On ``p_synthetic``: flagged from the one on, uncertain down to the other.

    Raises
    ------
    DatasetError
        If a file is malformed, or the metadata miss a clip.
    """
    table = ScoreTable.read_csv(evidence.root / given.file)
    columns = _columns(evidence, given, table)
    source = sources[0]
    scored = table.has_score
    core = _counted(table)
    flagged = table.p_synthetic >= threshold

    def cells(axis: str, group: str, members: Mask) -> Iterator[Cell]:
        for measure, among, wrong in (
            ("false_positive", core & table.is_bonafide, flagged),
            ("miss", core & ~table.is_bonafide, ~flagged),
        ):
            rows = among & members
            if n := int(rows.sum()):
                name = (measure, axis, group)
                yield rate(name, int((wrong & rows).sum()), n, source.ref, source, threshold)

    everything = np.ones(len(table), dtype=bool)
    yield from cells("overall", "all", everything)
    for axis in _COLUMNS:
        values = columns.get(axis)
        if values is None:
            continue
        for group in sorted(set(values[values != ""].tolist())):
            yield from cells(axis, group, values == group)
    if (seconds := columns.get("duration_s")) is not None:
        for group, low, high in duration_bins(given.duration_edges_s):
            yield from cells("duration", group, (seconds >= low) & (seconds < high))
    abstained = scored & ~flagged & (table.p_synthetic >= authentic_below)
    abstained |= np.isin(table.verdict, ("inconclusive", "uncertain")) & ~scored
    known = scored | (table.verdict == "inconclusive")
    if n := int(known.sum()):
        name = ("abstention", "overall", "labelled")
        yield rate(name, int((abstained & known).sum()), n, source.ref, source, threshold)


def trade_off(evidence: Evidence, given: ScoreFile) -> dict[str, Any] | None:
    """Return both error rates at thresholds all over [0, 1]; None if a class is missing."""
    table = ScoreTable.read_csv(evidence.root / given.file)
    table = table.select(_counted(table))
    genuine, p = table.is_bonafide, table.p_synthetic
    if genuine.all() or not genuine.any():
        return None
    points = [
        {
            "threshold": threshold,
            "false_positive": float((p[genuine] >= threshold).mean()),
            "miss": float((p[~genuine] < threshold).mean()),
        }
        for threshold in np.linspace(0, 1, TRADE_OFF_STEPS + 1).round(6).tolist()
    ]
    counts = {"genuine": int(genuine.sum()), "synthetic": int((~genuine).sum())}
    return {"schema": TRADE_OFF_SCHEMA, **counts, "points": points}


def _counted(table: ScoreTable) -> Mask:
    """Return what error rates are of: scored, and no human speech through a neural codec."""
    counted: Mask = table.has_score & ~((table.family == "codec") & ~table.is_bonafide)
    return counted


def _columns(evidence: Evidence, given: ScoreFile, table: ScoreTable) -> dict[str, NDArray[Any]]:
    """Return what is known of each clip: of the metadata first, of the table next."""
    rows = _rows(evidence, given.file)
    if given.metadata:
        about = _rows(evidence, given.metadata)
        if missing := sorted(set(rows) - set(about)):
            raise DatasetError(f"says nothing of clip {missing[0]!r}", name=given.metadata)
        rows = {key: row | about[key] for key, row in rows.items()}
    found: dict[str, NDArray[Any]] = {}
    ordered = [rows[key] for key in table.id.tolist()]
    for name in _COLUMNS:
        texts = [row.get(name) or "" for row in ordered]
        if any(texts):
            found[name] = np.array(texts)
    seconds = [row.get("duration_s") or "nan" for row in ordered]
    try:
        found["duration_s"] = np.array(seconds, dtype=np.float64)
    except ValueError as error:
        name = given.metadata or given.file
        raise DatasetError(f"duration_s is no number ({error})", name=name) from error
    if np.isnan(found["duration_s"]).all():
        del found["duration_s"]
    return found


def _rows(evidence: Evidence, file: str) -> dict[str, dict[str, str]]:
    try:
        with open(evidence.root / file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            if "id" not in (reader.fieldnames or []):
                raise DatasetError("has no column id", name=file)
            return {row["id"]: row for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot be read as CSV: {error}", name=file) from error


def duration_bins(edges_s: tuple[float, ...]) -> Iterator[tuple[str, float, float]]:
    """Yield name and ends of each bin of durations: below the first edge, ..., from the last on."""
    for low, high in pairwise((0.0, *edges_s, float("inf"))):
        yield f"{low:g}-{high:g} s" if high < float("inf") else f">= {low:g} s", low, high
