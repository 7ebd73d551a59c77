"""A day's reports against a reference: what has shifted, and which recordings to listen to.

Nobody tells a detector in service which of its verdicts were right. What can be seen without
labels is whether what comes in, and what is said about it, is still what it was. Numbers are held
against each other by the two-sample Kolmogorov-Smirnov statistic, mixes by the share that has
moved (total variation); both lie between 0 and 1 and are called ``shift`` here. A p-value says
whether chance explains it, taking recordings for independent: many of one call or one speaker are
not, and then chance explains more.

Reports know no language, so that a change of languages shows only in scores and novelty.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..report import Verdict, printable
from .report_files import FAILED, ReportRow

SCHEMA = "deepfake_audio.monitoring/1"

MIN_SHIFT = 0.1
"""Smallest shift of a distribution that counts; for a single share it is half of that."""

MAX_P = 0.01
"""Largest p-value that counts, corrected for the number of comparisons (Holm, 1979)."""

NUMBERS = ("llr_synthetic", "novelty", "duration_s", "speech_s")
"""Numbers of a report that are compared as distributions."""

MIXES = ("verdict", "format", "sample_rate_hz", "channels")
"""Properties of a report that are compared as mixes."""

_PERMUTATIONS = 9_999
_PSI_BINS = 10
_KINDS_SHOWN = 3
_MAX_KINDS = 50  # of a mix; rarer ones count as one

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """One comparison.

    Attributes
    ----------
    what : str
        Name of the number, of the mix, or of the share (``share of ...``).
    shift : float
        Between 0 and 1: largest difference of two cumulative distributions, share of a mix that
        moved, or difference of two shares.
    psi : float
        Population stability index: over tenths of the reference for numbers. Often read as small
        below 0.1 and large above 0.25.
    p_value : float
        Of so large a shift by chance, corrected for the number of comparisons.
    shifted : bool
        Whether it is large and no chance.
    words : str
        From what to what.
    """

    what: str
    shift: float
    psi: float
    p_value: float
    shifted: bool
    words: str


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


@dataclass(frozen=True)
class Monitoring:
    """What a comparison found.

    Attributes
    ----------
    reference, current : dict
        Number of reports, and models and policies behind them.
    shifts : tuple of Shift
        All comparisons, the largest shift first.
    notes : tuple of str
        What makes the two hard to compare.
    review : tuple of Candidate
        Recordings of the current reports to listen to.
    min_shift : float
        Smallest shift of a distribution that counted.
    """

    reference: dict[str, Any]
    current: dict[str, Any]
    shifts: tuple[Shift, ...]
    notes: tuple[str, ...]
    review: tuple[Candidate, ...]
    min_shift: float

    @property
    def drift(self) -> bool:
        """Whether anything has shifted."""
        return any(shift.shifted for shift in self.shifts)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        values = {"schema": SCHEMA, "drift": self.drift, "max_p": MAX_P, **asdict(self)}
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)


@dataclass
class Population:
    """What is kept of many reports: numbers and counts, however many they are."""

    size: int = 0
    numbers: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("f") for name in NUMBERS}
    )
    mixes: dict[str, Counter[Hashable]] = field(
        default_factory=lambda: {name: Counter() for name in MIXES}
    )
    shares: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)

    def add(self, row: ReportRow) -> None:
        """Take in one report."""
        self.size += 1
        for name, numbers in self.numbers.items():
            if (value := getattr(row, name)) is not None:
                numbers.append(value)
        for name, mix in self.mixes.items():
            if row.verdict != FAILED and (value := getattr(row, name)) is not None:
                mix[value] += 1
        self.shares.update(row.warnings)
        if row.verdict in (FAILED, Verdict.INCONCLUSIVE):
            self.shares[str(row.verdict)] += 1
        if row.verdict != FAILED:
            self.models[row.model] += 1
            self.policies[row.policy] += 1

    def to_dict(self) -> dict[str, Any]:
        """Return its size and what it was made by, as plain JSON types."""
        return {
            "reports": self.size,
            "models": dict(self.models.most_common()),
            "policies": dict(self.policies.most_common()),
        }


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


def monitor(
    reference: Iterable[ReportRow],
    current: Iterable[ReportRow],
    *,
    sample: int = 20,
    seed: int = 0,
    min_shift: float = MIN_SHIFT,
) -> Monitoring:
    """Compare current reports with those of a reference.

    Parameters
    ----------
    reference, current : iterable of ReportRow
        As from :func:`~deepfake_audio.evaluation.report_files.read_reports`. Read once; a few
        numbers are kept of each.
    sample : int
        Most recordings to propose for review.
    seed : int
        Of what is drawn by lot, here and in the permutation tests.
    min_shift : float
        Smallest shift of a distribution that counts; half of it for a single share.

    Raises
    ------
    DatasetError
        If there are no reports on one side.
    """
    before, now, reviewing = Population(), Population(), Reviewing(sample, seed)
    for row in reference:
        before.add(row)
    for row in current:
        now.add(row)
        reviewing.offer(row)
    for population, name in ((before, "reference"), (now, "current")):
        if not population.size:
            raise DatasetError("there are no reports", name=name, hint="give files that hold some")
    found = list(_compare(before, now, np.random.default_rng(seed)))
    p_values = _holm([p for *_, p, _ in found])
    shifts = []
    for (what, shift, psi, _, words), p in zip(found, p_values, strict=True):
        least = min_shift / 2 if what.startswith("share of") else min_shift
        shifts.append(Shift(what, shift, psi, p, shift >= least and p <= MAX_P, words))
    return Monitoring(
        reference=before.to_dict(),
        current=now.to_dict(),
        shifts=tuple(sorted(shifts, key=lambda s: (not s.shifted, -s.shift))),
        notes=tuple(_notes(before, now)),
        review=reviewing.chosen(),
        min_shift=min_shift,
    )


def _compare(
    before: Population, now: Population, rng: np.random.Generator
) -> Iterator[tuple[str, float, float, float, str]]:
    """Yield what, shift, PSI, p-value and words of each comparison that can be made."""
    from scipy.stats import ks_2samp

    for name in NUMBERS:
        old, new = (np.asarray(p.numbers[name], dtype=np.float64) for p in (before, now))
        if old.size and new.size:
            test = ks_2samp(old, new, method="asymp")
            words = f"median {np.median(old):.3g} -> {np.median(new):.3g}"
            yield name, float(test.statistic), number_psi(old, new), float(test.pvalue), words
    for name in MIXES:
        if before.mixes[name] and now.mixes[name]:
            yield name, *mix_shift(before.mixes[name], now.mixes[name], rng)
    told = all(population.numbers["novelty"] for population in (before, now))
    for name in sorted(before.shares | now.shares):
        if name == "unknown_source" and not told:
            continue
        one, other = ({True: p.shares[name], False: p.size - p.shares[name]} for p in (before, now))
        shift, psi, p_value, _ = mix_shift(one, other, rng)
        words = f"{100 * one[True] / before.size:.1f} % -> {100 * other[True] / now.size:.1f} %"
        yield f"share of {name}", shift, psi, p_value, words


def number_psi(reference: Floats, current: Floats) -> float:
    """Return the population stability index over tenths of the reference."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _PSI_BINS + 1)[1:-1]))
    old, new = (
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=edges.size + 1)
        for x in (reference, current)
    )
    return _psi(old, new)


def mix_shift(
    reference: Mapping[Any, int], current: Mapping[Any, int], rng: np.random.Generator
) -> tuple[float, float, float, str]:
    """Compare two mixes.

    Parameters
    ----------
    reference, current : mapping of kind to int
        How many there are of each kind.
    rng : numpy Generator
        Of the permutations.

    Returns
    -------
    shift, psi, p_value : float
        Share that moved, population stability index, and p-value of a permutation test.
    words : str
        The kinds that moved most.
    """
    pooled_counts = Counter(reference) + Counter(current)
    kinds = sorted((kind for kind, _ in pooled_counts.most_common(_MAX_KINDS)), key=str)
    old, new = (
        np.array([side.get(kind, 0) for kind in kinds], dtype=np.int64)
        for side in (reference, current)
    )
    if len(pooled_counts) > _MAX_KINDS:
        old = np.append(old, sum(reference.values()) - old.sum())
        new = np.append(new, sum(current.values()) - new.sum())
        kinds.append("others")
    moved = new / new.sum() - old / old.sum()
    shift = float(np.abs(moved).sum() / 2)
    # Labels dealt out anew: how many of each kind would the current side get?
    pooled = old + new
    dealt = rng.multivariate_hypergeometric(
        pooled, int(new.sum()), size=_PERMUTATIONS, method="marginals"
    )
    by_chance = np.abs(dealt / new.sum() - (pooled - dealt) / old.sum()).sum(1) / 2
    p_value = float((1 + np.count_nonzero(by_chance >= shift - 1e-12)) / (1 + _PERMUTATIONS))
    most = np.argsort(-np.abs(moved), kind="stable")[:_KINDS_SHOWN]
    words = ", ".join(
        f"{kinds[i]} {100 * old[i] / old.sum():.0f} % -> {100 * new[i] / new.sum():.0f} %"
        for i in most
    )
    return shift, _psi(old, new), p_value, words


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


def _psi(old: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    # Half a recording more of each kind: what is missing on one side must not cost infinity.
    one, other = ((x + 0.5) / (x.sum() + 0.5 * x.size) for x in (old, new))
    return float(((other - one) * np.log(other / one)).sum())


def _holm(p_values: list[float]) -> list[float]:
    """Correct p-values for their number."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.minimum(np.maximum.accumulate(np.array(p_values)[order] * factors), 1.0)
    back = np.empty(len(p_values))
    back[order] = corrected
    return [float(p) for p in back]


def _notes(before: Population, now: Population) -> Iterator[str]:
    if set(before.models) != set(now.models):
        yield "the models differ: scores, verdicts and novelty cannot be compared"
    if set(before.policies) != set(now.policies):
        yield "the policies differ: verdicts cannot be compared"
    for population, name in ((before, "reference"), (now, "current")):
        if population.models and not population.numbers["novelty"]:
            yield f"the {name} reports state no novelty"


def monitoring_table(found: Monitoring) -> str:
    """Return a comparison as text."""
    old, new = found.reference["reports"], found.current["reports"]
    lines = [f"{new:,} reports against {old:,} of the reference"]
    lines += [f"note: {note}" for note in found.notes]
    shifted = [shift for shift in found.shifts if shift.shifted]
    lines.append("")
    if not shifted:
        lines.append("nothing has shifted")
    lines += [f"shifted: {printable(s.what)}: {printable(s.words)}" for s in shifted]
    lines += ["", "| what | shift | PSI | p | from -> to |", "|---|---:|---:|---:|---|"]
    lines += [
        f"| {_cell(s.what)}{' *' if s.shifted else ''} | {s.shift:.3f} | {s.psi:.3f} | "
        f"{_p(s.p_value)} | {_cell(s.words)} |"
        for s in found.shifts
    ]
    least = found.min_shift
    lines.append(
        f"\n* shift of at least {least:g} ({least / 2:g} for a share) and p at most {MAX_P:g}, "
        "corrected for the number of comparisons"
    )
    if found.review:
        lines += ["", "to listen to:", "", "| why | verdict | p | novelty | name | report |"]
        lines.append("|---|---|---:|---:|---|---|")
        lines += [
            f"| {c.why} | {c.verdict} | {_number(c.p_synthetic)} | {_number(c.novelty)} | "
            f"{_cell(c.name)} | {_cell(c.where)} |"
            for c in found.review
        ]
    return "\n".join(lines)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
