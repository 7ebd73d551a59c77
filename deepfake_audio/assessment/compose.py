"""The whole document in one language: first page, sections, conclusion, appendix."""

from __future__ import annotations

from .document import Block, Document, Given, Line, Number, Paragraph, Section, Table, Words
from .effects import effects_section
from .evidence import Source
from .material import Material
from .risks import risks_section
from .scope import scope_section
from .texts import Texts

_ROLES = ("assessor", "approver")


def compose(found: Material, language: str) -> Document:
    """Put a document together.

    Parameters
    ----------
    found : Material
    language : str
        Of :data:`~deepfake_audio.assessment.config.LANGUAGES`.
    """
    texts = Texts(language, found.config.template)
    return Document(
        language=language,
        title=texts["title.document"],
        facts=_facts(found, texts),
        sections=(
            scope_section(found, texts),
            effects_section(found, texts),
            risks_section(found, texts),
            _conclusion(found, texts),
            Section(texts["title.other"], (_said(found, texts, "other"),)),
            _appendix(found, texts),
        ),
        sources_label=texts["sources"],
    )


def _facts(found: Material, texts: Texts) -> Table:
    """Return what stands on the first page."""
    scope, place = found.config.scope, found.given.ref / "scope"
    about, facts = found.about.ref, found.subject.facts
    run = found.read(about)
    point = found.model.ref / "operating_point" / "threshold"
    rows: tuple[tuple[Line, ...], ...] = (
        (texts.words("fact.operator"), texts.given(scope.operator, place / "operator")),
        (texts.words("fact.service"), texts.given(scope.service, place / "service")),
        (
            texts.words("fact.model"),
            (Given(facts["identity"], found.model.ref / "identity"),),
        ),
        (
            texts.words("fact.threshold"),
            (Number(found.subject.point.threshold, "plain", point),),
        ),
        (texts.words("fact.state"), _state(found, texts, "fact.state_line")),
        (
            texts.words("fact.assessed_at"),
            (Given(run["assessed_at"], about / "assessed_at"),),
        ),
        (texts.words("fact.version"), (Given(run["version"], about / "version"),)),
    )
    return Table(("", ""), rows, (2, 5))


def _state(found: Material, texts: Texts, key: str) -> Line:
    counts, place = found.findings["summary"], found.log.ref / "summary"
    names = ("open", "high", "closed")
    return texts.say(key, **{name: Number(counts[name], "count", place / name) for name in names})


def _conclusion(found: Material, texts: Texts) -> Section:
    place = found.cells.ref / "summary"
    counts = found.read(place)
    numbers = {name: Number(counts[name], "count", place / name) for name in counts}
    summary = (
        Paragraph(texts.say("text.summary", **numbers)),
        Paragraph(_state(found, texts, "text.summary_open")),
        Paragraph(texts.words("text.limits")),
    )
    return Section(
        texts["title.conclusion"],
        sections=(
            Section(texts["title.summary"], summary),
            Section(texts["title.own"], (_said(found, texts, "text"),)),
            Section(texts["title.signatures"], (_signatures(found, texts),)),
        ),
    )


def _said(found: Material, texts: Texts, key: str) -> Paragraph:
    place = found.given.ref / "conclusion" / key
    return Paragraph(texts.given(getattr(found.config.conclusion, key), place))


def _signatures(found: Material, texts: Texts) -> Table:
    place = found.given.ref / "conclusion"
    rows = tuple(
        (
            texts.words(f"role.{role}"),
            texts.given(getattr(found.config.conclusion, role), place / role),
            (),
        )
        for role in _ROLES
    )
    names = ("role", "person", "signature")
    return Table(tuple(texts[f"column.{name}"] for name in names), rows, (2, 3, 4))


def _appendix(found: Material, texts: Texts) -> Section:
    rows = tuple(_row(source, texts) for source in found.evidence.sources.values())
    names = ("number", "file", "sha256")
    table = Table(tuple(texts[f"column.{name}"] for name in names), rows, (1, 8, 6))
    redo: tuple[Block, ...] = (Paragraph(texts.words("text.redo")),)
    return Section(
        texts["title.appendix"],
        sections=(
            Section(texts["title.redo"], redo),
            Section(texts["title.files"], (table,)),
        ),
    )


def _row(source: Source, texts: Texts) -> tuple[Line, ...]:
    """Return id, file with what is known of it, and what its content can be known by."""
    stop = Words(texts["stop"])
    file: Line = (Given(source.path, source.about("path"), code=True),)
    if source.copy is None:
        file += (stop, *texts.words("text.not_copied", "quiet"))
    elif source.copy != source.path:
        copy = Given(source.copy, source.about("copy"), code=True)
        file += (stop, *texts.say("text.as_copy", copy=copy))
    if source.made_from:
        ids = Given(source.makers, source.about("makers"))
        file += (stop, *texts.say("text.from", ids=ids))
    if source.command is not None:
        command: Line = (Given(source.command, source.about("command"), code=True),)
    elif source.is_measured:
        command = texts.missing("no_command")
    else:
        command = texts.words("text.as_given", "quiet")
    size = Number(source.n_bytes, "count", source.about("n_bytes"))
    content: Line = (
        Given(source.sha256, source.about("sha256"), code=True),
        stop,
        *texts.say("text.bytes", n=size),
        stop,
        Given(source.modified_at, source.about("modified_at")),
    )
    return (Given(source.id, source.about("id")),), (*file, stop, *command), content
