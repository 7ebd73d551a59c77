"""The Python clients against the real service."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from asyncio import Semaphore
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepfake_audio.client import (
    AsyncClient,
    Client,
    Detection,
    ServiceError,
    _answers,
    _async,
    _blocking,
    verify,
)
from deepfake_audio.report import Verdict
from deepfake_audio.signatures import sign

from .conftest import MakeSettings, RunningService, free_port, running

Samples = dict[str, Path]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    from deepfake_audio.server.settings import Settings

    folder = tmp_path_factory.mktemp("client")
    settings = Settings.load(None, data_dir=folder / "data", port=0, model="tiny", device="cpu")
    with running(settings) as found:
        yield found


def test_a_recording_in_and_a_report_out(service: RunningService, samples: Samples) -> None:
    path = samples["genuine_librivox_1"]
    with Client(service.url, service.key("submit", "read")) as client:
        found = client.submit(path, wait_s=30, surface="message", metadata={"call": 7})
        assert found.finished
        assert found.status == "done"
        assert found.report is not None
        assert found.report.verdict in Verdict
        assert found.report.input.name == path.name
        assert found.fields["metadata"] == {"call": 7}
        assert found.fields["surface"] == "message"
        assert client.get(found.id) == found
        gone = client.delete_audio(found.id)
        assert not gone.fields["audio"]["available"]


def test_the_same_key_is_the_same_detection(service: RunningService, samples: Samples) -> None:
    content = samples["genuine_librivox_1"].read_bytes()
    with Client(service.url, service.key("submit", "read", tenant="twice")) as client:
        first = client.submit(content, name="a.flac", idempotency_key="once")
        assert client.submit(content, idempotency_key="once").id == first.id
        assert client.submit(content).id != first.id
        with pytest.raises(ServiceError, match="another recording") as refused:
            client.submit(content + b"x", idempotency_key="once")
        assert (refused.value.status, refused.value.code) == (422, "idempotency_conflict")
        assert client.wait(first.id).fields["name"] == "a.flac"


def test_pages_are_read_to_the_end(service: RunningService) -> None:
    with Client(service.url, service.key("submit", "read", tenant="pages")) as client:
        made = [client.submit(b"no audio at all", wait_s=30) for _ in range(5)]
        assert {one.status for one in made} == {"failed"}
        assert made[0].error is not None
        assert made[0].error["code"] == "unsupported_format"
        assert made[0].report is None
        found = list(client.list(status="failed", limit=2))
        assert [one.id for one in found] == sorted((one.id for one in made), reverse=True)
        assert list(client.list(status="done")) == []


def test_refusals_say_what_is_wrong(service: RunningService, tmp_path: Path) -> None:
    with Client(service.url, "dfa_wrong") as client:
        with pytest.raises(ServiceError, match="no valid API key") as refused:
            client.submit(b"x")
        assert refused.value.status == 401
        assert "keys create" in str(refused.value)
        with pytest.raises(FileNotFoundError):
            client.submit(tmp_path / "nowhere.wav")
    with Client(service.url, service.key("read")) as client:
        for strange in ("det_0", "../../metrics", "a/b?c#d"):
            with pytest.raises(ServiceError) as refused:
                client.get(strange)
            assert refused.value.status == 404
    with (
        Client(f"http://127.0.0.1:{free_port()}", patience_s=0) as client,
        pytest.raises(ServiceError, match="no answer"),
    ):
        client.get("det_0")


def test_waiting_has_an_end(
    make_settings: MakeSettings, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocking, "POLL_S", 0.02)
    with running(make_settings()) as service:
        service.service.worker.stop()
        with Client(service.url, service.key("submit", "read")) as client:
            found = client.submit(samples["genuine_librivox_1"])
            with pytest.raises(TimeoutError, match="queued after"):
                client.wait(found.id, within_s=0.1)
        service.service.worker.stop = lambda: None


@contextmanager
def stubborn() -> Iterator[tuple[str, list[str]]]:
    """A service that first breaks off, then is full, then accepts; and the keys it was sent."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Idempotency-Key"])
            if len(asked) == 1:
                self.connection.shutdown(socket.SHUT_RDWR)  # without an answer
                return
            body, status = (b"<html>", 503) if len(asked) == 2 else (json.dumps(DONE).encode(), 202)
            self.send_response(status)
            self.send_header("Retry-After", "3")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_full_service_and_one_that_is_away_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append)
    monkeypatch.setattr(_blocking, "time", clock)
    with stubborn() as (url, asked), Client(url) as client:
        assert client.submit(b"sound").id == "det_1"
    assert len(asked) == 3
    assert len(set(asked)) == 1  # under one key: none of it is scored twice
    assert pauses == [1.0, 3.0]


def test_whoever_awaits_is_as_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def main(url: str) -> Detection:
        monkeypatch.setattr(_async, "asyncio", SimpleNamespace(sleep=sleep, Semaphore=Semaphore))
        async with AsyncClient(url) as client:
            return await client.submit(b"sound")

    with stubborn() as (url, asked):
        assert asyncio.run(main(url)).id == "det_1"
    assert len(asked) == 3
    assert len(set(asked)) == 1
    assert pauses == [1.0, 3.0]


def test_patience_begins_with_the_first_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_s = 0.0
    monkeypatch.setattr(_answers, "time", SimpleNamespace(monotonic=lambda: passed_s))

    async def sleep(seconds: float) -> None:
        """Take no time."""

    async def main(url: str) -> Detection:
        nonlocal passed_s
        async with AsyncClient(url, patience_s=5, connections=1) as client:
            async with client._turns:
                waiting = asyncio.create_task(client.submit(b"sound"))
                await asyncio.sleep(0)
                passed_s += 100
            monkeypatch.setattr(_async, "asyncio", SimpleNamespace(sleep=sleep))
            return await waiting

    with stubborn() as (url, _):
        assert asyncio.run(main(url)).id == "det_1"


def test_many_are_awaited_at_a_time(
    service: RunningService, samples: Samples, tmp_path: Path
) -> None:
    paths = [samples["genuine_librivox_1"], samples["synthetic_espeak_1"]] * 4
    key = service.key("submit", "read", tenant="async")

    async def main() -> None:
        async with AsyncClient(service.url, key, connections=3) as client:
            found = await asyncio.gather(*(client.submit(path, wait_s=30) for path in paths))
            assert [one.report.input.name for one in found if one.report] == [p.name for p in paths]
            assert len({one.id for one in found}) == len(paths)
            assert await client.get(found[0].id) == found[0]
            assert await client.wait(found[0].id) == found[0]
            listed = [one.id async for one in client.list(limit=3)]
            assert listed == sorted((one.id for one in found), reverse=True)
            gone = await client.delete_audio(found[0].id)
            assert not gone.fields["audio"]["available"]
            with pytest.raises(ServiceError) as refused:
                await client.get("../../metrics")
            assert refused.value.status == 404
            with pytest.raises(FileNotFoundError):
                await client.submit(tmp_path / "nowhere.wav")
        away = AsyncClient(f"http://127.0.0.1:{free_port()}", patience_s=0)
        with pytest.raises(ServiceError, match="no answer"):
            await away.get("det_0")
        await away.close()

    asyncio.run(main())


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type) -> dict[str, list[str]]:
        methods = {name: getattr(kind, name) for name in vars(kind) if not name.startswith("_")}
        return {name: list(signature(method).parameters) for name, method in methods.items()}

    assert offered(AsyncClient) == offered(Client)


DONE = {"id": "det_1", "status": "queued", "action": None, "report": None, "error": None}


def test_receivers_check_callbacks_with_it() -> None:
    header = sign("secret", b"{}", 1_000)
    assert verify("secret", b"{}", header, now_s=1_100)
    assert not verify("secret", b"{ }", header, now_s=1_100)
