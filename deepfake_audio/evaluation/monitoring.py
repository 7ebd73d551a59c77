"""A day's reports against a reference: what has shifted, and which recordings to listen to.

Nobody tells a detector in service which of its verdicts were right. What can be seen without
labels is whether what comes in, and what is said about it, is still what it was. A p-value says
whether chance explains a shift, taking recordings for independent: many of one call or one speaker
are not, and then chance explains more.

Reports know no language. Where it was kept beside them, its mix is compared too; where not, a
change of languages shows only in scores and novelty.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import DatasetError
from ..report import Verdict, printable
from .report_files import FAILED, ReportRow
from .reviewing import Candidate, Reviewing
from .shifts import Difference, holm, mix_shift, number_shift

SCHEMA = "deepfake_audio.monitoring/1"

MIN_SHIFT = 0.1
"""Smallest shift of a distribution that counts; for a single share it is half of that."""

MAX_P = 0.01
"""Largest p-value that counts, corrected for the number of comparisons (Holm, 1979)."""

NUMBERS = ("llr_synthetic", "novelty", "duration_s", "speech_s")
"""Numbers of a report that are compared as distributions."""

MIXES = ("verdict", "format", "sample_rate_hz", "channels")
"""Properties of a report that are compared as mixes."""


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
    properties: dict[str, Counter[Hashable]] = field(default_factory=dict)
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
        for name, text in row.properties.items():
            self.properties.setdefault(name, Counter())[text] += 1
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
    p_values = holm([difference.p_value for _, difference in found])
    shifts = []
    for (what, (shift, psi, _, words)), p in zip(found, p_values, strict=True):
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
) -> Iterator[tuple[str, Difference]]:
    """Yield each comparison that can be made, with its name."""
    for name in NUMBERS:
        old, new = (np.asarray(p.numbers[name], dtype=np.float64) for p in (before, now))
        if old.size and new.size:
            yield name, number_shift(old, new)
    for name in MIXES:
        if before.mixes[name] and now.mixes[name]:
            yield name, mix_shift(before.mixes[name], now.mixes[name], rng)
    for name in sorted(before.properties.keys() & now.properties.keys()):
        shift = mix_shift(before.properties[name], now.properties[name], rng)
        yield f"metadata.{name}", shift
    told = all(population.numbers["novelty"] for population in (before, now))
    for name in sorted(before.shares | now.shares):
        if name == "unknown_source" and not told:
            continue
        one, other = ({True: p.shares[name], False: p.size - p.shares[name]} for p in (before, now))
        words = f"{100 * one[True] / before.size:.1f} % -> {100 * other[True] / now.size:.1f} %"
        yield f"share of {name}", mix_shift(one, other, rng)._replace(words=words)


def _notes(before: Population, now: Population) -> Iterator[str]:
    if set(before.models) != set(now.models):
        yield "the models differ: scores, verdicts and novelty cannot be compared"
    if set(before.policies) != set(now.policies):
        yield "the policies differ: verdicts cannot be compared"
    for population, name in ((before, "reference"), (now, "current")):
        if population.models and not population.numbers["novelty"]:
            yield f"the {name} reports state no novelty"
    for what in sorted(before.properties.keys() ^ now.properties.keys()):
        name = "current" if what in before.properties else "reference"
        yield f"the metadata of the {name} reports state no {what}"


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
