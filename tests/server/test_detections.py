"""Submissions over HTTP: accepted once, scored once, found again."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import soundfile
from c2pa_files import sign
from sqlalchemy import update

from deepfake_audio.detector import Detector
from deepfake_audio.provenance import AigcLabel, write_label
from deepfake_audio.report import Report
from deepfake_audio.server import audit, retention
from deepfake_audio.server.database import Detection, now

from .conftest import MakeSettings, RunningService, running

Samples = dict[str, Path]


def submit(client: httpx.Client, path: Path, **headers: str) -> httpx.Response:
    with path.open("rb") as file:
        return client.post("/v1/detections", files={"file": (path.name, file)}, headers=headers)


def wait_until_done(client: httpx.Client, detection_id: str) -> dict:
    for _ in range(600):
        found = client.get(f"/v1/detections/{detection_id}").json()
        if found["status"] in ("done", "failed"):
            return found
        time.sleep(0.05)
    raise AssertionError("not done within 30 s")


def test_labels_stand_beside_the_score(
    service: RunningService, samples: Samples, tmp_path: Path
) -> None:
    pytest.importorskip("c2pa")
    client = service.client("submit", "read")
    path = tmp_path / "labelled.flac"
    label = AigcLabel("1", content_producer="Voice Maker", produce_id="42")
    write_label(samples["synthetic_espeak_1"], label, out=path)
    wav = tmp_path / "signed.wav"
    soundfile.write(wav, *soundfile.read(samples["synthetic_espeak_1"]))
    wav.write_bytes(sign(wav.read_bytes(), "audio/wav"))

    bare, labelled, signed = (
        submit(client, each, Prefer="wait=30").json()["report"]
        for each in (samples["synthetic_espeak_1"], path, wav)
    )

    assert bare["provenance"] == {"aigc": None, "c2pa": None, "rhythm_s": None, "read": True}
    assert labelled["provenance"]["aigc"]["says"] == "is_generated"
    assert labelled["provenance"]["aigc"]["fields"]["ContentProducer"] == "Voice Maker"
    assert signed["provenance"]["c2pa"]["says"] == "is_generated"
    assert signed["provenance"]["c2pa"]["generator"].startswith("Voice Maker")
    assert bare["llr_synthetic"] == labelled["llr_synthetic"]  # and never part of it


def test_the_whole_way_on_each_database(
    database_url: str, make_settings: MakeSettings, samples: Samples
) -> None:
    with running(make_settings(database_url=database_url)) as service:
        client = service.client("submit", "read")
        path = samples["synthetic_espeak_1"]

        answer = submit(client, path, Prefer="wait=30")

        assert answer.status_code == 201
        assert answer.headers["Preference-Applied"] == "wait=30"
        found = answer.json()
        assert found == client.get(answer.headers["Location"]).json()
        report = Report.from_dict(found["report"])
        expected = Detector.load("tiny", device="cpu").detect(path)
        assert report.verdict is expected.verdict
        assert report.llr_synthetic == pytest.approx(expected.llr_synthetic, abs=0.05)
        assert report.input.sha256 == expected.input.sha256 == found["sha256"]
        assert found["decided_by"]["model"]["sha256"] == expected.model.sha256
        with service.database.read() as session:
            assert audit.verify(session).ok
            kinds = [event.kind for event in audit.events(session)]
        assert kinds[-2:] == ["detection.submitted", "detection.scored"]


def test_without_waiting_the_answer_is_a_promise(service: RunningService, samples: Samples) -> None:
    client = service.client("submit", "read")

    answer = submit(client, samples["genuine_librivox_1"])

    assert answer.status_code == 202
    assert answer.json()["report"] is None
    assert wait_until_done(client, answer.json()["id"])["report"]["verdict"]


def test_an_unreadable_recording_fails_with_its_remedy(
    service: RunningService, tmp_path: Path, samples: Samples
) -> None:
    client = service.client("submit", "read")
    text = tmp_path / "notes.wav"
    text.write_text("not a recording\n" * 100)

    failed = submit(client, text, Prefer="wait=30").json()
    fine = submit(client, samples["genuine_librivox_1"], Prefer="wait=30").json()

    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "unsupported_format"
    assert failed["error"]["hint"]
    assert fine["status"] == "done"


def test_an_idempotency_key_stands_for_one_submission(
    service: RunningService, samples: Samples
) -> None:
    client = service.client("submit", "read")
    path = samples["genuine_librivox_1"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: submit(client, path, **{"Idempotency-Key": "one"}), range(8))
        )

    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = submit(client, samples["genuine_librivox_2"], **{"Idempotency-Key": "one"})
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_conflict"
    stranger = service.client("submit", "read", tenant="other")
    assert submit(stranger, samples["genuine_librivox_2"], **{"Idempotency-Key": "one"}).is_success
    wait_until_done(client, answers[0].json()["id"])
    stored = [p for p in Path(service.service.store.url).rglob("det_*") if p.is_file()]
    assert len(stored) == 2  # nothing is left of those that came second


@pytest.mark.parametrize("name", ["status", "verdict", "action", "surface", "review"])
def test_a_filter_of_an_unknown_value_is_an_error(service: RunningService, name: str) -> None:
    answer = service.client("read").get("/v1/detections", params={name: "fake"})

    assert answer.status_code == 422
    assert answer.json()["error"]["name"] == name


def test_lists_are_filtered_and_turned_page_by_page(
    service: RunningService, samples: Samples
) -> None:
    client = service.client("submit", "read")
    names = [f"note {n}.flac" for n in range(5)]
    for name in names:
        content = samples["genuine_librivox_1"].read_bytes()
        client.post("/v1/detections", files={"file": (name, content)}).raise_for_status()
    synthetic = submit(client, samples["synthetic_espeak_1"], Prefer="wait=30").json()

    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/detections", params=params).json()
        seen += [found["name"] for found in page["detections"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ["synthetic_espeak_1.flac", *reversed(names)]
    found = client.get("/v1/detections", params={"search": "NOTE 3"}).json()["detections"]
    assert [one["name"] for one in found] == ["note 3.flac"]
    assert not client.get("/v1/detections", params={"search": "%"}).json()["detections"]
    params = {"verdict": synthetic["report"]["verdict"], "action": synthetic["action"]}
    assert synthetic["id"] in [
        one["id"] for one in client.get("/v1/detections", params=params).json()["detections"]
    ]
    later = {"since": (now() + timedelta(hours=1)).isoformat()}
    assert not client.get("/v1/detections", params=later).json()["detections"]
    assert client.get("/v1/detections", params={"limit": 1000}).status_code == 422


def test_deleted_audio_is_gone_and_its_record_stays(
    service: RunningService, samples: Samples
) -> None:
    client = service.client("submit", "read", "review")
    found = submit(client, samples["genuine_librivox_1"], Prefer="wait=30").json()
    url = f"/v1/detections/{found['id']}"
    assert client.get(f"{url}/audio").content == samples["genuine_librivox_1"].read_bytes()
    assert client.get(f"{url}/audio.wav").content[:4] == b"RIFF"

    deleted = client.delete(url).json()

    assert deleted["audio"]["available"] is False
    assert deleted["report"] == found["report"]
    assert client.get(f"{url}/audio").status_code == 404
    assert client.get(f"{url}/audio.wav").status_code == 404
    assert not [p for p in Path(service.service.store.url).rglob("det_*") if p.is_file()]
    assert client.delete(url).is_success  # gone is gone


def test_audio_goes_when_its_time_is_over(service: RunningService, samples: Samples) -> None:
    client = service.client("submit", "read")
    content = samples["genuine_librivox_1"].read_bytes()
    kept = client.post("/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"})
    short = client.post(
        "/v1/detections",
        files={"file": content},
        data={"retention_days": "1"},
        headers={"Prefer": "wait=30"},
    )
    assert short.json()["audio"]["retained_until"] < kept.json()["audio"]["retained_until"]
    with service.database.write() as session:
        past = now() - timedelta(seconds=1)
        session.execute(
            update(Detection).where(Detection.id == short.json()["id"]).values(retain_until=past)
        )

    assert retention.sweep(service.database, service.service.store) == 1

    for answer, available in ((kept, True), (short, False)):
        found = client.get(f"/v1/detections/{answer.json()['id']}").json()
        assert found["audio"]["available"] is available
    assert (
        client.post(
            "/v1/detections", files={"file": content}, data={"retention_days": "9999"}
        ).status_code
        == 422
    )


def test_a_batch_knows_when_it_is_finished(
    service: RunningService, tmp_path: Path, samples: Samples
) -> None:
    client = service.client("submit", "read")
    broken = tmp_path / "broken.ogg"
    broken.write_bytes(b"OggS" + bytes(100))
    parts = [("file", (path.name, path.read_bytes())) for path in (*samples.values(), broken)]

    batch = client.post("/v1/batches", files=parts, data={"surface": "message"}).json()

    for _ in range(600):
        state = client.get(f"/v1/batches/{batch['id']}").json()
        if state["finished"]:
            break
        time.sleep(0.05)
    assert state["total"] == len(samples) + 1
    assert state["states"] == {"done": len(samples), "failed": 1}
    stranger = service.client("read", tenant="other")
    assert stranger.get(f"/v1/batches/{batch['id']}").status_code == 404


def test_a_batch_is_accepted_as_a_whole_or_not_at_all(
    service: RunningService, samples: Samples
) -> None:
    client = service.client("submit", "read")
    content = samples["genuine_librivox_1"].read_bytes()

    refused = client.post("/v1/batches", files=[("file", content), ("file", b"")])

    assert refused.status_code == 422
    assert client.get("/v1/detections").json()["detections"] == []
    assert list(service.service.store.keys()) == []
    keyed = client.post(
        "/v1/batches", files=[("file", content)], headers={"Idempotency-Key": "one"}
    )
    assert keyed.status_code == 422


def test_a_dry_run_is_told_beside_the_action(
    make_settings: MakeSettings, samples: Samples, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("dry_run = true\n[surfaces.upload]\nreview_from = 0.0\n")
    with running(make_settings(policy_file=policy)) as service:
        client = service.client("submit", "read")
        found = submit(client, samples["synthetic_espeak_1"], Prefer="wait=30").json()
    assert (found["action"], found["dry_run"]) == ("review", True)
    assert found["review"]["state"] is None


def test_one_recording_that_cannot_be_deleted_keeps_no_other(
    service: RunningService, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client("submit", "read")
    ids = [submit(client, samples["genuine_librivox_1"]).json()["id"] for _ in range(4)]
    for detection_id in ids:
        wait_until_done(client, detection_id)
    with service.database.write() as session:
        session.execute(update(Detection).values(retain_until=now() - timedelta(seconds=1)))
    store = service.service.store
    delete = store.delete

    def failing(key: str) -> None:
        if key.endswith(ids[1]):
            raise PermissionError(key)
        delete(key)

    monkeypatch.setattr(store, "delete", failing)
    assert retention.sweep(service.database, store) == 3
    assert client.get(f"/v1/detections/{ids[1]}").json()["audio"]["available"]


def test_a_full_queue_says_come_again(make_settings: MakeSettings, samples: Samples) -> None:
    with running(make_settings(queue_limit=1)) as service:
        client = service.client("submit", "read")
        service.service.worker.stop()  # nothing is taken from the queue any more
        assert submit(client, samples["genuine_librivox_1"]).status_code == 202

        refused = submit(client, samples["genuine_librivox_1"])

        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"


def test_metadata_comes_back_as_it_was_given(service: RunningService, samples: Samples) -> None:
    client = service.client("submit", "read")
    content = samples["genuine_librivox_1"].read_bytes()
    details = {"user": "Zoë", "room": 7, "tags": ["a", None]}

    found = client.post(
        "/v1/detections",
        files={"file": content},
        data={"metadata": json.dumps(details), "name": "call 7"},
    ).json()

    assert found["metadata"] == details
    assert found["name"] == "call 7"
    wrongs = ("[1]", "{", "[" * 50_000, json.dumps({"a": "b" * 20_000}))
    hostile = ('{"a":"\\ud800"}', '{"a":NaN}', '{"a":1e999}', '{"a":"\\u0000"}')
    deep = '{"a":' + "[" * 40 + "]" * 40 + "}"
    for wrong in (*wrongs, *hostile, deep, '{"a":' + "9" * 5000 + "}"):
        answer = client.post("/v1/detections", files={"file": content}, data={"metadata": wrong})
        assert answer.status_code in (413, 422), wrong[:20]
    for field in ({"surface": "radio"}, {"colour": "red"}, {"retention_days": "nan"}):
        answer = client.post("/v1/detections", files={"file": content}, data=field)
        assert answer.status_code == 422, field


def test_all_waiting_requests_share_batches_and_none_is_lost(
    service: RunningService, samples: Samples
) -> None:
    client = service.client("submit", "read")
    paths = list(samples.values()) * 6

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda path: submit(client, path, Prefer="wait=60"), paths))

    assert {answer.status_code for answer in answers} == {201}
    expected = Detector.load("tiny", device="cpu")
    by_name = {path.name: expected.detect(path).llr_synthetic for path in samples.values()}
    for answer in answers:
        found = answer.json()
        assert found["report"]["llr_synthetic"] == pytest.approx(by_name[found["name"]], abs=0.05)
