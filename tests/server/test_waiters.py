"""Requests that wait: told by their own worker at once, by the record otherwise, and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from deepfake_audio.server import waiters
from deepfake_audio.server.database import Database, Detection
from deepfake_audio.server.waiters import Waiters

from .test_accepting import detection

WAIT_S = 20


@pytest.fixture
def looking(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiters]:
    """Waiters whose thread looks into the record, and does not take its time."""
    monkeypatch.setattr(waiters, "LOOK_S", 0.02)
    found = Waiters(database)
    found.start()
    yield found
    found.stop()
    assert not found.is_alive()


def put(database: Database, status: str) -> Detection:
    made = detection(status=status)
    with database.write() as session:
        session.add(made)
    return made


def test_the_own_worker_tells_at_once(database: Database) -> None:
    found = Waiters(database)  # nobody looks into the record
    done, other = detection(status="done"), detection(status="done")

    async def wait() -> None:
        with (
            found.waiting(done.id) as first,
            found.waiting(done.id) as second,
            found.waiting(other.id) as third,
        ):
            await asyncio.to_thread(found.tell, [done])
            assert await asyncio.wait_for(first, WAIT_S) is done
            assert await asyncio.wait_for(second, WAIT_S) is done
            assert not third.done()

    asyncio.run(wait())
    assert not found._waiting


def test_what_other_processes_do_is_found_in_the_record(
    database: Database, looking: Waiters
) -> None:
    done, failed = put(database, "processing"), put(database, "queued")

    async def wait() -> None:
        with looking.waiting(done.id) as first, looking.waiting(failed.id) as second:
            await asyncio.sleep(0.1)
            assert not first.done()
            assert not second.done()
            for each, status in ((done, "done"), (failed, "failed")):
                with database.write() as session:
                    session.get_one(Detection, each.id).status = status
            assert (await asyncio.wait_for(first, WAIT_S)).status == "done"
            assert (await asyncio.wait_for(second, WAIT_S)).status == "failed"

    asyncio.run(wait())


def test_more_than_a_query_holds_are_all_found(
    database: Database, looking: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "_AT_A_TIME", 3)
    ids = [put(database, "done").id for _ in range(8)]

    async def one(identifier: str) -> str:
        with looking.waiting(identifier) as future:
            return (await asyncio.wait_for(future, WAIT_S)).id

    async def everyone() -> list[str]:
        return await asyncio.gather(*map(one, ids))

    assert asyncio.run(everyone()) == ids


def test_an_outage_is_waited_out(
    database: Database, looking: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = put(database, "done")
    read, asked = database.read, []

    def away_at_first() -> object:
        asked.append(None)
        if len(asked) < 3:
            raise OSError("no database")
        return read()

    monkeypatch.setattr(database, "read", away_at_first)

    async def wait() -> str:
        with looking.waiting(done.id) as future:
            return (await asyncio.wait_for(future, WAIT_S)).id

    assert asyncio.run(wait()) == done.id
    assert len(asked) >= 3


def test_who_has_gone_is_forgotten(database: Database) -> None:
    found = Waiters(database)
    done = detection(status="done")

    async def leave() -> None:
        with pytest.raises(asyncio.TimeoutError), found.waiting(done.id) as future:
            await asyncio.wait_for(future, 0.01)  # cancels what it waited for
        assert not found._waiting
        with found.waiting(done.id) as future:
            future.cancel()
            found.tell([done])  # nobody minds
            await asyncio.sleep(0)

    asyncio.run(leave())
    assert not found._waiting


def test_a_loop_that_has_ended_is_no_trouble(database: Database) -> None:
    found = Waiters(database)
    done = detection(status="done")
    loop = asyncio.new_event_loop()

    async def begin() -> object:
        kept = found.waiting(done.id)
        kept.__enter__()
        return kept

    kept = loop.run_until_complete(begin())
    loop.close()
    found.tell([done])
    assert not found._waiting
    del kept
