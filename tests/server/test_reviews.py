"""What people decide: one or two of them, escalated, reopened, at once; always on the record."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from deepfake_audio.server import audit, keys, reviews
from deepfake_audio.server.database import Database, Delivery, Detection, now
from deepfake_audio.server.errors import RequestError
from deepfake_audio.server.keys import Principal, Scope
from deepfake_audio.server.reviews import Decision, Order

from .conftest import MakeSettings, RunningService, running
from .history import detection

Samples = dict[str, Path]

ROLES = ("submit", "read", "review")


class Court:
    """A case, and people who decide on it."""

    def __init__(self, database: Database, *, two_person: bool = False) -> None:
        self.database = database
        self.two_person = two_person
        case = detection(now(), action="review", review_state="open")
        with database.write() as session:
            session.add(case)
        self.id = case.id

    def person(self, name: str, *more: Scope) -> Principal:
        with self.database.write() as session:
            scopes = frozenset({Scope.REVIEW, *more})
            key, _ = keys.create(session, tenant="acme", name=name, scopes=scopes)
        return Principal(key.id, name, "acme", scopes)

    def decide(self, who: Principal, decision: str, note: str = "") -> tuple[str, str | None]:
        with self.database.write() as session:
            case = reviews.decide(
                session, who, self.id, Decision(decision), note, two_person=self.two_person
            )
            assert case.review_state is not None
            return case.review_state, case.review_decision

    def refused(self, who: Principal, decision: str) -> str:
        with pytest.raises(RequestError) as caught:
            self.decide(who, decision)
        assert caught.value.status == 409
        return str(caught.value)

    def queue_of(self, who: Principal) -> list[str]:
        with self.database.read() as session:
            found, _ = reviews.queue(
                session, who, Order.RISK, two_person=self.two_person, cursor=None, limit=9
            )
        return [case.id for case in found]


def test_one_final_decision_closes(database: Database) -> None:
    for decision in ("genuine", "synthetic", "unsure"):
        court = Court(database)
        ada = court.person(f"Ada {decision}")
        assert court.id in court.queue_of(ada)
        assert court.decide(ada, decision) == ("closed", decision)
        assert court.id not in court.queue_of(ada)
        assert "closed" in court.refused(ada, "genuine")
        assert "closed" in court.refused(court.person("Bo"), "synthetic")


def test_escalated_needs_somebody_else_or_an_admin(database: Database) -> None:
    court = Court(database)
    ada, bo = court.person("Ada"), court.person("Bo")
    assert court.decide(ada, "escalate") == ("open", "escalate")
    assert court.queue_of(ada) == []  # it is not for her any more
    assert court.queue_of(bo) == [court.id]
    assert "escalated" in court.refused(ada, "synthetic")
    assert court.decide(bo, "synthetic") == ("closed", "synthetic")

    assert court.decide(ada, "escalate") == ("open", "escalate")  # reopened
    assert "escalated" in court.refused(bo, "genuine")
    admin = court.person("Root", Scope.ADMIN)
    court.decide(admin, "escalate")
    assert court.queue_of(admin) == [court.id]
    assert court.decide(admin, "genuine") == ("closed", "genuine")


def test_two_people_must_agree(database: Database) -> None:
    court = Court(database, two_person=True)
    ada, bo = court.person("Ada"), court.person("Bo")
    assert court.decide(ada, "genuine") == ("open", None)
    assert court.decide(ada, "synthetic") == ("open", None)  # she changed her mind
    assert court.queue_of(ada) == []
    assert court.queue_of(bo) == [court.id]
    assert court.decide(bo, "synthetic") == ("closed", "synthetic")


def test_two_people_who_disagree_escalate(database: Database) -> None:
    court = Court(database, two_person=True)
    ada, bo = court.person("Ada"), court.person("Bo", Scope.ADMIN)
    court.decide(ada, "genuine")
    assert court.decide(bo, "synthetic") == ("open", "escalate")
    for spoken in (ada, bo):  # no admin overrules what they were part of
        assert "escalated" in court.refused(spoken, "synthetic")
        assert court.queue_of(spoken) == []
    assert court.decide(court.person("Chen"), "synthetic") == ("closed", "synthetic")


def test_a_rotated_key_is_no_second_person(database: Database) -> None:
    court = Court(database, two_person=True)
    ada = court.person("Ada")
    court.decide(ada, "genuine")
    with database.write() as session:
        key, _ = keys.rotate(session, ada.id)
    again = Principal(key.id, key.name, "acme", ada.scopes)
    assert court.queue_of(again) == []
    assert court.decide(again, "genuine") == ("open", None)


def test_two_who_decide_at_once_are_one_after_the_other(database: Database) -> None:
    court = Court(database)
    people = [court.person(f"P{number}") for number in range(6)]
    outcomes: list[Any] = []
    start = threading.Barrier(len(people))

    def decide(who: Principal) -> None:
        start.wait()
        try:
            outcomes.append(court.decide(who, "genuine"))
        except RequestError as error:
            outcomes.append(error.status)

    threads = [threading.Thread(target=decide, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(("closed", "genuine")) == 1
    assert outcomes.count(409) == len(people) - 1
    with database.read() as session:
        assert len(reviews.said_of(session, court.id)) == 1
        assert audit.verify(session).ok


def test_the_queue_is_sorted_and_comes_in_pages(database: Database) -> None:
    moment = now()
    rows = {  # name: p, novelty, decision; the oldest first
        "a": (0.5, 0.9, None),
        "b": (None, None, None),
        "c": (0.9, 0.1, None),
        "d": (0.5, None, None),
        "e": (0.1, 0.2, "escalate"),
        "f": (0.7, 0.3, "escalate"),
    }
    with database.write() as session:
        for minute, (name, (p, novelty, said)) in enumerate(rows.items()):
            given = {"p_synthetic": p, "novelty": novelty, "review_decision": said}
            at = moment - timedelta(minutes=60 - minute)
            session.add(detection(at, sha256=name * 64, review_state="open", **given))
        session.add(detection(moment, sha256="x" * 64, review_state="closed"))
        session.add(detection(moment, sha256="y" * 64))
        session.add(detection(moment, "other", sha256="z" * 64, review_state="open"))
    who = Principal("key_1", "Ada", "acme", frozenset({Scope.REVIEW}))

    def walk(order: Order, limit: int) -> str:
        names, cursor = "", None
        with database.read() as session:
            while True:
                found, cursor = reviews.queue(
                    session, who, order, two_person=False, cursor=cursor, limit=limit
                )
                names += "".join(case.sha256[0] for case in found)
                if cursor is None:
                    return names

    for limit in (1, 2, 4, 6, 50):
        assert walk(Order.RISK, limit) == "fecadb"
        assert walk(Order.NOVELTY, limit) == "feacbd"
        assert walk(Order.OLDEST, limit) == "efabcd"


def submit(client: httpx.Client, path: Path) -> dict[str, Any]:
    answer = client.post(
        "/v1/detections", files={"file": path.read_bytes()}, headers={"Prefer": "wait=30"}
    )
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    assert found["status"] == "done"
    return found


def test_over_http(service: RunningService, samples: Samples) -> None:
    ada = service.client(*ROLES, name="Ada")
    case = submit(ada, samples["genuine_librivox_1"])  # nobody asked for a review
    assert case["review"] == {"state": None, "decision": None}
    where = f"/v1/detections/{case['id']}"
    answer = ada.post(f"{where}/reviews", json={"decision": "synthetic", "note": " Why. "})
    assert answer.status_code == 201
    assert answer.json()["review"] == {"state": "closed", "decision": "synthetic"}
    assert ada.get(where).json()["review"]["decision"] == "synthetic"
    (said,) = ada.get(f"{where}/reviews").json()["reviews"]
    assert (said["decision"], said["note"], said["reviewer"]["name"]) == (
        "synthetic",
        "Why.",
        "Ada",
    )
    events = ada.get(f"{where}/events").json()["events"]
    assert [event["kind"] for event in events] == [
        "detection.submitted",
        "detection.scored",
        "review.decided",
    ]
    told = events[-1]
    assert told["actor"] == said["reviewer"]["id"]
    assert told["data"]["after"] == ["closed", "synthetic"]
    assert told["data"]["note_sha256"] == hashlib.sha256(b'"Why."').hexdigest()
    assert "Why." not in json.dumps(told)
    assert ada.post(f"{where}/reviews", json={"decision": "genuine"}).status_code == 409
    with service.database.read() as session:
        assert audit.verify(session).ok


def test_the_queue_over_http(make_settings: MakeSettings, samples: Samples, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[surfaces.upload]\nreview_from = 0.0\n", encoding="utf-8")
    with running(make_settings(policy_file=policy, two_person_review=True)) as service:
        ada, bo = service.client(*ROLES, name="Ada"), service.client(*ROLES, name="Bo")
        ids = [submit(ada, path)["id"] for path in samples.values()]
        first = ada.get("/v1/reviews/queue", params={"limit": 3}).json()
        assert first["two_person"] is True
        rest = ada.get("/v1/reviews/queue", params={"cursor": first["next_cursor"]}).json()
        found = first["detections"] + rest["detections"]
        assert sorted(case["id"] for case in found) == sorted(ids)
        p = [case["report"]["p_synthetic"] for case in found]
        assert p == sorted(p, reverse=True)
        strange = ada.get("/v1/reviews/queue", params={"order": "novelty"}).json()["detections"]
        novelty = [case["report"]["novelty"] for case in strange]
        assert novelty == sorted(novelty, reverse=True)
        assert novelty[0] > 0
        assert rest["next_cursor"] is None
        url = f"/v1/detections/{ids[0]}/reviews"
        assert ada.post(url, json={"decision": "genuine"}).json()["review"]["state"] == "open"
        assert len(ada.get("/v1/reviews/queue").json()["detections"]) == 3
        assert len(bo.get("/v1/reviews/queue").json()["detections"]) == 4
        assert bo.post(url, json={"decision": "genuine"}).json()["review"]["state"] == "closed"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "maybe"},
        {"decision": "genuine", "note": "x" * 2001},
        {"decision": "genuine", "note": "\0"},
        {"decision": "genuine", "note": 5},
        {"decision": "genuine", "more": 1},
        [],
    ],
)
def test_what_is_no_review_is_refused(
    service: RunningService, samples: Samples, body: object
) -> None:
    client = service.client(*ROLES)
    case = submit(client, samples["genuine_librivox_1"])
    url = f"/v1/detections/{case['id']}/reviews"
    answer = client.post(url, json=body)
    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"code", "message", "name", "hint"}
    assert client.get(url).json() == {"reviews": []}


def test_only_json_is_taken_so_that_no_other_site_can_send_it(
    service: RunningService, samples: Samples
) -> None:
    client = service.client(*ROLES)
    case = submit(client, samples["genuine_librivox_1"])
    url = f"/v1/detections/{case['id']}/reviews"
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post(url, content=b'{"decision": "genuine"}', headers=headers)
        assert answer.status_code == 422, kind
    lone = rb'{"decision": "genuine", "note": "\ud800"}'
    answer = client.post(url, content=lone, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert client.get(url).json() == {"reviews": []}


def test_only_reviewers_of_the_tenant(service: RunningService, samples: Samples) -> None:
    case = submit(service.client(*ROLES), samples["genuine_librivox_1"])
    where = f"/v1/detections/{case['id']}"
    body = {"decision": "genuine"}
    for client, status in (
        (service.client("submit", "read"), 403),
        (service.client(), 401),
        (service.client(*ROLES, tenant="other"), 404),
    ):
        assert client.post(f"{where}/reviews", json=body).status_code == status
        assert client.get(f"{where}/reviews").status_code == status
        assert client.get(f"{where}/events").status_code == status
    assert service.client("read").get("/v1/reviews/queue").status_code == 403
    other = service.client(*ROLES, tenant="other")
    assert other.get("/v1/reviews/queue").json()["detections"] == []


@pytest.mark.parametrize(
    "cursor", ["x", "0:0", "2:0.5:det_1", "0:x:det_1", "9" * 99 + ":1:x", "-1:0.5:det_1"]
)
def test_a_made_up_cursor_is_refused(service: RunningService, cursor: str) -> None:
    answer = service.client("review").get("/v1/reviews/queue", params={"cursor": cursor})
    assert answer.status_code == 422


def test_what_was_not_scored_cannot_be_reviewed(service: RunningService, tmp_path: Path) -> None:
    client = service.client(*ROLES)
    answer = client.post(
        "/v1/detections", files={"file": b"no audio"}, headers={"Prefer": "wait=30"}
    )
    case = answer.json()
    assert case["status"] == "failed"
    refused = client.post(f"/v1/detections/{case['id']}/reviews", json={"decision": "genuine"})
    assert refused.status_code == 409


def test_whoever_asked_for_callbacks_hears_of_the_end(database: Database) -> None:
    court = Court(database, two_person=True)
    with database.write() as session:
        session.get_one(Detection, court.id).callback_url = "https://example.com/hook"
    court.decide(court.person("Ada"), "genuine")
    court.decide(court.person("Bo"), "genuine")
    with database.read() as session:
        (told,) = session.scalars(select(Delivery)).all()
    assert told.payload["event"] == "review.closed"
    assert told.payload["data"]["review"] == {"state": "closed", "decision": "genuine"}
