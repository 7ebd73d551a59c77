"""Whatever dies, nothing that was accepted is lost, and nothing is scored twice in the record."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from deepfake_audio.server import audit, claims, detections, migrations, retention
from deepfake_audio.server.claims import Outcome
from deepfake_audio.server.database import AuditEvent, Database, Detection, new_id, now
from deepfake_audio.server.detections import Submission
from deepfake_audio.server.store import Store

from .conftest import MakeSettings, Postgres, RunningService, running

Samples = dict[str, Path]


@contextmanager
def process(data: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the service as people do, and wait until it listens."""
    command = [sys.executable, "-c", "from deepfake_audio.cli import main; main()", "serve"]
    options = ["--insecure-local", "--port", "0", "--data", str(data), "--model", "tiny"]
    started = subprocess.Popen(
        command + options,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert started.stderr is not None
    lines = []
    for line in started.stderr:
        lines.append(line)
        if found := re.search(r"listening on (\S+)", line):
            break
    else:
        raise AssertionError("".join(lines))
    drain = threading.Thread(target=started.stderr.read, daemon=True)
    drain.start()
    try:
        yield started, found[1]
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
            started.wait(60)


def check_record(database: Database, accepted: set[str]) -> None:
    """Every accepted submission is recorded once, with one audit event of each kind."""
    with database.read() as session:
        assert audit.verify(session).ok
        found = list(session.scalars(select(Detection)))
        events = Counter(map(tuple, session.execute(select(AuditEvent.kind, AuditEvent.subject))))
    assert accepted <= {detection.id for detection in found}
    for detection in found:
        assert detection.status == "done", detection.status
        assert events["detection.submitted", detection.id] == 1
        assert events["detection.scored", detection.id] == 1


def all_done(database: Database) -> bool:
    with database.read() as session:
        return detections.n_waiting(session) == 0


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.long
def test_kill_9_in_the_middle_of_submissions(tmp_path: Path, samples: Samples) -> None:
    content = samples["genuine_librivox_1"].read_bytes()
    accepted: set[str] = set()
    database = Database(f"sqlite:///{tmp_path / 'service.sqlite3'}")
    for enough in (10, 20):
        with process(tmp_path, DEEPFAKE_AUDIO_LEASE_S="2") as (started, url):

            def send(url: str = url) -> None:
                with httpx.Client(base_url=url) as client:
                    while True:
                        try:
                            answer = client.post("/v1/detections", files={"file": content})
                        except httpx.HTTPError:
                            return  # killed
                        accepted.add(answer.json()["id"])

            senders = [threading.Thread(target=send) for _ in range(4)]
            for sender in senders:
                sender.start()
            wait_for(lambda enough=enough: len(accepted) >= enough)
            while True:  # at a moment at which something waits
                os.killpg(started.pid, signal.SIGSTOP)
                if not all_done(database):
                    break
                os.killpg(started.pid, signal.SIGCONT)
                time.sleep(0.03)
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            for sender in senders:
                sender.join()
    assert not all_done(database)

    with process(tmp_path, DEEPFAKE_AUDIO_LEASE_S="2"):
        wait_for(lambda: all_done(database))

    check_record(database, accepted)
    database.close()


@pytest.mark.long
def test_an_interrupted_service_gives_back_what_it_has_not_begun(
    tmp_path: Path, samples: Samples
) -> None:
    content = samples["genuine_librivox_1"].read_bytes()
    with process(tmp_path) as (started, url), httpx.Client(base_url=url) as client:
        accepted = {
            client.post("/v1/detections", files={"file": content}).json()["id"] for _ in range(40)
        }
        started.send_signal(signal.SIGTERM)
        started.wait(30)
    database = Database(f"sqlite:///{tmp_path / 'service.sqlite3'}")
    with database.read() as session:
        states = Counter(session.scalars(select(Detection.status)))
    assert set(states) <= {"done", "queued"}
    assert sum(states.values()) == len(accepted)

    with process(tmp_path):  # nobody has to wait for a lease
        wait_for(lambda: all_done(database), 30)

    check_record(database, accepted)
    database.close()


@pytest.mark.long
def test_a_database_that_is_restarted(
    postgres: Postgres, make_settings: MakeSettings, samples: Samples, tmp_path: Path
) -> None:
    url = postgres.create(f"restarted-{time.time_ns()}")
    content = samples["genuine_librivox_1"].read_bytes()
    with running(make_settings(database_url=url)) as service:
        client = service.client("submit", "read")
        accepted = set()
        refused = 0
        for number in range(30):
            if number == 10:
                postgres.stop()
            if number == 16:
                postgres.start()
            answer = client.post("/v1/detections", files={"file": content})
            if answer.status_code == 202:
                accepted.add(answer.json()["id"])
            else:
                assert answer.status_code == 503
                assert answer.json()["error"]["code"] == "unavailable"
                refused += 1
        assert refused
        wait_for(lambda: all_done(service.database))
        check_record(service.database, accepted)


def test_a_full_disk_refuses_and_goes_on(
    service: RunningService, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client("submit", "read")
    content = samples["genuine_librivox_1"].read_bytes()
    write = os.write

    def full(handle: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{handle}").startswith(str(service.service.store.incoming)):
            raise OSError(28, "No space left on device")
        return write(handle, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        answer = client.post("/v1/detections", files={"file": content})
    assert answer.status_code == 507
    assert answer.json()["error"]["code"] == "disk_full"
    assert list(service.service.store.incoming.iterdir()) == []

    fine = client.post("/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"})
    assert fine.status_code == 201


@pytest.fixture
def bare(database_url: str, tmp_path: Path) -> Iterator[tuple[Database, Store]]:
    """A database and a store without a service."""
    database = Database(database_url)
    migrations.upgrade(database)
    yield database, Store(str(tmp_path / "audio"), tmp_path / "incoming")
    database.close()


def accept(database: Database, store: Store, **given: str) -> Detection:
    with store.upload() as path:
        path.write_bytes(b"x")
        submission = Submission(
            tenant="acme",
            actor="key_1",
            path=path,
            sha256="0" * 64,
            n_bytes=1,
            name="a",
            surface="upload",
            details={},
            retention_days=1,
            **given,
        )
        detection = detections.keep(store, submission)
        detections.record(database, [detection])
        return detection


def test_a_claim_that_passed_on_does_not_count(bare: tuple[Database, Store]) -> None:
    database, store = bare
    accept(database, store)
    [first] = claims.claim(database, 10, lease_s=60)
    assert claims.claim(database, 10, lease_s=60) == []
    with database.write() as session:  # its worker has said nothing for too long
        session.execute(update(Detection).values(claimed_until=now() - timedelta(seconds=1)))
    [second] = claims.claim(database, 10, lease_s=60)
    assert second.attempts == 2

    from deepfake_audio.errors import CorruptAudioError

    late = claims.finish(database, [Outcome(first, error=CorruptAudioError("late"))])
    good = claims.finish(database, [Outcome(second, error=CorruptAudioError("good"))])
    again = claims.finish(database, [Outcome(second, error=CorruptAudioError("again"))])

    assert [[one.id for one in told] for told in (late, good, again)] == [[], [second.id], []]
    with database.read() as session:
        stored = session.get_one(Detection, second.id)
        assert stored.error is not None
        assert stored.error["message"] == "good"
        assert audit.verify(session).events == 2


def test_audio_that_no_record_speaks_of_is_swept_up(bare: tuple[Database, Store]) -> None:
    database, store = bare
    kept = accept(database, store)
    store.delete(kept.audio_key)  # so that the store is empty when it is first looked at
    retention.sweep_orphans(database, store)
    kept = accept(database, store)
    old, young = new_id("det", now() - timedelta(hours=2)), new_id("det")
    for orphan in (old, young):  # as a kill between the two steps of accepting leaves them
        with store.upload() as path:
            path.write_bytes(b"x")
            store.keep(path, store.key("acme", orphan))

    assert retention.sweep_orphans(database, store) == 1

    assert set(store.keys()) == {kept.audio_key, store.key("acme", young)}


def test_nothing_is_swept_up_in_the_store_of_another_database(
    bare: tuple[Database, Store], tmp_path: Path
) -> None:
    database, store = bare
    accept(database, store)
    assert retention.sweep_orphans(database, store) == 0  # an unmarked store is left alone ...
    other_store = Store(str(tmp_path / "other"), tmp_path / "incoming")
    assert other_store.belongs_to("somebody else")
    old = other_store.key("acme", new_id("det", now() - timedelta(hours=2)))
    with other_store.upload() as path:
        path.write_bytes(b"x")
        other_store.keep(path, old)

    assert retention.sweep_orphans(database, other_store) == 0

    assert list(other_store.keys()) == [old]


def test_no_decoder_to_be_had_is_no_fault_of_the_recording(
    service: RunningService, samples: Samples
) -> None:
    sandbox = service.service.sandbox
    command = list(sandbox._command)
    sandbox._command[0] = "/nonexistent/python"
    client = service.client("submit", "read")
    content = samples["genuine_librivox_1"].read_bytes()
    found = client.post("/v1/detections", files={"file": content}).json()
    time.sleep(3)
    sandbox._command[:] = command
    for _ in range(200):
        state = client.get(f"/v1/detections/{found['id']}").json()["status"]
        if state == "done":
            break
        time.sleep(0.05)
    assert state == "done"


def test_claims_are_taken_once_by_many(bare: tuple[Database, Store]) -> None:
    database, store = bare
    expected = {accept(database, store).id for _ in range(40)}
    taken: list[str] = []

    def work() -> None:
        while claimed := claims.claim(database, 3, lease_s=60):
            taken.extend(detection.id for detection in claimed)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(taken) == sorted(expected)


def test_a_recording_that_ends_the_service_is_given_up(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings()
    with running(settings) as service:
        service.service.worker.stop()
        detection = accept(service.database, service.service.store)
        with service.database.write() as session:  # as three crashes leave it
            session.execute(
                update(Detection).values(
                    status="processing",
                    claim="claim_0",
                    claimed_until=now() - timedelta(seconds=1),
                    attempts=claims.MAX_ATTEMPTS,
                )
            )
    with running(settings) as service:
        wait_for(lambda: all_done(service.database))
        with service.database.read() as session:
            found = session.get_one(Detection, detection.id)
            assert found.status == "failed"
            assert "given up" in (found.error or {})["message"]


@pytest.mark.long
def test_a_store_that_is_away_for_a_while_costs_nothing(
    bucket: Any, make_settings: MakeSettings, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = samples["genuine_librivox_1"].read_bytes()
    with running(make_settings(storage_url="s3://clips/voice")) as service:
        client = service.client("submit", "read")
        away = [OSError("connection refused")] * (claims.MAX_ATTEMPTS + 2)
        opened = service.service.store._fs.open

        def flaky(*given: object, **options: object) -> object:
            if away:
                raise away.pop()
            return opened(*given, **options)

        monkeypatch.setattr(service.service.store._fs, "open", flaky)
        answer = client.post(
            "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
        )
        assert answer.status_code == 201
        assert away == []


def test_a_fault_of_ours_is_given_up_in_the_end(
    service: RunningService, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **options: object) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(service.service.sandbox, "read", broken)
    content = samples["genuine_librivox_1"].read_bytes()
    found = service.client("submit", "read").post(
        "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
    )
    assert found.json()["status"] == "failed"
    assert "given up" in found.json()["error"]["message"]
