"""Figures counted by hand, on both databases."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from deepfake_audio.server import keys
from deepfake_audio.server.dashboard import MIN_FOR_DRIFT, dashboard, stability_index
from deepfake_audio.server.database import Database
from deepfake_audio.server.keys import Scope

from .conftest import RunningService
from .history import detection, review, two_weeks

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def add(database: Database, *rows: object) -> None:
    with database.write() as session:
        for row in rows:
            session.add(row)
            session.flush()


def test_days_begin_at_midnight(database: Database) -> None:
    midnight = NOON.replace(hour=0)
    add(
        database,
        detection(midnight, verdict="uncertain", action="label"),
        detection(midnight - timedelta(milliseconds=1), verdict="likely_synthetic", action="block"),
        detection(NOON - timedelta(days=2), status="failed", verdict=None, action=None),
        detection(midnight - timedelta(days=3), verdict="uncertain"),  # before the period
        detection(NOON, "other"),
    )
    with database.read() as session:
        found = dashboard(session, "acme", 3, NOON)
    assert found["days"] == [
        {"date": "2026-03-08", "total": 1, "verdicts": {"failed": 1}, "actions": {}},
        {
            "date": "2026-03-09",
            "total": 1,
            "verdicts": {"likely_synthetic": 1},
            "actions": {"block": 1},
        },
        {"date": "2026-03-10", "total": 1, "verdicts": {"uncertain": 1}, "actions": {"label": 1}},
    ]


def test_one_day_and_no_day_with_anything(database: Database) -> None:
    with database.read() as session:
        found = dashboard(session, "acme", 1, NOON)
    assert found["days"] == [{"date": "2026-03-10", "total": 0, "verdicts": {}, "actions": {}}]
    assert found["latency"] == {"count": 0}
    assert found["queue"] == {"open": 0, "escalated": 0, "oldest": None}
    assert found["reviews"]["pairs"] == 0
    add(database, detection(NOON))
    with database.read() as session:
        assert dashboard(session, "acme", 1, NOON)["days"][0]["total"] == 1


def test_scores_fall_into_bins_by_their_lower_edge(database: Database) -> None:
    now = [detection(NOON, p_synthetic=p) for p in (0.0, 0.0999, 0.1, 0.95, 1.0, None)]
    before = [detection(NOON - timedelta(days=7), p_synthetic=p) for p in (0.5, 0.55)]
    long_ago = detection(NOON - timedelta(days=14), p_synthetic=0.5)
    add(database, *now, *before, long_ago)
    with database.read() as session:
        scores = dashboard(session, "acme", 7, NOON)["scores"]
    assert scores["now"] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert scores["before"] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert len(scores["edges"]) == 11
    assert scores["stability_index"] is None


def test_stability_index() -> None:
    assert stability_index([MIN_FOR_DRIFT - 1, 0], [500, 500]) is None
    assert stability_index([500, 500], [500, 500]) == 0
    moved = stability_index([500_000, 500_000], [250_000, 750_000])
    # By hand: (0.25 - 0.5) ln(0.25 / 0.5) + (0.75 - 0.5) ln(0.75 / 0.5)
    assert moved == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(1.5), abs=1e-5)
    assert math.isfinite(stability_index([1000, 0], [0, 1000]) or math.nan)


def test_latency_and_queue(database: Database) -> None:
    rows = [
        detection(NOON - timedelta(seconds=n), finished_at=NOON - timedelta(seconds=n) + took)
        for n, took in enumerate(timedelta(seconds=s) for s in range(1, 101))
    ]
    waiting = detection(NOON, status="queued", finished_at=None, verdict=None, action=None)
    opened = detection(NOON - timedelta(hours=1), review_state="open")
    urgent = detection(NOON, review_state="open", review_decision="escalate")
    for case in (opened, urgent):
        case.finished_at = None
    add(database, *rows, waiting, opened, urgent)
    with database.read() as session:
        found = dashboard(session, "acme", 7, NOON)
    assert found["latency"] == {"count": 100, "p50_s": 50, "p95_s": 95, "p99_s": 99}
    assert found["queue"] == {
        "open": 2,
        "escalated": 1,
        "oldest": (NOON - timedelta(hours=1)).isoformat(),
    }


def test_agreement_counts_the_last_word_of_each_person(database: Database) -> None:
    with database.write() as session:
        ada, bo, chen = (
            keys.create(session, tenant="acme", name=name, scopes=frozenset({Scope.REVIEW}))[0].id
            for name in ("Ada", "Bo", "Chen")
        )
    cases = [
        detection(NOON, verdict="likely_synthetic", review_state="closed", review_decision=said)
        for said in ("synthetic", "synthetic", "genuine")
    ]
    add(database, *cases)
    said = [
        (0, ada, "genuine"),
        (0, ada, "synthetic"),  # she changed her mind
        (0, bo, "synthetic"),
        (1, ada, "unsure"),
        (1, bo, "synthetic"),
        (1, chen, "synthetic"),
        (2, chen, "escalate"),
        (2, "local", "genuine"),
    ]
    for minute, (case, who, decision) in enumerate(said, 1):
        add(database, review(cases[case], who, decision, NOON + timedelta(minutes=minute)))
    add(database, review(cases[0], chen, "genuine", NOON - timedelta(days=30)))
    with database.read() as session:
        found = dashboard(session, "acme", 7, NOON)["reviews"]
    assert found == {
        "reviewers": {
            "Ada": {"genuine": 1, "synthetic": 1, "unsure": 1},
            "Bo": {"synthetic": 2},
            "Chen": {"synthetic": 1, "escalate": 1},
            "local": {"genuine": 1},
        },
        "pairs": 4,  # one of the first case, three of the second
        "pairs_agreeing": 2,
        "by_verdict": {"likely_synthetic": {"synthetic": 2, "genuine": 1}},
    }


def test_reports_are_not_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *given: asked.append(given[2].lower())
    )
    two_weeks(database, "acme", ["key_1", "key_2"])
    asked.clear()
    with database.read() as session:
        found = dashboard(session, "acme", 7, datetime.now(UTC))
    selects = [statement for statement in asked if "select" in statement]
    assert len(selects) <= 8
    assert not any("report" in statement for statement in selects)
    assert found["scores"]["stability_index"] > 0.1  # the second week was made to shift


def test_over_http(service: RunningService) -> None:
    with service.database.write() as session:
        session.add(detection(datetime.now(UTC), verdict="uncertain"))
    client = service.client("review")
    found = client.get("/v1/dashboard").json()
    assert len(found["days"]) == 7
    assert found["days"][-1]["verdicts"] == {"uncertain": 1}
    assert client.get("/v1/dashboard", params={"days": 90}).json()["days"][-1]["total"] == 1
    for days in (0, 91, "x"):
        assert client.get("/v1/dashboard", params={"days": days}).status_code == 422
    assert service.client("read").get("/v1/dashboard").status_code == 403
    other = service.client("review", tenant="other").get("/v1/dashboard").json()
    assert other["days"][-1]["total"] == 0
