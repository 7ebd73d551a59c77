"""The same figures for each system, family, language, channel and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import MIN_PAGE_CLIPS, eer
from .table import ScoreTable

ATTRIBUTES = ("family", "system", "source", "language", "channel")

_OF_SPOOFS = ("family", "system")  # attributes that genuine speech does not have


@dataclass(frozen=True)
class BreakdownRow:
    """One group of clips.

    Attributes
    ----------
    group : str
        Value of the attribute.
    n_bonafide, n_spoof : int
        Clips of the group that have a score.
    eer : float or None
        Equal error rate of the group's clips against ``against``; None with fewer than
        ``MIN_PAGE_CLIPS`` clips of a label.
    against : str
        ``group`` where the group holds enough clips of both labels, else ``all genuine`` or
        ``all spoof``.
    eer_same_source : float or None
        The group's spoofs against the genuine clips of the sources they came from, where
        recording conditions give less away.
    fpr, fnr : float or None
        Share of the group's genuine clips flagged, and of its spoofs not flagged, at the
        threshold of the policy.
    hter : float or None
        Mean of both, where the group has clips of both labels.
    """

    group: str
    n_bonafide: int
    n_spoof: int
    eer: float | None
    against: str
    eer_same_source: float | None
    fpr: float | None
    fnr: float | None
    hter: float | None


def break_down(table: ScoreTable, attribute: str, threshold: float | None) -> list[BreakdownRow]:
    """Break figures down by a column of the table.

    Parameters
    ----------
    table : ScoreTable
        Clips without a score or without a value of the attribute are left out; copies by a
        codec count as spoofs only within a group of their own.
    attribute : str
        One of :data:`ATTRIBUTES`, or another text column.
    threshold : float or None
        On ``p_synthetic``, for ``fpr`` and ``fnr``.

    Returns
    -------
    list of BreakdownRow
        Largest group first.
    """
    table = table.select(table.has_score)
    values, bona = getattr(table, attribute), table.is_bonafide
    codec = table.family == "codec"
    counted = (values != "") & ~(codec & ~bona) if attribute not in _OF_SPOOFS else values != ""
    counted &= ~bona if attribute in _OF_SPOOFS else True
    rows = [
        _row(table, str(value), counted & (values == value), ~bona & ~codec, threshold)
        for value in np.unique(values[counted])
    ]
    return sorted(rows, key=lambda row: (-row.n_bonafide - row.n_spoof, row.group))


def _row(
    table: ScoreTable,
    group: str,
    members: NDArray[np.bool_],
    all_spoof: NDArray[np.bool_],
    threshold: float | None,
) -> BreakdownRow:
    bona = table.is_bonafide
    genuine, fake = members & bona, members & ~bona
    if min(genuine.sum(), fake.sum()) >= MIN_PAGE_CLIPS:
        against, rate = "group", _eer(table, genuine, fake)
    elif fake.sum() >= genuine.sum():
        against, rate = "all genuine", _eer(table, bona, fake)
    else:
        against, rate = "all spoof", _eer(table, genuine, all_spoof)
    named = np.unique(table.source[fake & (table.source != "")])
    same_source = bona & np.isin(table.source, named)
    flagged = None if threshold is None else table.p_synthetic >= threshold
    fpr = None if flagged is None else _share(flagged, genuine)
    fnr = None if flagged is None else _share(~flagged, fake)
    return BreakdownRow(
        group=group,
        n_bonafide=int(genuine.sum()),
        n_spoof=int(fake.sum()),
        eer=rate,
        against=against,
        eer_same_source=_eer(table, same_source, fake),
        fpr=fpr,
        fnr=fnr,
        hter=None if fpr is None or fnr is None else (fpr + fnr) / 2,
    )


def _eer(table: ScoreTable, genuine: NDArray[Any], fake: NDArray[Any]) -> float | None:
    if min(genuine.sum(), fake.sum()) < MIN_PAGE_CLIPS:
        return None
    scores = table.bonafide_score
    return eer(scores[genuine], scores[fake]).value


def _share(flagged: NDArray[Any], among: NDArray[Any]) -> float | None:
    return float(flagged[among].mean()) if among.any() else None
