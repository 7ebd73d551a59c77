"""A candidate that listens in the shadow, is compared, promoted and taken back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from deepfake_audio.server import audit
from deepfake_audio.server.database import Detection

from .conftest import MakeSettings, RunningService, running

Samples = dict[str, Path]


def score(service: RunningService, path: Path) -> dict:
    client = service.client("submit", "read")
    files = {"file": path.read_bytes()}
    return client.post("/v1/detections", files=files, headers={"Prefer": "wait=30"}).json()


def compared(service: RunningService, clips: int) -> dict:
    client = service.client("read")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = client.get("/v1/models").json()
        if state["comparison"]["clips"] >= clips:
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def test_a_candidate_is_heard_promoted_and_taken_back(
    make_settings: MakeSettings, samples: Samples
) -> None:
    settings = make_settings(candidate_model="unittest")
    with running(settings) as service:
        found = [score(service, path) for path in samples.values()]
        assert {one["decided_by"]["model"]["name"] for one in found} == {"tiny"}
        with service.database.write() as session:
            session.execute(
                update(Detection)
                .where(Detection.verdict == "likely_authentic")
                .values(review_decision="genuine")
            )
        state = compared(service, len(samples))
        assert state["live"]["model"]["name"] == "tiny"
        assert state["candidate"]["model"]["name"] == "unittest"
        comparison = state["comparison"]
        authentic = sum(one["report"]["verdict"] == "likely_authentic" for one in found)
        assert authentic
        assert comparison["reviewed"] == comparison["live_right"] == authentic
        assert comparison["candidate_right"] <= authentic
        operator = service.client("operator", tenant="operations")
        assert operator.get("/v1/models").json()["comparison"] == comparison  # of all tenants
        stranger = service.client("read", tenant="other")
        assert stranger.get("/v1/models").json()["comparison"]["clips"] == 0

        assert service.client("read").post("/v1/models/promote").status_code == 403
        promoted = service.client("operator").post("/v1/models/promote").json()
        assert promoted["live"]["model"]["name"] == "unittest"
        assert score(service, samples["genuine_librivox_1"])["decided_by"]["model"]["name"] == (
            "unittest"
        )
    with running(settings) as service:  # a restart forgets nothing
        assert service.service.engine.model.name == "unittest"
        service.client("operator").post("/v1/models/promote").raise_for_status()
        assert service.service.engine.model.name == "tiny"
        with service.database.read() as session:
            assert audit.verify(session).ok
            kinds = [event.kind for event in audit.events(session)]
        assert kinds.count("model.promoted") == 2


def test_another_process_follows_a_promotion(make_settings: MakeSettings) -> None:
    settings = make_settings(candidate_model="unittest")
    with running(settings) as one, running(settings) as other:
        one.client("operator").post("/v1/models/promote").raise_for_status()
        other.service.models.refresh()
        assert other.service.engine.model == one.service.engine.model
        assert other.service.engine.model.name == "unittest"


def test_two_who_promote_at_once_do_not_undo_each_other(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(candidate_model="unittest")
    with running(settings) as one, running(settings) as other:
        wanted = one.client("read").get("/v1/models").json()["candidate"]["model"]["sha256"]
        clients = [service.client("operator") for service in (one, other) for _ in range(4)]
        with ThreadPoolExecutor(len(clients)) as people:
            answers = list(
                people.map(
                    lambda client: client.post("/v1/models/promote", params={"sha256": wanted}),
                    clients,
                )
            )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        for service in (one, other):
            service.service.models.refresh()
            assert service.service.engine.model.sha256 == wanted
        with one.database.read() as session:
            kinds = [event.kind for event in audit.events(session)]
        assert kinds.count("model.promoted") == 1
    caplog.clear()
    with running(settings):
        assert "unittest is live" in caplog.text
        assert "not tiny" in caplog.text


def test_a_promotion_sees_what_another_process_did(make_settings: MakeSettings) -> None:
    settings = make_settings(candidate_model="unittest")
    with running(settings) as one, running(settings) as other:
        one.service.models.promote("somebody")
        other.service.models.promote("somebody else")  # before it has looked: takes it back
        one.service.models.refresh()
        assert {s.service.engine.model.name for s in (one, other)} == {"tiny"}


def test_without_a_candidate_there_is_nothing_to_promote(service: RunningService) -> None:
    assert service.client("read").get("/v1/models").json()["candidate"] is None
    answer = service.client("operator").post("/v1/models/promote")
    assert answer.status_code == 409
    assert "candidate_model" in answer.json()["error"]["hint"]


def test_the_candidate_must_exist(make_settings: MakeSettings) -> None:
    from deepfake_audio.errors import CheckpointError
    from deepfake_audio.server.service import Service

    with pytest.raises(CheckpointError, match="nowhere"):
        Service(make_settings(candidate_model="nowhere"))
