"""Submissions that are recorded together, and the bound on how many may wait."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from deepfake_audio.server import accepting, audit, detections
from deepfake_audio.server.accepting import TOGETHER, Acceptor, QueueRoom
from deepfake_audio.server.database import Database, Detection, new_id, now
from deepfake_audio.server.errors import RequestError

WAIT_S = 20


def detection(idempotency_key: str | None = None, status: str = "queued") -> Detection:
    moment = now()
    return Detection(
        id=new_id("det"),
        tenant="acme",
        submitted_by="key_1",
        created_at=moment,
        idempotency_key=idempotency_key,
        surface="upload",
        name="clip.wav",
        sha256="0" * 64,
        n_bytes=1,
        details={},
        retain_until=moment + timedelta(days=1),
        status=status,
        attempts=0,
    )


class Groups:
    """Sees each transaction that an acceptor makes, and can hold the first one up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        record = detections.record

        def recording(database: Database, accepted: list[Detection]) -> None:
            self.sizes.append(len(accepted))
            self.begun.set()
            assert self.go_on.wait(WAIT_S)
            record(database, accepted)

        monkeypatch.setattr(accepting.detections, "record", recording)


def recorded(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Detection)) or 0


def test_those_that_come_during_a_commit_are_the_next_group(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = Groups(monkeypatch)
    told: list[int] = []
    acceptor = Acceptor(database, on_accepted=lambda: told.append(recorded(database)))
    acceptor.start()
    futures = [acceptor.accept(detection())]
    assert groups.begun.wait(WAIT_S)
    futures += [acceptor.accept(detection()) for _ in range(TOGETHER + 3)]
    assert not any(future.done() for future in futures)  # nothing is on the disk yet
    groups.go_on.set()
    for future in futures:
        assert future.result(WAIT_S) is None
    acceptor.stop()

    assert groups.sizes == [1, TOGETHER, 3]
    assert told == [1, 1 + TOGETHER, 4 + TOGETHER]  # after each transaction, and not before
    with database.read() as session:
        assert audit.verify(session).ok
        kinds = [event.kind for event in audit.events(session)]
    assert kinds == ["detection.submitted"] * (TOGETHER + 4)


def test_a_taken_idempotency_key_is_the_matter_of_its_sender(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = Groups(monkeypatch)
    acceptor = Acceptor(database, on_accepted=lambda: None)
    acceptor.start()
    first = acceptor.accept(detection())
    assert groups.begun.wait(WAIT_S)
    named = [detection("once"), detection("twice"), detection("once"), detection()]
    futures = [acceptor.accept(each) for each in named]
    groups.go_on.set()
    acceptor.stop()

    assert first.result(0) is None
    assert [type(future.exception(0)) for future in futures] == [
        type(None), type(None), IntegrityError, type(None)
    ]  # fmt: skip
    with database.read() as session:
        found = set(session.scalars(select(Detection.id)))
        assert audit.verify(session).ok
    assert {named[0].id, named[1].id, named[3].id} < found
    assert named[2].id not in found


def test_a_database_that_is_away_is_told_to_all_and_the_next_are_accepted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = detections.record
    outage = OSError("the disk is gone")

    def away(database: Database, accepted: list[Detection]) -> None:
        monkeypatch.setattr(accepting.detections, "record", record)
        raise outage

    monkeypatch.setattr(accepting.detections, "record", away)
    told: list[None] = []
    acceptor = Acceptor(database, on_accepted=lambda: told.append(None))
    futures = [acceptor.accept(detection()) for _ in range(2)]  # before it runs: one group
    acceptor.start()
    assert [future.exception(WAIT_S) for future in futures] == [outage, outage]
    assert not told
    assert acceptor.accept(detection()).result(WAIT_S) is None
    acceptor.stop()
    assert recorded(database) == 1


def test_what_was_handed_in_is_recorded_before_the_end(database: Database) -> None:
    acceptor = Acceptor(database, on_accepted=lambda: None)
    futures: list[Future[None]] = [acceptor.accept(detection()) for _ in range(5)]
    acceptor.start()
    acceptor.stop()
    assert not acceptor.is_alive()
    assert [future.result(0) for future in futures] == [None] * 5
    assert recorded(database) == 5


def test_whoever_hangs_up_has_handed_it_in_all_the_same(database: Database) -> None:
    acceptor = Acceptor(database, on_accepted=lambda: None)
    future = acceptor.accept(detection())
    assert not future.cancel()
    acceptor.start()
    acceptor.stop()
    assert recorded(database) == 1


def put(database: Database, count: int) -> None:
    with database.write() as session:
        session.add_all([detection() for _ in range(count)])


def test_a_full_queue_turns_submissions_away(database: Database) -> None:
    room = QueueRoom(database, limit=10)
    put(database, 8)
    room.check(2)
    with pytest.raises(RequestError, match="8 recordings wait") as refused:
        room.check(3)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 2)
    with database.write() as session:  # what is done waits no more
        session.execute(update(Detection).values(status="done"))
    room.check(10)


def test_far_from_the_limit_the_database_is_not_asked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(accepting.time, "monotonic", lambda: clock[0])
    room = QueueRoom(database, limit=20)
    assert not room.is_plenty(1)  # nobody has counted yet
    room.check(1)
    assert [room.is_plenty(3) for _ in range(4)] == [True, True, True, False]  # 1 + 9 of 10
    assert room.is_plenty(0)
    clock[0] = 60.0
    assert not room.is_plenty(1)  # the count is too old
    put(database, 12)
    room.check(1)
    assert not room.is_plenty(1)  # what others accepted counts
