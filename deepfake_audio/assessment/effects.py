"""Section 2: measures, and what was measured of how well they work."""

from __future__ import annotations

from collections.abc import Iterator

from . import charts
from .cells import AXES, DRILL
from .document import Block, Given, Inline, Line, Number, Paragraph, Section, Table, Words
from .evidence import Ref, Source
from .material import Material
from .rates import form_of, group_of, rate_cells, rates_table
from .texts import Texts

_AT_THRESHOLD = ("genuine_flagged", "synthetic_not_flagged")
_PERCENTILES = ("p50", "p95", "p99", "max")


def effects_section(found: Material, texts: Texts) -> Section:
    """Build the section."""
    return Section(
        texts["title.measures"],
        sections=(
            Section(texts["title.errors"], tuple(_errors(found, texts))),
            Section(texts["title.robustness"], tuple(_robustness(found, texts))),
            Section(texts["title.drill"], tuple(_drill(found, texts))),
            Section(texts["title.abstention"], _plain(found, texts, "abstention")),
            Section(texts["title.outcomes"], _outcomes(found, texts)),
            Section(texts["title.reviews"], _reviews(found, texts)),
            Section(texts["title.latency"], _latency(found, texts)),
            Section(texts["title.drift"], _drift(found, texts)),
            Section(texts["title.audit"], _audit(found, texts)),
        ),
    )


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
    if (curve := charts.trade_off(found, texts)) is not None:
        yield curve
    for axis in AXES:
        if axis == DRILL:
            continue
        if table := rates_table(found, axis, texts):
            yield from charts.rates(found, axis, texts)
            yield table
        elif f"axis.{axis}" in wanted:
            colon = Words(texts["colon"])
            yield Paragraph((*texts.words(f"axis.{axis}"), colon, *texts.missing("not_measured")))


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
        yield charts.heat_map(found, source, texts)
        rows = []
        values = found.read(source.ref)
        for i, row in enumerate(values["rows"]):
            place = source.ref / "rows" / i
            cells: list[Line] = [(Given(row["condition"], place / "condition"),)]
            in_force = charts.in_force(found, values, i)
            for key, form, _ in columns:
                said = row[key]
                cells.append(
                    texts.missing("not_measured")
                    if said is None or (key in _AT_THRESHOLD and not in_force)
                    else (Number(said, form, place / key),)
                )
            rows.append(tuple(cells))
        yield Table(header, tuple(rows), (4, 3, 3, 2, 3, 3, 2))


def _drill(found: Material, texts: Texts) -> Iterator[Block]:
    if not found.drills:
        yield Paragraph(texts.missing("no_evidence"))
        return
    yield Paragraph(texts.words("text.drill"))
    for source in found.drills:
        yield from _one_drill(found, source, texts)
    yield from charts.rates(found, DRILL, texts)
    if table := rates_table(found, DRILL, texts):
        yield table


def _one_drill(found: Material, source: Source, texts: Texts) -> Iterator[Block]:
    """Say what one drill was made of, and what it has not tried."""
    values, about, counts = found.read(source.ref), source.ref / "about", source.ref / "counts"
    numbers = {
        name: Number(count, "count", counts / name) for name, count in values["counts"].items()
    }
    given: dict[str, Inline] = {
        "made_at": Given(values["about"]["made_at"], about / "made_at"),
        "seed": Number(values["about"]["seed"], "digits", about / "seed"),
        "deployment": Given(values["about"]["deployment"], about / "deployment", code=True),
    }
    yield Paragraph(texts.say("text.drill_made", **given, **numbers))
    rows: list[tuple[Line, ...]] = []
    for i, tool in enumerate(values["tools"]):
        at = source.ref / "tools" / i
        names: tuple[Line, ...] = tuple(
            (Given(tool[key], at / key),) for key in ("name", "kind", "version")
        )
        rows.append((*names, (Number(tool["recordings"], "count", at / "recordings"),)))
    header = tuple(texts[f"column.{name}"] for name in ("name", "kind", "version", "n"))
    if rows:
        yield Table(header, tuple(rows), (4, 3, 4, 2))
    skipped: list[tuple[Line, ...]] = []
    for i, each in enumerate(values["skipped"]):
        at = source.ref / "skipped" / i
        skipped.append(((Given(each["what"], at / "what"),), (Given(each["why"], at / "why"),)))
    if skipped:
        header = (texts["column.what"], texts["column.why"])
        yield Table(header, tuple(skipped), (4, 9), texts.words("text.drill_skipped"))


def _plain(found: Material, texts: Texts, *measures: str) -> tuple[Block, ...]:
    """Return all cells of some measures, one a row."""
    rows = []
    for judged in found.judged:
        cell, place = judged.cell, found.place(judged)
        if cell.measure not in measures:
            continue
        where = texts.words(f"axis.{cell.axis}")
        group = (*where, Words(texts["colon"]), *group_of(cell.axis, cell.group, place, texts))
        n, measured, state = rate_cells(found, judged, texts)
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
