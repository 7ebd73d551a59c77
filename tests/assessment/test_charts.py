"""Charts say what the tables say: in words, in every form that has pictures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pypdf

from deepfake_audio.assessment import drawing, svg
from deepfake_audio.assessment.document import (
    Chart,
    CurveChart,
    DotChart,
    Given,
    HeatMap,
    Mark,
    Number,
    Section,
    Words,
)
from deepfake_audio.assessment.document import ChartRow as Row
from deepfake_audio.assessment.evidence import Ref

from . import demo

AT = Ref("E1", "/value")


def charts(section: Any) -> Any:
    for block in getattr(section, "blocks", ()):
        if isinstance(block, Chart):
            yield block
    for inner in section.sections:
        yield from charts(inner)


def percent(value: float) -> Number:
    return Number(value, "percent", AT)


def mark(value: float, state: str, target: float = 0.1) -> Mark:
    ends = percent(max(value - 0.02, 0)), percent(value + 0.02)
    return Mark(percent(value), *ends, percent(target), state)


def picture(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(svg.render(drawing.draw(chart, 500)))


def test_the_report_has_its_charts(written: Any) -> None:
    found = list(charts(Section("", sections=written.result.documents["en"].sections)))
    kinds = [type(chart) for chart in found]
    assert kinds.count(HeatMap) == kinds.count(CurveChart) == 1
    assert kinds.count(DotChart) == 3, "family, codec, noise"
    html = written.text("report.en.html")
    assert html.count('<svg class="chart" role="img"') == len(found)
    assert html.count("<desc>") == len(found)
    assert "<svg" not in written.text("report.en.md")
    for language, said in (("en", "Upright stroke: target"), ("zh", "竖线")):
        pages = pypdf.PdfReader(written.out / f"report.{language}.pdf").pages
        text = "".join(page.extract_text() for page in pages)
        assert said in text


def test_a_weak_codec_is_a_diamond(written: Any) -> None:
    found = charts(Section("", sections=written.result.documents["en"].sections))
    codecs = next(
        chart
        for chart in found
        if isinstance(chart, DotChart) and "codec" in drawing.plain(chart.caption)
    )
    states = {drawing.plain(row.label): row.cells[1] for row in codecs.rows}
    assert states[demo.WEAK].state == "bad"
    groups = {
        title.text: group
        for group in picture(codecs).iter("g")
        if (title := group.find("title")) is not None
    }
    [weak] = [
        group for title, group in groups.items()
        if title.startswith(demo.WEAK) and "Synthetic" in title
    ]  # fmt: skip
    assert weak.find("polygon") is not None
    assert weak.find("circle") is None
    others = [group for title, group in groups.items() if title.startswith("mp3")]
    assert all(group.find("circle") is not None for group in others)


def test_marks_stand_where_their_values_are() -> None:
    rows = tuple(
        Row((Given(str(value), AT),), (mark(value, "good", 0.5),)) for value in (0.1, 0.2, 0.4)
    )
    chart = DotChart((Words("x"),), ("one",), rows, "key")
    xs = [float(circle.get("cx", "")) for circle in picture(chart).iter("circle")]
    assert len(xs) == 3
    assert abs((xs[2] - xs[0]) - 3 * (xs[1] - xs[0])) < 0.3, "but for what is rounded"


def test_states_differ_by_shape() -> None:
    shapes = {}
    for state in ("good", "bad", "quiet"):
        chart = DotChart((), ("one",), (Row((), (mark(0.2, state),)),), "")
        [group] = picture(chart).iter("g")
        shapes[state] = tuple(sorted(each.tag for each in group))
    assert len(set(shapes.values())) == 3


def test_shades_grow_darker_and_numbers_stay_readable() -> None:
    rows = tuple(Row((Given(str(v), AT),), (percent(v),)) for v in (0.0, 0.1, 0.3, 0.5, 0.9))
    found = picture(HeatMap((), ("one",), rows))
    fills = [int(box.get("fill", "")[1:3], 16) for box in found.iter("rect")]
    assert fills == sorted(fills, reverse=True)
    for group in found.iter("g"):
        box, label = group.find("rect"), group.find("text")
        assert box is not None
        assert label is not None
        ground, ink = (int(each.get("fill", "")[1:3], 16) for each in (box, label))
        assert abs(ground - ink) > 90


def test_hostile_labels_stay_text_and_are_cut() -> None:
    name = '<script>"&' + "x" * 300
    label = (Given(name, AT),)
    chart = DotChart(label, ("one",), (Row(label, (mark(0.2, "bad"),)),), "")
    found = picture(chart)
    assert not [each for each in found.iter() if each.tag == "script"]
    labels = [each.text or "" for each in found.iter("text")]
    assert [text for text in labels if text.startswith("<script>") and text[-1] == "\u2026"]
    assert max(map(len, labels)) < 60
    assert not re.search("<script", svg.render(drawing.draw(chart, 500)))
