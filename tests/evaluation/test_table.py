"""The table of scores: its checks, its CSV, and how reports become rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_audio.errors import CorruptAudioError, DatasetError
from deepfake_audio.evaluation import ScoreTable, score_table_from_reports


def equal(one, other):
    return all(
        np.array_equal(getattr(one, c), getattr(other, c), equal_nan=c.endswith("synthetic"))
        for c in ScoreTable.columns()
    )


def small_table():
    return ScoreTable.from_columns(
        ["a", "b", "c"],
        ["bonafide", "spoof", "spoof"],
        [-1.25, 0.1, np.nan],
        p_synthetic=[0.2, np.nan, np.nan],
        system=["", 'Größe, "quoted"\nname', ""],
        reason=["", "", "too_short"],
    )


def test_absent_columns_are_filled():
    table = small_table()
    assert table.speaker.tolist() == ["", "", ""]
    # p_synthetic as given, else from the ratio at even odds, else unknown.
    np.testing.assert_allclose(table.p_synthetic, [0.2, 1 / (1 + np.exp(-0.1)), np.nan])
    assert table.is_bonafide.tolist() == [True, False, False]
    assert table.has_score.tolist() == [True, True, False]
    assert table.bonafide_score[0] == 1.25


def test_csv_round_trip_is_exact(tmp_path):
    table = small_table()
    table.write_csv(tmp_path / "scores.csv")
    assert equal(ScoreTable.read_csv(tmp_path / "scores.csv"), table)


def test_csv_needs_three_columns_and_ignores_others(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("\ufeffid,label,llr_synthetic,other\na,spoof, 1e1 ,x\nb,bonafide,,y\n")
    table = ScoreTable.read_csv(path)
    assert table.llr_synthetic[0] == 10
    assert np.isnan(table.llr_synthetic[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\na,spoof\n", "scores.csv: has no column llr_synthetic"),
        ("", "has no column id, label"),
        ("id,label,llr_synthetic\na,spoof,1\nb,spoof,x\n", "line 3: llr_synthetic 'x'"),
        ("id,label,llr_synthetic\na,fake,1\n", "unknown label 'fake'"),
        ("id,label,llr_synthetic\na,spoof,1\na,spoof,2\n", "a: this id occurs more than once"),
    ],
)
def test_bad_csv_is_refused(tmp_path, content, message):
    (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        ScoreTable.read_csv(tmp_path / "scores.csv")


def test_unreadable_csv_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.csv"):
        ScoreTable.read_csv(tmp_path / "gone.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"binary\.csv: cannot be read"):
        ScoreTable.read_csv(tmp_path / "binary.csv")


def test_columns_must_fit():
    with pytest.raises(DatasetError, match="speaker: has 1 rows where id has 2"):
        ScoreTable.from_columns(["a", "b"], ["spoof"] * 2, [0, 1], speaker=["x"])
    with pytest.raises(DatasetError, match="unknown column colour"):
        ScoreTable.from_columns(["a"], ["spoof"], [0], colour=["red"])


def report(verdict, llr=None, p=None, reason=None):
    return SimpleNamespace(verdict=verdict, reason=reason, llr_synthetic=llr, p_synthetic=p)


def test_reports_become_rows_and_failures_stay():
    rows = [
        {"id": 1, "label": "spoof", "system": "vits", "language": None, "duration_s": 3.0},
        {"id": 2, "label": "bonafide"},
        {"id": 3, "label": "bonafide"},
        {"id": 4, "label": "bonafide"},
    ]
    table = score_table_from_reports(
        rows,
        iter(
            [
                report("likely_synthetic", 2.0, 0.7),
                report("inconclusive", reason="no_speech"),
                report("inconclusive", -0.5, 0.4, reason="too_short"),
                CorruptAudioError("broken"),
            ]
        ),
    )
    assert table.id.tolist() == ["1", "2", "3", "4"]
    assert table.system.tolist() == ["vits", "", "", ""]
    assert table.language.tolist() == [""] * 4
    assert table.has_score.tolist() == [True, False, True, False]
    assert table.p_synthetic[[0, 2]].tolist() == [0.7, 0.4]
    assert table.verdict.tolist() == ["likely_synthetic", "inconclusive", "inconclusive", "failed"]
    assert table.reason.tolist() == ["", "no_speech", "too_short", "corrupt_audio"]


def test_reports_must_match_the_rows():
    with pytest.raises(DatasetError, match="1 clips but 2 reports"):
        score_table_from_reports([{"id": "a", "label": "spoof"}], [report("uncertain", 0.0)] * 2)
    with pytest.raises(DatasetError, match="no id or no label"):
        score_table_from_reports([{"id": "a"}], [report("uncertain", 0.0)])
