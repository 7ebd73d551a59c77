"""Section 3: what is above its target, what became of it, and what nobody knows."""

from __future__ import annotations

from typing import Any

from .document import Block, Given, Line, Number, Paragraph, Section, Table, Words
from .evidence import Ref
from .findings import CLOSED, Judged
from .gaps import Gap
from .material import Material
from .rates import figure, form_of, group_of
from .texts import Texts

_TONES = {"high": "bad", "medium": "bad", "low": "quiet"}


def risks_section(found: Material, texts: Texts) -> Section:
    """Build the section."""
    few = [judged for judged in found.judged if not judged.enough]
    unproven = [judged for judged in found.judged if judged.unproven]
    return Section(
        texts["title.risks"],
        sections=(
            Section(texts["title.findings"], _findings(found, texts)),
            Section(texts["title.log"], _log(found, texts)),
            Section(
                texts["title.unproven"],
                (Paragraph(texts.words("text.unproven")), *_listed(found, unproven, texts)),
            ),
            Section(texts["title.few"], _listed(found, few, texts)),
            Section(texts["title.gaps"], _gaps(found, texts)),
        ),
    )


def _name(values: dict[str, Any], place: Ref, texts: Texts) -> Line:
    """Return what a cell is of: measure, axis and group."""
    colon = Words(texts["colon"])
    axis = texts.words(f"axis.{values['axis']}")
    group = group_of(values["axis"], values["group"], place, texts)
    name: Line = (*texts.words(f"measure.{values['measure']}"), colon, *axis)
    return (*name, Words(texts["comma"]), *group)


def _findings(found: Material, texts: Texts) -> tuple[Block, ...]:
    place = found.log.ref / "findings"
    rows = []
    for i, finding in enumerate(found.findings["findings"]):
        if finding["state"] == CLOSED:
            continue
        at, last = place / i, len(finding["measurements"]) - 1
        measured = finding["measurements"][last]
        spot = at / "measurements" / last
        target = Number(measured["target"], form_of(finding["measure"]), spot / "target")
        state = texts.words(f"state.{finding['state']}", "bad")
        if not finding["measured_now"]:
            state = (*state, Words(texts["comma"]), *texts.words("state.not_now", "quiet"))
        grave = texts.words(f"severity.{finding['severity']}", _TONES[finding["severity"]])
        rows.append(
            (
                (Given(finding["number"], at / "number"),),
                _name(finding, at, texts),
                (*grave, Words(texts["comma"]), *state),
                (
                    *figure(measured, finding["measure"], spot, texts),
                    *texts.say("text.target", target=target),
                ),
                (Given(measured["evidence"], spot / "evidence", code=True),),
                _suggestion(finding, at, texts),
                *_care(finding, at, texts),
            )
        )
    if not rows:
        return (Paragraph(texts.words("text.findings_none", "good")),)
    names = ("number", "finding", "severity", "measured", "evidence", "suggestion", "owner", "due")
    header = tuple(texts[f"column.{name}"] for name in names)
    table = Table(header, tuple(rows), (4, 13, 7, 10, 10, 15, 8, 7))
    return Paragraph(texts.words("text.findings")), table


def _suggestion(finding: dict[str, Any], place: Ref, texts: Texts) -> Line:
    """Return what the operator plans, else what helps against such errors in general."""
    if finding["plan"] is not None:
        return texts.given(finding["plan"], place / "plan")
    special = f"suggest.{finding['measure']}_{finding['axis']}"
    return texts.words(special if texts.has(special) else f"suggest.{finding['measure']}")


def _care(finding: dict[str, Any], place: Ref, texts: Texts) -> tuple[Line, Line]:
    """Return who sees to a finding, and until when."""
    owner, due = finding["owner"], finding["due"]
    who = (Given(owner, place / "owner"),) if owner else texts.missing("not_assigned")
    when = (Given(due, place / "due"),) if due else texts.missing("not_assigned")
    return who, when


def _log(found: Material, texts: Texts) -> tuple[Block, ...]:
    place = found.log.ref / "findings"
    rows = []
    for i, finding in enumerate(found.findings["findings"]):
        for k, measured in enumerate(finding["measurements"]):
            at = place / i / "measurements" / k
            form = form_of(finding["measure"])
            threshold: Line = ()
            if measured["threshold"] is not None:
                threshold = (Number(measured["threshold"], "plain", at / "threshold"),)
            tone = "good" if measured["state"] == CLOSED else "bad"
            rows.append(
                (
                    (Given(finding["number"], place / i / "number"),),
                    _name(finding, place / i, texts) if k == 0 else (),
                    texts.words(f"state.{measured['state']}", tone),
                    (Given(measured["recorded_at"], at / "recorded_at"),),
                    (Given(measured["measured_at"], at / "measured_at"),),
                    figure(measured, finding["measure"], at, texts),
                    (Number(measured["target"], form, at / "target"),),
                    threshold,
                    (Given(measured["evidence_sha256"], at / "evidence_sha256", code=True),),
                )
            )
    if not rows:
        return (Paragraph(texts.words("text.log_none")),)
    names = ("number", "finding", "state", "recorded", "date", "measured", "target", "threshold")
    header = tuple(texts[f"column.{name}"] for name in (*names, "evidence"))
    table = Table(header, tuple(rows), (4, 12, 5, 8, 8, 9, 5, 6, 11))
    return Paragraph(texts.words("text.log")), table


def _listed(found: Material, some: list[Judged], texts: Texts) -> tuple[Block, ...]:
    rows = []
    for judged in some:
        cell, place = judged.cell, found.place(judged)
        values = {"value": cell.value, "low": cell.low, "high": cell.high}
        n: Line = () if cell.n is None else (Number(cell.n, "count", place / "n"),)
        target = (Number(judged.target, form_of(cell.measure), place / "target"),)
        name = _name(
            {"measure": cell.measure, "axis": cell.axis, "group": cell.group}, place, texts
        )
        rows.append((name, n, figure(values, cell.measure, place, texts), target))
    if not rows:
        return (Paragraph(texts.words("text.nothing")),)
    header = tuple(texts[f"column.{name}"] for name in ("what", "n", "measured", "target"))
    return (Table(header, tuple(rows), (7, 2, 4, 2)),)


def _gaps(found: Material, texts: Texts) -> tuple[Block, ...]:
    rows = tuple(
        (_what(gap, texts), _why(gap, found.cells.ref / "gaps" / i, texts))
        for i, gap in enumerate(found.gaps)
    )
    if not rows:
        return (Paragraph(texts.words("text.nothing", "good")),)
    return (Table((texts["column.gap"], texts["column.why"]), rows, (3, 4)),)


def _what(gap: Gap, texts: Texts) -> Line:
    file = () if gap.source is None else (Given(gap.source.path, gap.source.about("path")),)
    if gap.what == "file":
        return file
    values = {"file": file[0]} if file else {}
    topic = Words(texts[gap.topic]) if gap.topic else Words("")
    return texts.say(f"gap.{gap.what}", topic=topic, axis=topic, **values)


def _why(gap: Gap, place: Ref, texts: Texts) -> Line:
    values = {}
    if gap.source is not None:
        values["file"] = Given(gap.source.path, gap.source.about("path"))
    if gap.detail is not None:
        values["detail"] = Given(gap.detail, place / "detail")
    return texts.say(f"why.{gap.why}", **values)
