"""Section 2: measures, and what was measured of how well they work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cells import AXES, ERRORS, is_threshold
from .document import Block, Given, Line, Number, Paragraph, Section, Table, Words
from .evidence import Ref, Source
from .findings import Judged
from .material import Material
from .texts import Texts

_RATES = (*ERRORS, "abstention", "failure", "disagreement")
_AT_THRESHOLD = ("genuine_flagged", "synthetic_not_flagged")
_PERCENTILES = ("p50", "p95", "p99", "max")
_NAMED_GROUPS = ("all", "service", "labelled", "reports", "chain")


def effects_section(found: Material, texts: Texts) -> Section:
    """Build the section."""
    return Section(
        texts["title.measures"],
        sections=(
            Section(texts["title.errors"], tuple(_errors(found, texts))),
            Section(texts["title.robustness"], tuple(_robustness(found, texts))),
            Section(texts["title.abstention"], _plain(found, texts, "abstention")),
            Section(texts["title.outcomes"], _outcomes(found, texts)),
            Section(texts["title.reviews"], _reviews(found, texts)),
            Section(texts["title.latency"], _latency(found, texts)),
            Section(texts["title.drift"], _drift(found, texts)),
            Section(texts["title.audit"], _audit(found, texts)),
        ),
    )


def form_of(measure: str) -> str:
    """Return how the values of a measure are written."""
    return "percent" if measure in _RATES else "seconds" if measure.endswith("_s") else "count"


def figure(values: dict[str, Any], measure: str, place: Ref, texts: Texts) -> Line:
    """Return a value and its interval, as they stand at a place."""
    form = form_of(measure)
    number = Number(values["value"], form, place / "value")
    if values["low"] is None:
        return (number,)
    ends = {end: Number(values[end], form, place / end) for end in ("low", "high")}
    return texts.say("interval", value=number, **ends)


def group_of(axis: str, group: str, place: Ref, texts: Texts) -> Line:
    """Return the name of a group."""
    if group in _NAMED_GROUPS and axis == "overall":
        return texts.words(f"group.{group}")
    return (Given(group, place / "group"),)


def state_of(judged: Judged, texts: Texts) -> Line:
    """Return how a cell stands to its target, in a word."""
    if not judged.enough:
        return texts.words("state.few", "quiet")
    if judged.above:
        return texts.words("state.above", "bad")
    if judged.unproven:
        return texts.words("state.unproven", "quiet")
    return texts.words("state.under", "good")


def _errors(found: Material, texts: Texts) -> Iterator[Block]:
    point = found.model.ref / "operating_point" / "threshold"
    least = found.given.ref / "targets" / "min_clips"
    yield Paragraph(
        texts.say(
            "text.errors",
            threshold=Number(found.subject.point.threshold, "plain", point),
            min_clips=Number(found.config.targets.min_clips, "count", least),
        )
    )
    wanted = {gap.topic for gap in found.gaps if gap.what == "axis"}
    for axis in AXES:
        if table := _axis(found, axis, texts):
            yield table
        elif f"axis.{axis}" in wanted:
            colon = Words(texts["colon"])
            yield Paragraph((*texts.words(f"axis.{axis}"), colon, *texts.missing("not_measured")))


def _axis(found: Material, axis: str, texts: Texts) -> Table | None:
    """Return both error rates by one axis."""
    groups: dict[str, dict[str, Judged]] = {}
    for judged in found.judged:
        cell = judged.cell
        if cell.axis == axis and cell.measure in ERRORS:
            groups.setdefault(cell.group, {})[cell.measure] = judged
    rows = []
    for group, by_measure in groups.items():
        anchor = found.place(next(iter(by_measure.values())))
        row: list[Line] = [group_of(axis, group, anchor, texts)]
        for measure in ERRORS:
            judged_cell = by_measure.get(measure)
            row += _rate(found, judged_cell, texts) if judged_cell else [(), (), ()]
        rows.append(tuple(row))
    if not rows:
        return None
    header = (
        texts["column.group"], texts["column.n_genuine"], texts["column.genuine"],
        texts["column.state"], texts["column.n_synthetic"], texts["column.synthetic"],
        texts["column.state"],
    )  # fmt: skip
    return Table(header, tuple(rows), (9, 5, 12, 7, 6, 12, 7), texts.words(f"by.{axis}"))


def _rate(found: Material, judged: Judged, texts: Texts) -> list[Line]:
    """Return recordings, rate with interval, and state."""
    cell, place = judged.cell, found.place(judged)
    n: Line = () if cell.n is None else (Number(cell.n, "count", place / "n"),)
    values = {"value": cell.value, "low": cell.low, "high": cell.high}
    return [n, figure(values, cell.measure, place, texts), state_of(judged, texts)]


def _robustness(found: Material, texts: Texts) -> Iterator[Block]:
    if not found.robustness:
        yield Paragraph(texts.missing("no_evidence"))
        return
    yield Paragraph(texts.words("text.robustness"))
    columns = (
        ("pooled_eer", "percent", "eer"), ("page_macro_eer", "percent", "page_eer"),
        ("cllr", "plain", "cllr"), ("genuine_flagged", "percent", "flagged"),
        ("synthetic_not_flagged", "percent", "missed"),
        ("without_score", "count", "without_score"),
    )  # fmt: skip
    header = texts["column.condition"], *(texts[f"column.{name}"] for *_, name in columns)
    for source in found.robustness:
        rows = []
        values = found.read(source.ref)
        for i, row in enumerate(values["rows"]):
            place = source.ref / "rows" / i
            cells: list[Line] = [(Given(row["condition"], place / "condition"),)]
            # Rows state the rates of the first policy, which may be another than the one in force.
            policies = values["evaluations"][i]["policies"]
            in_force = policies and is_threshold(policies[0], found.subject.point.threshold)
            for key, form, _ in columns:
                said = row[key]
                cells.append(
                    texts.missing("not_measured")
                    if said is None or (key in _AT_THRESHOLD and not in_force)
                    else (Number(said, form, place / key),)
                )
            rows.append(tuple(cells))
        yield Table(header, tuple(rows), (4, 3, 3, 2, 3, 3, 2))


def _plain(found: Material, texts: Texts, *measures: str) -> tuple[Block, ...]:
    """Return all cells of some measures, one a row."""
    rows = []
    for judged in found.judged:
        cell, place = judged.cell, found.place(judged)
        if cell.measure not in measures:
            continue
        where = texts.words(f"axis.{cell.axis}")
        group = (*where, Words(texts["colon"]), *group_of(cell.axis, cell.group, place, texts))
        n, measured, state = _rate(found, judged, texts)
        target = (Number(judged.target, form_of(cell.measure), place / "target"),)
        rows.append((group, n, measured, target, state))
    if not rows:
        return (Paragraph(texts.missing("no_evidence")),)
    names = ("group", "n", "measured", "target", "state")
    return (Table(tuple(texts[f"column.{name}"] for name in names), tuple(rows), (5, 2, 4, 2, 3)),)


def _outcomes(found: Material, texts: Texts) -> tuple[Block, ...]:
    if found.service is None:
        return (Paragraph(texts.missing("no_evidence")),)
    place = found.service.ref / "detections" / "groups"
    groups = found.read(place)
    rows = []
    for surface, group in groups.items():
        at = place / surface
        rows.append(
            (
                _surface(surface, at, texts),
                (Number(group["total"], "count", at / "total"),),
                _counts(group["verdict"], at / "verdict", texts),
                _counts(group["action"], at / "action", texts),
                (Number(group["status"]["failed"], "count", at / "status" / "failed"),)
                if "failed" in group["status"]
                else texts.words("none"),
            )
        )
    names = ("surface", "total", "verdicts", "actions", "failed")
    table = Table(tuple(texts[f"column.{name}"] for name in names), tuple(rows), (2, 2, 5, 4, 2))
    return table, *_plain(found, texts, "failure")


def _surface(surface: str, place: Ref, texts: Texts) -> Line:
    return texts.words("group.all") if surface == "all" else (Given(surface, place.name),)


def _counts(counts: dict[str, int], place: Ref, texts: Texts) -> Line:
    """Return names and numbers, one after the other."""
    line: Line = ()
    for name, count in counts.items():
        before = (Words(texts["comma"]),) if line else ()
        at = place / name
        line += (*before, Given(name, at.name), Words(" "), Number(count, "count", at))
    return line


def _reviews(found: Material, texts: Texts) -> tuple[Block, ...]:
    if found.service is None:
        return (Paragraph(texts.missing("no_evidence")),)
    place = found.service.ref / "reviews"
    groups = found.read(place)
    if not any(group["decided"] for group in groups.values()):
        return (Paragraph(texts.words("text.reviews_none")),)
    names = ("decided", "agree", "contradict", "undecided", "open")
    rows = tuple(
        (
            _surface(surface, place / surface, texts),
            *((Number(group[name], "count", place / surface / name),) for name in names),
        )
        for surface, group in groups.items()
    )
    header = tuple(texts[f"column.{name}"] for name in ("surface", *names))
    table = Table(header, rows, (3, 2, 2, 2, 2, 2))
    note = Paragraph(texts.words("text.service_reviews"))
    return (
        note,
        table,
        _reviewers(found.service, found, texts),
        *_plain(found, texts, "disagreement"),
    )


def _reviewers(source: Source, found: Material, texts: Texts) -> Paragraph:
    """Say how often people agreed with each other."""
    place = source.ref / "reviewers"
    counts = found.read(place)
    if not counts["recordings"]:
        return Paragraph(texts.words("text.reviewers_none"))
    numbers = {name: Number(counts[name], "count", place / name) for name in counts}
    return Paragraph(texts.say("text.reviewers", **numbers))


def _latency(found: Material, texts: Texts) -> tuple[Block, ...]:
    if found.service is None:
        return (Paragraph(texts.missing("no_evidence")),)
    place = found.service.ref / "detections" / "groups"
    rows: list[tuple[Line, ...]] = []
    for surface, group in found.read(place).items():
        if latency := group["latency_s"]:
            at = place / surface / "latency_s"
            n: Line = (Number(latency["n"], "count", at / "n"),)
            rest = ((Number(latency[key], "seconds", at / key),) for key in _PERCENTILES)
            rows.append((_surface(surface, place / surface, texts), n, *rest))
    if not rows:
        return (Paragraph(texts.missing("not_measured")),)
    names = ("surface", "n", "median", "p95", "p99", "max")
    header = tuple(texts[f"column.{name}"] for name in names)
    table = Table(header, tuple(rows), (3, 2, 2, 2, 2, 2))
    return table, *_plain(found, texts, "latency_p95_s")


def _drift(found: Material, texts: Texts) -> tuple[Block, ...]:
    source = found.drift
    if source is None:
        return (Paragraph(texts.missing("no_evidence")),)
    facts, place = found.read(source.ref), source.ref
    numbers = {
        "n": Number(facts["current"]["reports"], "count", place / "current" / "reports"),
        "reference": Number(
            facts["reference"]["reports"], "count", place / "reference" / "reports"
        ),
    }
    cell = next(judged for judged in found.judged if judged.cell.measure == "drift")
    if cell.cell.value:
        numbers["shifted"] = Number(cell.cell.value, "count", found.place(cell) / "value")
    said = Paragraph(texts.say("text.drift" if cell.cell.value else "text.drift_none", **numbers))
    rows: list[tuple[Line, ...]] = []
    for i, shift in enumerate(facts["shifts"]):
        at = place / "shifts" / i
        tone = "bad" if shift["shifted"] else "good"
        rows.append(
            (
                (Given(shift["what"], at / "what"),),
                *((Number(shift[key], "plain", at / key),) for key in ("shift", "psi", "p_value")),
                texts.words("yes" if shift["shifted"] else "no", tone),
                (Given(shift["words"], at / "words"),),
            )
        )
    header = tuple(
        texts[f"column.{name}"] for name in ("what", "shift", "psi", "p", "shifted", "words")
    )
    return said, Table(header, tuple(rows), (4, 2, 2, 2, 2, 6))


def _audit(found: Material, texts: Texts) -> tuple[Block, ...]:
    if found.service is None:
        return (Paragraph(texts.missing("no_evidence")),)
    place = found.service.ref / "audit"
    audit = found.read(place)
    events = Number(audit["events"], "count", place / "events")
    if audit["ok"]:
        head = Given(audit["head"], place / "head", code=True)
        said = texts.say("text.audit_ok", events=events, head=head)
    else:
        fault = Given(audit["fault"], place / "fault")
        said = texts.say("text.audit_bad", events=events, fault=fault)
    blocks = [Paragraph(said)]
    if audit["expected"] is not None and audit["ok"]:
        expected = Given(audit["expected"], place / "expected", code=True)
        blocks.append(Paragraph(texts.say("text.audit_expected", expected=expected)))
    return tuple(blocks)
