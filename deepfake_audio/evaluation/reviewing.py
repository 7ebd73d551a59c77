"""Which of many recordings to listen to: the novel, the close calls, and some by lot."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from ..report import Verdict
from .report_files import FAILED, ReportRow


@dataclass(frozen=True)
class Candidate:
    """A recording that is worth listening to.

    Attributes
    ----------
    why : {"novel", "near threshold", "random"}
    name, where : str
        Of the recording, and file and line of its report.
    verdict : str
    p_synthetic, novelty : float or None
    """

    why: str
    name: str
    where: str
    verdict: str
    p_synthetic: float | None
    novelty: float | None


class _Best:
    """The rows of highest rank among many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[float, int, ReportRow]] = []
        self._seen = 0

    def offer(self, rank: float, row: ReportRow) -> None:
        self._seen += 1
        heapq.heappush(self._heap, (rank, -self._seen, row))
        if len(self._heap) > self._count:
            heapq.heappop(self._heap)

    def __iter__(self) -> Iterator[ReportRow]:
        return (row for *_, row in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


class Reviewing:
    """Chooses what to listen to: a third novel, a third near the threshold, the rest by lot.

    Novel ones are those with the highest novelty among recordings that were let pass; what was
    flagged is looked at anyway.

    Parameters
    ----------
    count : int
        How many to choose.
    seed : int
        Of the lot.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        self._count = count
        self._lot = random.Random(seed)
        self._best = {why: _Best(count) for why in ("novel", "near threshold", "random")}

    def offer(self, row: ReportRow) -> None:
        """Take in one report."""
        if row.verdict in (FAILED, Verdict.INCONCLUSIVE):
            return
        self._best["random"].offer(self._lot.random(), row)
        if row.novelty is not None and row.verdict != Verdict.LIKELY_SYNTHETIC:
            self._best["novel"].offer(row.novelty, row)
        if row.p_synthetic is not None and row.threshold is not None:
            apart = _log_odds(row.p_synthetic) - _log_odds(row.threshold)
            self._best["near threshold"].offer(-abs(apart), row)

    def chosen(self) -> tuple[Candidate, ...]:
        """Return each recording once, for the first reason that it was chosen for."""
        taken: dict[str, Candidate] = {}
        third = -(-self._count // 3)
        for why, room in (("novel", third), ("near threshold", third), ("random", self._count)):
            for row in self._best[why]:
                if len(taken) == self._count or not room:
                    break
                if row.where not in taken:
                    taken[row.where] = Candidate(
                        why, row.name, row.where, row.verdict, row.p_synthetic, row.novelty
                    )
                    room -= 1
        return tuple(taken.values())


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))
