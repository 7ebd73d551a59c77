"""The report: four forms, two languages, three templates; every number leads to a file."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pypdf
import pytest

from deepfake_audio.assessment import assess
from deepfake_audio.assessment.assessing import SCHEMA
from deepfake_audio.assessment.config import LANGUAGES, TEMPLATES
from deepfake_audio.assessment.document import (
    Absent,
    Given,
    Number,
    Words,
    inlines,
    to_dict,
)
from deepfake_audio.assessment.texts import catalogue

from . import demo

CHINESE = re.compile("[\u4e00-\u9fff]")


def nodes(tree: Any, *kinds: str) -> Any:
    """Yield all nodes of some kinds of a document in JSON."""
    if isinstance(tree, dict):
        if tree.get("kind") in kinds:
            yield tree
        for value in tree.values():
            yield from nodes(value, *kinds)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value, *kinds)


def look_up(out: Path, sources: dict[str, dict[str, Any]], ref: dict[str, str]) -> Any:
    """Read a place with nothing but the report's JSON and the files beside it."""
    source, pointer = sources[ref["source"]], ref["pointer"]
    if pointer.startswith("@") and not pointer.startswith("@name"):
        made_from = " ".join(source["made_from"])
        return {**source, "makers": made_from}[pointer[1:]]
    name_only = pointer.startswith("@name")
    value = json.loads((out / source["copy"]).read_text(encoding="utf-8"))
    for part in pointer.removeprefix("@name").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return key if name_only else value


def check_every_number(out: Path) -> int:
    """Follow all references of a report; returns how many."""
    report = demo.read(out / "report.json")
    sources = {source["id"]: source for source in report["sources"]}
    for source in sources.values():
        if source["copy"] is not None:
            content = (out / source["copy"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == source["sha256"], source["path"]
            assert len(content) == source["n_bytes"]
    count = 0
    for node in nodes(report["documents"], "number", "given"):
        found = look_up(out, sources, node["ref"])
        assert found == node["value" if node["kind"] == "number" else "text"], node
        count += 1
    return count


def test_four_forms_in_two_languages(written: Any) -> None:
    names = {path.name for path in written.result.files}
    assert names == {
        f"report.{language}.{form}" for language in LANGUAGES for form in ("html", "md", "pdf")
    } | {"report.json"}
    assert all((written.out / name).stat().st_size > 1000 for name in names)
    report = demo.read(written.out / "report.json")
    assert report["schema"] == SCHEMA
    assert set(report["documents"]) == set(LANGUAGES)


def test_every_number_is_in_a_file_of_the_appendix(written: Any) -> None:
    assert check_every_number(written.out) > 800


def test_words_hold_no_numbers_but_those_of_the_catalogue(written: Any) -> None:
    for language, document in written.result.documents.items():
        ours = " ".join(catalogue(language).values())
        for inline in inlines(document):
            if isinstance(inline, Words | Absent):
                assert inline.text in ours, inline


@pytest.mark.parametrize("form", ["md", "html", "pdf"])
def test_forms_show_the_numbers_of_the_document_and_no_others(written: Any, form: str) -> None:
    """Shares have one decimal, which neither the catalogue nor the axes of charts have."""
    for language, document in written.result.documents.items():
        path = written.out / f"report.{language}.{form}"
        if form == "pdf":
            text = "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
        else:
            text = unescape(path.read_text(encoding="utf-8"))
        shown = {" ".join(found.split()) for found in re.findall(r"[\d.,]*\d\.\d\s%", text)}
        tables = nodes([to_dict(document.facts), to_dict(document.sections)], "table", "paragraph")
        written_out = [node for table in tables for node in nodes(table, "number")]
        assert {node["text"] for node in written_out if node["form"] == "percent"} <= shown
        assert all(node["text"] in text for node in written_out if node["form"] == "plain")
        assert shown <= {each.text for each in inlines(document) if isinstance(each, Number)}


def test_cells_say_what_the_evidence_says(written: Any) -> None:
    """From the cell on to the file that was given: the same value, or the same count."""
    report = demo.read(written.out / "report.json")
    sources = {source["id"]: source for source in report["sources"]}
    leaves = 0
    for cell in report["cells"]["cells"]:
        source = sources[cell["origin"]["source"]]
        assert source["sha256"] == cell["origin_sha256"]
        if cell["origin"]["pointer"]:
            assert look_up(written.out, sources, cell["origin"]) == cell["value"]
            leaves += 1
        else:
            assert source["path"] == "scores.csv"
    assert leaves


def test_commands_stand_beside_the_files(written: Any) -> None:
    text = written.text("report.en.md")
    assert "`deepfake-audio robustness --model unittest --data clips --out robustness.json`" in text
    for source in written.result.material.evidence.sources.values():
        assert source.sha256 in text


def test_what_is_missing_is_said(written: Any) -> None:
    text = written.text("report.en.md")
    gaps = text[text.index("What is missing") :]
    for what in ("decisions of people", "drift against a reference", "Licences and filings"):
        assert what in gaps
    assert "**[no evidence was given]**" in text
    assert "缺失" in written.text("report.zh.md")


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates(template: str, tmp_path: Path) -> None:
    config = demo.write(tmp_path, config=demo.CONFIG.replace("cn2018", template))
    assess(config, tmp_path / "out")
    assert check_every_number(tmp_path / "out") > 800
    article = {"cn2018": "Article 6, item 1", "eu_ai_act_50": "Article 50(2)", "neutral": "What"}
    for language in LANGUAGES:
        titles = catalogue(language)
        pages = pypdf.PdfReader(tmp_path / "out" / f"report.{language}.pdf").pages
        text = "".join(page.extract_text() for page in pages)
        own = f"template.{template}.title.document"
        title = titles.get(own, titles["title.document"])
        assert title.split()[0] in text
        assert bool(CHINESE.search(text)) == (language == "zh")
        if language == "en":
            assert article[template] in text


def test_catalogues_have_the_same_keys_and_places() -> None:
    english, chinese = catalogue("en"), catalogue("zh")
    assert english.keys() == chinese.keys()
    places = re.compile(r"\{\w+\}")
    for key, text in english.items():
        assert sorted(places.findall(text)) == sorted(places.findall(chinese[key])), key


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = (
        '<script>alert("1")</script>|`x`](javascript:1) <img src=x onerror=y> ]]>&amp; {n}\u202e'
    )
    toml = demo.CONFIG.replace("contact = {", f"licences = '''{hostile}'''\ncontact = {{", 1)
    config = demo.write(tmp_path, config=toml)
    table = config.with_name("scores.csv")
    table.write_text(table.read_text().replace(",en,", ',"<b onclick=a>en</b>|`",'))
    assess(config, tmp_path / "out")
    html = (tmp_path / "out" / "report.en.html").read_text()
    found = Tags()
    found.feed(html)
    assert not found.tags & {"script", "img", "b", "iframe", "object"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "&lt;script&gt;" in html
    assert "\u202e" not in html, "nothing turns the text around"
    markdown = (tmp_path / "out" / "report.en.md").read_text()
    assert "<script" not in markdown.replace("\\<script", "")
    row = next(line for line in markdown.splitlines() if "Licences and filings" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    text = pypdf.PdfReader(tmp_path / "out" / "report.en.pdf").pages[0].extract_text()
    assert "<script>" in text.replace("\n", "")


def test_the_html_fetches_nothing(written: Any) -> None:
    html = written.text("report.zh.html")
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert "@media print" in html
    assert "@import" not in html


def test_numbers_are_written_for_people() -> None:
    ref = Given("", None)  # type: ignore[arg-type]
    assert Number(0.1234, "percent", ref).text == "12.3 %"  # type: ignore[arg-type]
    assert Number(12345, "count", ref).text == "12,345"  # type: ignore[arg-type]
    assert Number(1.234, "seconds", ref).text == "1.23 s"  # type: ignore[arg-type]
    assert Number(0.89811, "plain", ref).text == "0.8981"  # type: ignore[arg-type]


def test_figures_of_a_released_model(tmp_path: Path) -> None:
    """What `evaluate` wrote when the model was released, with all that real data hold."""
    figures = Path(__file__).parents[2] / "models" / "default" / "test.json"
    shutil.copy(figures, tmp_path / "test.json")
    about = demo.read(figures)["about"]["model"]
    config = tmp_path / "assessment.toml"
    config.write_text(
        'languages = ["zh"]\n[model]\nname = "default"\n'
        f'same_as = {{ "{about}" = "as its card says" }}\n[[evaluations]]\nfile = "test.json"\n'
    )
    cells = {
        judged.cell.key: judged.cell for judged in assess(config, tmp_path / "out").material.judged
    }
    overall = cells["false_positive/overall/all"]
    stated = demo.read(figures)
    genuine = stated["clips"]["bonafide"]
    [balanced] = [one for one in stated["policies"] if one["name"] == "balanced"]
    flagged = round(balanced["fpr"]["value"] * genuine)
    assert (overall.n, overall.errors, overall.method) == (genuine, flagged, "bootstrap")
    assert cells["miss/family/vocoder"].n == 158
    assert "miss/family/codec" not in cells, "human speech through a codec is no synthetic speech"
    verdicts = demo.read(figures)["verdicts"].values()
    undecided = sum(count["uncertain"] + count["inconclusive"] for count in verdicts)
    abstention = cells["abstention/overall/labelled"]
    assert (abstention.errors, abstention.n) == (undecided, 1773)
    assert check_every_number(tmp_path / "out") > 300


def test_scores_are_counted_as_by_hand(written: Any) -> None:
    """From the two CSV files alone, one clip after the other."""
    with (written.config.with_name("scores.csv")).open() as scores:
        clips = {row["id"]: row for row in csv.DictReader(scores)}
    with (written.config.with_name("clips.csv")).open() as metadata:
        for row in csv.DictReader(metadata):
            clips[row["id"]] |= row
    cells = {judged.cell.key: judged.cell for judged in written.result.material.judged}
    threshold = demo.point().threshold
    for measure, label in (("miss", "spoof"), ("false_positive", "bonafide")):
        for axis, group in (("surface", "live"), ("noise", "street"), ("language", "zh")):
            members = [
                float(clip["p_synthetic"]) >= threshold
                for clip in clips.values()
                if clip["label"] == label and clip[axis] == group
            ]
            wrong = sum(flagged == (label == "bonafide") for flagged in members)
            cell = cells[f"{measure}/{axis}/{group}"]
            assert (cell.errors, cell.n) == (wrong, len(members))
    short = [clip for clip in clips.values() if 2 <= float(clip["duration_s"]) < 4]
    counted = cells["miss/duration/2-4 s"].n or 0, cells["false_positive/duration/2-4 s"].n or 0
    assert sum(counted) == len(short)
