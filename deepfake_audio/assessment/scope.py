"""Section 1: what is assessed, by whom it is run, and with which model."""

from __future__ import annotations

import dataclasses
from typing import Any

from .document import Block, Given, Line, Number, Paragraph, Section, Table, Words
from .evidence import Ref
from .material import Material
from .texts import Texts

Rows = tuple[tuple[Line, ...], ...]

_PARTS = ("scope", "measures", "risks", "conclusion", "other")


def scope_section(found: Material, texts: Texts) -> Section:
    """Build the section."""
    return Section(
        texts["title.scope"],
        sections=(
            Section(texts["title.basis"], _basis(texts)),
            Section(texts["title.service"], (_statements(found, texts),)),
            Section(texts["title.model"], (_model(found, texts),)),
            Section(texts["title.operating_points"], (_operating_points(found, texts),)),
            Section(texts["title.data_sheet"], (_data_sheet(found, texts),)),
            Section(texts["title.deployment"], _deployment(found, texts)),
            Section(texts["title.controls"], _controls(found, texts)),
        ),
    )


def pairs(texts: Texts, rows: Rows) -> Table:
    """Return a table of names and values."""
    return Table((texts["column.what"], texts["column.value"]), rows, (2, 5))


def value(texts: Texts, said: Any, ref: Ref) -> Line:
    """Return a value of whatever type as it stands in a file."""
    if said is None:
        return texts.missing()
    if isinstance(said, bool):
        return texts.words("yes" if said else "no")
    if isinstance(said, int | float):
        return (Number(said, "count" if isinstance(said, int) else "plain", ref),)
    return (Given(str(said), ref),)


def _basis(texts: Texts) -> tuple[Block, ...]:
    rows = tuple(
        (texts.words(f"requirement.{part}"), texts.words(f"title.{part}")) for part in _PARTS
    )
    header = texts["column.requirement"], texts["column.where"]
    return Paragraph(texts.words("text.basis")), Table(header, rows, (3, 2))


def _statements(found: Material, texts: Texts) -> Table:
    scope, place = found.config.scope, found.given.ref / "scope"
    names = [field.name for field in dataclasses.fields(scope)]
    rows = tuple(
        (texts.words(f"scope.{name}"), texts.given(getattr(scope, name), place / name))
        for name in names
    )
    return pairs(texts, rows)


def _model(found: Material, texts: Texts) -> Table:
    facts, place = found.subject.facts, found.model.ref
    point = place / "operating_point"
    rows: list[tuple[Line, ...]] = [
        (texts.words("model.identity"), (Given(facts["identity"], place / "identity"),)),
        (texts.words("model.sha256"), (Given(facts["sha256"], place / "sha256", code=True),)),
        (
            texts.words("model.parameters"),
            value(texts, facts["parameters"], place / "parameters"),
        ),
        (
            texts.words("model.operating_point"),
            (Given(facts["operating_point"]["name"], point / "name"),),
        ),
    ]
    rows += [
        (
            texts.words(f"model.{text}"),
            (Number(facts["operating_point"][key], "plain", point / key),),
        )
        for text, key in (
            ("threshold", "threshold"),
            ("authentic_below", "authentic_below"),
            ("prior", "prior_synthetic"),
        )
    ]
    for other, why in found.config.model.same_as.items():
        said = found.given.ref / "model" / "same_as" / other
        line = (Given(other, said.name), Words(texts["colon"]), Given(why, said))
        rows.append((texts.words("model.same_as"), line))
    return pairs(texts, tuple(rows))


def _operating_points(found: Material, texts: Texts) -> Table:
    place = found.model.ref / "operating_points"
    rows = []
    for name, point in found.subject.facts["operating_points"].items():
        at = place / name
        numbers: list[Line] = [
            (Number(point[key], form, at / key),)
            if point[key] is not None
            else texts.missing("not_measured")
            for key, form in (
                ("threshold", "plain"), ("authentic_below", "plain"),
                ("expected_fpr", "percent"), ("expected_fnr", "percent"),
            )
        ]  # fmt: skip
        worst: Line = texts.missing("not_measured")
        if point["worst_source"] is not None:
            worst = (
                Given(point["worst_source"], at / "worst_source"),
                Words(texts["comma"]),
                Number(point["worst_source_fpr"], "percent", at / "worst_source_fpr"),
            )
        rows.append(((Given(point["name"], at / "name"),), *numbers, worst))
    header = (
        texts["column.name"], texts["model.threshold"], texts["model.authentic_below"],
        texts["column.fpr"], texts["column.fnr"], texts["column.worst"],
    )  # fmt: skip
    return Table(header, tuple(rows), (3, 3, 3, 3, 3, 5))


def _data_sheet(found: Material, texts: Texts) -> Paragraph:
    sheet = found.data_sheet
    if sheet is None:
        return Paragraph(texts.missing())
    copy = Given(sheet.copy or "", sheet.about("copy"), code=True)
    sha256 = Given(sheet.sha256, sheet.about("sha256"), code=True)
    return Paragraph(texts.say("text.data_sheet", file=copy, sha256=sha256))


def _deployment(found: Material, texts: Texts) -> tuple[Block, ...]:
    source = found.service
    if source is None:
        return (Paragraph(texts.missing("no_evidence")),)
    facts, place = found.read(source.ref), source.ref
    detections = facts["detections"]
    rows: list[tuple[Line, ...]] = [
        (texts.words("setting.database"), (Given(facts["database"], place / "database"),))
    ]
    for name in ("first", "last"):
        said = value(texts, detections[name], place / "detections" / name)
        rows.append((texts.words(f"setting.period_{name}"), said))
    for model, count in detections["models"].items():
        at = place / "detections" / "models" / model
        label = texts.say("setting.models", model=Given(model, at.name))
        rows.append((label, (Number(count, "count", at),)))
    for name, count in facts["rooms"].items():
        at = place / "rooms" / name
        rows.append((texts.words(f"setting.rooms_{name}"), (Number(count, "count", at),)))
    for name, said in facts["settings"].items():
        if said is not None:
            at = place / "settings" / name
            rows.append((texts.words(f"setting.{name}"), value(texts, said, at)))
    return pairs(texts, tuple(rows)), _policy(facts["policy"], place / "policy", texts)


def _policy(policy: dict[str, Any], place: Ref, texts: Texts) -> Table:
    rows = []
    for surface, rules in policy["surfaces"].items():
        at = place / "surfaces" / surface
        cells: list[Line] = [
            value(texts, rules[key], at / key) if rules[key] is not None else texts.words("none")
            for key in ("operating_point", "label_from", "review_from", "block_from")
        ]
        rows.append(((Given(surface, at.name),), *cells))
    header = tuple(
        texts[f"column.{key}"]
        for key in ("surface", "point", "label_from", "review_from", "block_from")
    )
    version = Given(policy["version"], place / "version")
    sha256 = Given(policy["sha256"], place / "sha256", code=True)
    caption = (
        *texts.words("title.policy"),
        Words(texts["colon"]),
        version,
        Words(texts["comma"]),
        sha256,
    )
    return Table(header, tuple(rows), (2, 2, 2, 2, 2), caption)


def _controls(found: Material, texts: Texts) -> tuple[Block, ...]:
    place = found.given.ref / "controls"
    topics = texts.under("control")
    rows = [
        (texts.words(f"control.{topic}"), texts.given(said, place / topic))
        for topic in topics
        for said in (found.config.controls.get(topic),)
    ]
    rows += [
        ((Given(topic, (place / topic).name),), texts.given(said, place / topic))
        for topic, said in found.config.controls.items()
        if topic not in topics
    ]
    header = texts["column.topic"], texts["column.stated"]
    return Paragraph(texts.words("text.stated")), Table(header, tuple(rows), (2, 3))
