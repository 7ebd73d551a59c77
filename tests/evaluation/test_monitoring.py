"""Shifts between two lots of made-up reports: found where there are some, and only there."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from deepfake_audio.errors import AudioError, DatasetError
from deepfake_audio.evaluation.monitoring import Shift, monitor, monitoring_table
from deepfake_audio.evaluation.report_files import FAILED, ReportRow, read_reports
from deepfake_audio.evaluation.reviewing import Reviewing
from deepfake_audio.evaluation.shifts import mix_shift, number_psi
from deepfake_audio.report import (
    InputInfo,
    ModelInfo,
    PolicyInfo,
    Report,
    Timing,
    Verdict,
)
from deepfake_audio.shards import Item, result_row, write_rows

BASE = Report(
    input=InputInfo("clip", "3f" * 32, "OGG/OPUS", 48_000, 1, 5.0, 4.0),
    verdict=Verdict.UNCERTAIN,
    reason=None,
    p_synthetic=0.5,
    llr_synthetic=0.0,
    policy=PolicyInfo("balanced", 0.9, 0.02, 0.5),
    warnings=(),
    segments=(),
    model=ModelInfo("default", "1.2.1", "ab" * 32),
    timing_ms=Timing(1, 1),
    novelty=0.5,
)


def make_reports(
    count: int, seed: int = 0, *, llr: float = -1.0, wav: float = 0.2, flagged: float = 0.02
) -> list[Report]:
    rng = np.random.default_rng(seed)
    reports = []
    for index in range(count):
        value = float(rng.normal(llr, 2))
        p = 1 / (1 + np.exp(-value))
        verdict = Verdict.LIKELY_SYNTHETIC if p >= 0.9 else Verdict.UNCERTAIN
        verdict = Verdict.LIKELY_AUTHENTIC if p < 0.3 else verdict
        form = "WAV/PCM_16" if rng.random() < wav else "OGG/OPUS"
        reports.append(
            dataclasses.replace(
                BASE,
                input=InputInfo(f"{seed}-{index}", None, form, 16_000, 1, float(rng.gamma(4)), 2.0),
                verdict=verdict,
                p_synthetic=p,
                llr_synthetic=value,
                novelty=float(rng.random()),
                warnings=("clipped",) if rng.random() < flagged else (),
            )
        )
    return reports


def rows(reports: list[Report]) -> list[ReportRow]:
    return [ReportRow.of_report(report, f"file:{i}") for i, report in enumerate(reports, 1)]


def by_name(found: Any) -> dict[str, Shift]:
    return {shift.what: shift for shift in found.shifts}


def test_the_same_kind_of_day_is_no_drift() -> None:
    for seed in range(5):
        found = monitor(rows(make_reports(600, seed)), rows(make_reports(400, 100 + seed)))
        assert not found.drift
        assert "nothing has shifted" in monitoring_table(found)


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        ({"llr": 1.0}, "llr_synthetic", "median -1"),
        ({"llr": 1.0}, "verdict", "likely_authentic"),
        ({"wav": 0.7}, "format", "WAV/PCM_16 2"),
        ({"flagged": 0.2}, "share of clipped", "2.6 % -> 2"),
    ],
)
def test_a_shift_is_named(change: dict[str, float], what: str, words: str) -> None:
    found = monitor(rows(make_reports(500)), rows(make_reports(500, 1, **change)))
    shift = by_name(found)[what]
    assert shift.shifted
    assert found.drift
    assert words in shift.words
    assert f"shifted: {what}: " in monitoring_table(found)
    assert not by_name(found)["duration_s"].shifted


def test_a_few_reports_prove_nothing() -> None:
    found = monitor(rows(make_reports(500)), rows(make_reports(4, 1, llr=0.0, wav=0.5)))
    assert not found.drift


def test_a_large_day_with_a_small_shift_is_no_alarm() -> None:
    found = monitor(rows(make_reports(6000)), rows(make_reports(6000, 1, llr=-0.6)))
    shift = by_name(found)["llr_synthetic"]
    assert shift.p_value < 0.01
    assert not shift.shifted
    again = monitor(rows(make_reports(6000)), rows(make_reports(6000, 1, llr=-0.6)), min_shift=0.02)
    assert by_name(again)["llr_synthetic"].shifted


def test_statistics_are_those_of_the_textbook() -> None:
    one, other = make_reports(300), make_reports(200, 1, llr=0.0)
    shift = by_name(monitor(rows(one), rows(other)))["llr_synthetic"]
    expected = ks_2samp([r.llr_synthetic for r in one], [r.llr_synthetic for r in other])
    assert shift.shift == pytest.approx(expected.statistic, abs=1e-6)
    moved, psi, p, _ = mix_shift({"a": 50, "b": 50}, {"a": 80, "b": 20}, np.random.default_rng(0))
    assert moved == pytest.approx(0.3)
    assert psi == pytest.approx(0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), abs=0.02)
    assert p <= 0.001
    x = np.random.default_rng(0).normal(size=20_000)
    assert number_psi(x, x) == 0
    assert number_psi(x[:10_000], x[10_000:]) < 0.01
    assert number_psi(x, x + 1) > 0.25


mixes = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1)


@settings(max_examples=30, deadline=None)
@given(mixes, mixes)
def test_a_mix_shift_is_a_share_and_has_no_direction(one, other) -> None:
    shift, psi, p, _ = mix_shift(one, other, np.random.default_rng(0))
    back = mix_shift(other, one, np.random.default_rng(0))
    assert 0 <= shift <= 1
    assert 0 < p <= 1
    assert psi >= -1e-12
    assert (shift, psi) == pytest.approx(back[:2])
    if Counter(one) == Counter(other):
        assert (shift, p) == (0, 1)


def test_rare_kinds_count_as_one() -> None:
    many = {f"kind {i}": 1 + (i < 50) for i in range(5000)}
    shift, _, _, words = mix_shift(many, {"kind 1": 10}, np.random.default_rng(0))
    assert shift == pytest.approx(1 - 2 / 5050)
    assert "others 98 % -> 0 %" in words


def test_review_takes_the_novel_the_close_and_some_by_lot() -> None:
    reports = make_reports(200)
    found = monitor(rows(reports), rows(reports), sample=9, seed=3).review
    assert len({candidate.where for candidate in found}) == 9
    assert Counter(c.why for c in found) == {"novel": 3, "near threshold": 3, "random": 3}
    let_pass = [r.novelty for r in reports if r.verdict is not Verdict.LIKELY_SYNTHETIC]
    assert [c.novelty for c in found[:3]] == sorted(let_pass, reverse=True)[:3]
    close = [abs(r.llr_synthetic - np.log(9)) for r in reports]
    assert (
        abs(np.log(found[3].p_synthetic / (1 - found[3].p_synthetic)) - np.log(9))
        <= min(close) + 1e-6
    )
    assert found == monitor(rows(reports), rows(reports), sample=9, seed=3).review
    assert found != monitor(rows(reports), rows(reports), sample=9, seed=4).review
    assert monitor(rows(reports), rows(reports), sample=0).review == ()
    assert len(monitor(rows(reports), rows(reports[:4]), sample=9).review) == 4


def test_review_holds_no_more_than_it_proposes() -> None:
    reviewing = Reviewing(5)
    for row in rows(make_reports(300)):
        reviewing.offer(row)
    assert all(len(best._heap) <= 5 for best in reviewing._best.values())


def write_lines(path: Path, reports: list[Report]) -> Path:
    path.write_text("".join(report.to_json() + "\n" for report in reports), encoding="utf-8")
    return path


def test_lines_and_parquet_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    reports = make_reports(40)
    lines = write_lines(tmp_path / "day.jsonl", reports)
    table = [result_row(Item(r.input.name, ""), r) for r in reports]
    table.append(result_row(Item("broken", ""), AudioError("no audio")))
    (tmp_path / "parquet").mkdir()
    write_rows(str(tmp_path / "parquet"), "part-0.parquet", table)
    ours, theirs = list(read_reports([lines])), list(read_reports([tmp_path / "parquet"]))
    assert [r.where for r in ours[:2]] == [f"{lines}:1", f"{lines}:2"]
    for one, other in zip(ours, theirs[:-1], strict=True):
        assert dataclasses.replace(one, where="") == dataclasses.replace(other, where="")
    assert (theirs[-1].verdict, theirs[-1].reason) == (FAILED, "unreadable_audio")
    found = monitor(ours, theirs)
    assert by_name(found)["share of failed"].words == "0.0 % -> 2.4 %"
    assert not found.drift


def tongues(reports: list[Report], share: float) -> list[str]:
    return ["de" if i < share * len(reports) else "en" for i in range(len(reports))]


def test_a_change_of_languages_is_named_where_they_were_kept(tmp_path: Path) -> None:
    """As metadata beside the report, as detections of the service, as a column."""
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    before, now = make_reports(200), make_reports(200, 1)
    beside, detections = tmp_path / "beside.jsonl", tmp_path / "detections.jsonl"
    beside.write_text(
        "\n".join(
            json.dumps({**report.to_dict(), "metadata": {"language": language, "list": [1]}})
            for report, language in zip(before, tongues(before, 0.1), strict=True)
        )
    )
    lines = [
        {"id": "x", "name": "x", "metadata": {"language": language}, "report": report.to_dict()}
        for report, language in zip(now, tongues(now, 0.6), strict=True)
    ]
    error = {"code": "unreadable_audio", "message": "no audio"}
    lines.append({"id": "y", "name": "y", "metadata": {}, "report": None, "error": error})
    detections.write_text("\n".join(map(json.dumps, lines)))
    table = [result_row(Item(r.input.name, ""), r) for r in now]
    write_rows(str(tmp_path), "part-0.parquet", table)
    joined = pq.read_table(tmp_path / "part-0.parquet")
    column = pa.array(tongues(now, 0.6))
    pq.write_table(joined.append_column("language", column), tmp_path / "part-0.parquet")

    wanted = ("language", "list", "nothing")
    for current in (detections, tmp_path / "part-0.parquet"):
        found = monitor(read_reports([beside], wanted), read_reports([current], wanted))
        shift = by_name(found)["metadata.language"]
        assert shift.shifted
        assert shift.shift == pytest.approx(0.5)
        assert "de 10 % -> 60 %" in shift.words
        assert not {"metadata.list", "metadata.nothing"} & set(by_name(found))
    assert list(read_reports([detections]))[-1].verdict == FAILED
    unasked = monitor(read_reports([beside]), read_reports([detections]))
    assert "metadata.language" not in by_name(unasked)
    one_sided = monitor(read_reports([beside], wanted), iter(rows(now)))
    assert "the metadata of the current reports state no language" in one_sided.notes


def test_a_detection_that_is_not_finished_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"name": "a", "report": null, "error": null}')
    with pytest.raises(DatasetError, match=r"a\.jsonl:1.*is no report"):
        list(read_reports([tmp_path / "a.jsonl"]))


def test_older_files_have_no_novelty(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    write_rows(
        str(tmp_path), "old.parquet", [result_row(Item("a", ""), r) for r in make_reports(9)]
    )
    path = tmp_path / "old.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["novelty"]), path)
    old = list(read_reports([path]))
    assert {row.novelty for row in old} == {None}
    found = monitor(old, rows(make_reports(9)))
    assert "novelty" not in by_name(found)
    assert any("no novelty" in note for note in found.notes)
    pq.write_table(pq.read_table(path).drop_columns(["verdict"]), path)
    with pytest.raises(DatasetError, match=r"old\.parquet.*no column verdict"):
        list(read_reports([path]))


def test_other_models_and_policies_are_pointed_out() -> None:
    one = make_reports(20)
    other = [
        dataclasses.replace(
            report,
            model=ModelInfo("tiny", "1.0.1", "cd" * 32),
            policy=PolicyInfo("recall", 0.5, 0.1, 0.5),
        )
        for report in one
    ]
    notes = monitor(rows(one), rows(other)).notes
    assert any("models differ" in note for note in notes)
    assert any("policies differ" in note for note in notes)


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"schema": "deepfake_audio.report/1"}', '{"schema": "x"}', "\xff"]
)
def test_errors_name_file_and_line(tmp_path: Path, line: str) -> None:
    path = write_lines(tmp_path / "day.jsonl", make_reports(2))
    with path.open("ab") as file:
        file.write(b"\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(DatasetError, match=r"day\.jsonl:4: is no report"):
        list(read_reports([path]))


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no reports")
    (tmp_path / "broken.parquet").write_text("no parquet")
    for wrong, match in (
        ("nowhere", "no such file"),
        ("notes.txt", "no file of reports"),
        ("broken.parquet", r"broken\.parquet"),
    ):
        with pytest.raises(DatasetError, match=match):
            list(read_reports([tmp_path / wrong]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no files"):
        list(read_reports([tmp_path / "empty"]))
    with pytest.raises(DatasetError, match="current: there are no reports"):
        monitor(rows(make_reports(3)), [])


def test_json_form_is_complete() -> None:
    found = monitor(rows(make_reports(30)), rows(make_reports(30, 1)), sample=3)
    values = json.loads(found.to_json())
    assert values["schema"] == "deepfake_audio.monitoring/1"
    assert values["reference"]["reports"] == values["current"]["reports"] == 30
    assert {shift["what"] for shift in values["shifts"]} == set(by_name(found))
    assert len(values["review"]) == 3
    assert values["drift"] is False
