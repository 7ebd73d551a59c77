"""The audit chain: whole when it is whole, and broken by every single change."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from deepfake_audio.server import audit, migrations
from deepfake_audio.server.database import Base, Database

N = 12


def append(database: Database, number: int) -> audit.Head:
    with database.write() as session:
        return audit.append(
            session,
            actor="key_1",
            kind="test.done",
            subject=f"det_{number}",
            data={"number": number, "p": 0.1 + number / 7, "name": "Zoë"},
        )


def verify(database: Database, expected: audit.Head | None = None) -> audit.Verification:
    with database.read() as session:
        return audit.verify(session, expected=expected)


def test_migrations_make_the_tables_of_the_code(database: Database) -> None:
    migrations.upgrade(database)  # a second time changes nothing
    with database.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []


def test_a_chain_that_nobody_touched_is_whole(database: Database) -> None:
    assert verify(database).ok
    for number in range(N):
        head = append(database, number)
    found = verify(database)
    assert found.ok
    assert found.events == N
    assert found.head == head
    assert audit.Head.parse(str(head)) == head


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET data = '{\"number\":0}' WHERE seq = 5",
        "UPDATE audit_events SET actor = 'somebody' WHERE seq = 5",
        "UPDATE audit_events SET kind = 'test.undone' WHERE seq = 1",
        "UPDATE audit_events SET subject = 'det_x' WHERE seq = 12",
        "UPDATE audit_events SET at = '2020-01-01T00:00:00.000000+00:00' WHERE seq = 7",
        "UPDATE audit_events SET hash = previous WHERE seq = 3",
        "DELETE FROM audit_events WHERE seq = 1",
        "DELETE FROM audit_events WHERE seq = 6",
        "DELETE FROM audit_events WHERE seq = 12",
        "DELETE FROM audit_events",
        "UPDATE audit_head SET seq = 11",
        "DELETE FROM audit_head",
        "INSERT INTO audit_events SELECT 13, at, actor, kind, subject, data, previous, hash"
        " FROM audit_events WHERE seq = 12",
    ],
)
def test_whatever_is_changed_is_found(database: Database, statement: str) -> None:
    for number in range(N):
        append(database, number)
    with database.write() as session:
        session.execute(text(statement.replace(":", "\\:")))

    found = verify(database)

    assert not found.ok
    assert found.fault


def test_a_chain_written_anew_is_found_by_a_head_kept_elsewhere(database: Database) -> None:
    for number in range(N):
        head = append(database, number)
    with database.write() as session:  # somebody with all rights, who knows how it works
        session.execute(text("DELETE FROM audit_events WHERE seq > 8"))
        last = session.execute(text("SELECT hash FROM audit_events WHERE seq = 8")).scalar_one()
        session.execute(text("UPDATE audit_head SET seq = 8, hash = :hash"), {"hash": last})
    assert verify(database).ok
    assert "missing" in (verify(database, head).fault or "")

    for number in range(N):
        append(database, number)

    assert verify(database).ok
    assert "not the one expected" in (verify(database, head).fault or "")


def test_writers_at_the_same_moment_queue_up(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda number: append(database, number), range(40)))

    assert sorted(head.seq for head in heads) == list(range(1, 41))
    assert verify(database).ok


def test_a_chain_that_grows_meanwhile_is_whole(database: Database) -> None:
    for number in range(N):
        append(database, number)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            append(database, 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [verify(database).fault for _ in range(40)]
    finally:
        over.set()
        writer.join()
    assert set(found) == {None}


def test_an_event_that_is_undone_leaves_no_gap(database: Database) -> None:
    append(database, 0)

    def begun_and_given_up() -> None:
        with database.write() as session:
            audit.append(session, actor="a", kind="b", subject="c", data={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        begun_and_given_up()
    append(database, 1)
    assert verify(database).events == 2
    assert verify(database).ok


def test_exported_events_can_be_checked_by_anybody(database: Database) -> None:
    for number in range(3):
        append(database, number)
    with database.read() as session:
        exported = [json.loads(json.dumps(audit.as_dict(e))) for e in audit.events(session)]

    previous = audit.GENESIS
    for event in exported:
        stated = event.pop("hash")
        canonical = {"sort_keys": True, "separators": (",", ":")}
        event["data"] = json.dumps(event["data"], **canonical)
        assert event["previous"] == previous
        previous = hashlib.sha256(json.dumps(event, **canonical).encode()).hexdigest()
        assert previous == stated


def test_a_head_that_is_none() -> None:
    for wrong in ("", "7", "x:" + "0" * 64, "7:abc"):
        with pytest.raises(ValueError, match="not a head"):
            audit.Head.parse(wrong)
