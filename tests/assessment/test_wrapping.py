# ruff: noqa: RUF001 -- marks of Chinese look like ours
"""Chinese lines: where they may end, and that they stay within their column."""

from __future__ import annotations

import pytest

pytest.importorskip("reportlab")

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont

from deepfake_audio.assessment.wrapping import ChineseParagraph, may_break

SIZE = 10


def lines(markup: str, width: float) -> list[str]:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    style = ParagraphStyle("zh", fontName="STSong-Light", fontSize=SIZE, wordWrap="CJK")
    paragraph = ChineseParagraph(markup, style)
    paragraph.wrap(width, 1000)
    return ["".join(word.text for word in line.words) for line in paragraph.blPara.lines]


@pytest.mark.parametrize("width", range(4 * SIZE, 22 * SIZE, 3))
def test_lines_are_set_as_chinese_is(width: int) -> None:
    text = (
        "合成语音未被标记：编解码器，《规定》第六条；目标 50.0\N{NO-BREAK SPACE}%（见 E1）。已关闭"
    )
    found = lines(text, width)
    assert "".join(found) == text, "nothing is lost"
    for line in found:
        assert pdfmetrics.stringWidth(line.rstrip(" "), "STSong-Light", SIZE) <= width + 0.01
        assert line[0] not in "：，；》。）\N{NO-BREAK SPACE}%"
        assert line[-1] not in "《（"


def test_latin_words_stay_whole_and_long_ones_fill_their_lines() -> None:
    assert lines("编解码器，amr-nb:12200", 75) == ["编解码器，", "amr-nb:12200"]
    long = "哈希" + "0123456789abcdef" * 3
    assert "".join(lines(long, 60)) == long
    assert len(lines(long, 60)) < 8


@pytest.mark.parametrize(
    ("text", "place", "may"),
    [
        ("中文", 1, True), ("中a", 1, True), ("a中", 1, True), ("ab", 1, False), ("a b", 2, True),
        ("a b", 1, False), ("文，", 1, False), ("，文", 1, True), ("（文", 1, False),
        ("“文", 1, False), ("文”", 1, False), ("文、", 1, False), ("文…", 1, False),
    ],
)  # fmt: skip
def test_places(text: str, place: int, may: bool) -> None:
    assert may_break(text, place) is may
