"""Callbacks against a real receiver: signed, repeated, given up, never to where they must not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from deepfake_audio import signatures
from deepfake_audio.server import audit, outbound, webhooks
from deepfake_audio.server.database import Database, Delivery
from deepfake_audio.server.errors import NotFoundError, RequestError
from deepfake_audio.server.retention import Housekeeper
from deepfake_audio.server.store import Store
from deepfake_audio.server.webhooks import Courier
from deepfake_audio.signatures import SIGNATURE_HEADER

from .conftest import MakeSettings, dripping, running, tool, until

SECRET = "a secret"  # pragma: allowlist secret

FORBIDDEN = [
    "ftp://example.com/a",
    "file:///etc/passwd",
    "http://",
    "//example.com",
    "http://user:password@example.com/",  # pragma: allowlist secret
    "http://localhost/",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://172.16.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://224.0.0.1/",
    "http://example.com:99999/",
    "gopher://127.0.0.1/",
    "http://" + "a" * 3000,
]


class Receiver:
    """Somebody else's server."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, bytes, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                receiver.received.append((self.path, body, self.headers[SIGNATURE_HEADER]))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", receiver.url + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.stop()


def enqueue(database: Database, url: str, tenant: str = "acme") -> str:
    with database.write() as session:
        return webhooks.enqueue(
            session, tenant=tenant, subject="det_1", url=url, event="e", body={"n": 1}
        ).id


def state(database: Database, delivery_id: str) -> Delivery:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id)


def test_a_decision_is_called_back(
    make_settings: MakeSettings, receiver: Receiver, samples: dict[str, Path]
) -> None:
    settings = make_settings(webhook_secret=SECRET, webhook_allow_private=True)
    with running(settings) as service:
        client = service.client("submit", "read")
        found = client.post(
            "/v1/detections",
            files={"file": samples["genuine_librivox_1"].read_bytes()},
            data={"callback_url": f"{receiver.url}/hook?a=b"},
            headers={"Prefer": "wait=30"},
        ).json()
        until(lambda: receiver.received)

    [(path, body, signature)] = receiver.received
    assert path == "/hook?a=b"
    assert signatures.verify(SECRET, body, signature)
    told = json.loads(body)
    assert told["event"] == "detection.scored"
    assert told["data"] == found


def test_signatures_hold_for_one_body_one_secret_and_some_minutes() -> None:
    header = signatures.sign(SECRET, b"body", 1_000_000)
    assert signatures.verify(SECRET, b"body", header, now_s=1_000_010)
    assert not signatures.verify(SECRET, b"body!", header, now_s=1_000_010)
    assert not signatures.verify("another", b"body", header, now_s=1_000_010)
    assert not signatures.verify(SECRET, b"body", header, now_s=1_000_000 + 3600)  # replayed
    later = header.replace("t=1000000", "t=1003600")
    assert not signatures.verify(SECRET, b"body", later, now_s=1_003_600)
    for nonsense in ("", "t=,v1=", "t=x,v1=y", "v1=abc", "t=1,v1=é", "t=" + "9" * 400):
        assert not signatures.verify(SECRET, b"body", nonsense)


def test_an_ill_receiver_is_tried_again(database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 404]
    courier = Courier(database, SECRET, allow_private=True, delays_s=(0, 0, 0))
    delivery_id = enqueue(database, receiver.url)

    while courier.step():
        pass

    assert state(database, delivery_id).state == "delivered"
    assert len(receiver.received) == 4
    assert {path for path, _, _ in receiver.received} == {"/"}  # a redirection is not followed
    bodies = {body for _, body, _ in receiver.received}
    assert len(bodies) == 1  # the same identifier each time
    assert json.loads(bodies.pop())["id"] == delivery_id


def test_nobody_there_is_a_dead_letter_that_can_be_revived(
    database: Database, receiver: Receiver
) -> None:
    url = receiver.url
    receiver.stop()
    courier = Courier(database, SECRET, allow_private=True, delays_s=(0, 0))
    delivery_id = enqueue(database, url)

    while courier.step():
        pass

    dead = state(database, delivery_id)
    assert dead.state == "dead"
    assert dead.attempts == 3
    assert dead.last_error
    with database.read() as session:
        assert [event.kind for event in audit.events(session)] == ["webhook.dead"]
    with database.write() as session, pytest.raises(NotFoundError):
        webhooks.retry(session, delivery_id, tenant="other")
    with database.write() as session:
        assert webhooks.retry(session, delivery_id, tenant="acme").state == "pending"
    with database.write() as session, pytest.raises(RequestError, match="is pending"):
        webhooks.retry(session, delivery_id)


def test_dead_letters_are_listed_and_sent_again(
    make_settings: MakeSettings,
    receiver: Receiver,
    samples: dict[str, Path],
) -> None:
    settings = make_settings(webhook_secret=SECRET, webhook_allow_private=True)
    receiver.statuses = [500, 500]
    with running(settings) as service:
        service.service.courier._delays_s = ()  # given up at once
        client, admin = service.client("submit", "read"), service.client("admin")
        wait = {"Prefer": "wait=30"}
        for name in ("genuine_librivox_1", "synthetic_espeak_1"):
            client.post(
                "/v1/detections",
                files={"file": samples[name].read_bytes()},
                data={"callback_url": f"{receiver.url}/{name}"},
                headers=wait,
            ).raise_for_status()

        def dead(of: httpx.Client) -> list[dict[str, Any]]:
            return of.get("/v1/callbacks", params={"state": "dead"}).json()["callbacks"]

        until(lambda: len(dead(admin)) == 2)
        newer, older = dead(admin)
        assert older["url"] == f"{receiver.url}/genuine_librivox_1"
        assert older["event"] == "detection.scored"
        assert older["last_error"] == "HTTP status 500"
        params = {"limit": 1, "subject": newer["subject"]}
        assert admin.get("/v1/callbacks", params=params).json()["callbacks"] == [newer]
        stranger = service.client("admin", tenant="other")
        assert dead(stranger) == []
        assert stranger.post(f"/v1/callbacks/{older['id']}/retry").status_code == 404

        # One over the API, the other from the command line, into the running service.
        assert admin.post(f"/v1/callbacks/{older['id']}/retry").status_code == 202
        listed = tool(settings, "callbacks", "list").stdout
        assert newer["id"] in listed
        assert older["id"] not in listed
        assert tool(settings, "callbacks", "retry", "--tenant", "other", "--all").exit_code == 0
        assert tool(settings, "callbacks", "retry").exit_code == 2
        again = tool(settings, "callbacks", "retry", "--all")
        assert again.stderr.strip() == "1 will be tried again"
        until(lambda: len(receiver.received) == 4)
        until(lambda: not admin.get("/v1/callbacks?state=pending").json()["callbacks"])
        assert dead(admin) == []
        assert admin.post(f"/v1/callbacks/{older['id']}/retry").status_code == 409
        with service.database.read() as session:
            assert audit.verify(session).ok
            kinds = [event.kind for event in audit.events(session)]
    assert kinds.count("webhook.retried") == 2
    told = [(json.loads(body)["id"], body) for _, body, _ in receiver.received]
    assert len(set(told)) == 2  # the same bytes under the same identifier, twice each
    assert sorted(identifier for identifier, _ in told) == sorted(2 * [older["id"], newer["id"]])
    assert all(signatures.verify(SECRET, body, sign) for _, body, sign in receiver.received)


def test_what_was_delivered_long_ago_is_pruned(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_PRUNED_AT_ONCE", 2)
    old = webhooks.now() - webhooks.KEPT_DELIVERED
    states = {"delivered": 5, "dead": 1, "pending": 1}
    with database.write() as session:
        for state, count in states.items():
            for age in (timedelta(minutes=1), timedelta(minutes=-1)):
                for _ in range(count):
                    one = webhooks.enqueue(
                        session, tenant="t", subject="det_1", url="http://a/", event="e", body={}
                    )
                    one.state, one.next_at = state, old - age
    assert webhooks.prune(database) == 5
    assert webhooks.prune(database) == 0
    with database.read() as session:
        left = [one.state for one in session.scalars(select(Delivery))]
    assert {state: left.count(state) for state in states} == {
        "delivered": 5,
        "dead": 2,
        "pending": 2,
    }


def test_the_housekeeper_prunes(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        one = webhooks.enqueue(
            session, tenant="t", subject="det_1", url="http://a/", event="e", body={}
        )
        one.state = "delivered"
        one.next_at = webhooks.now() - webhooks.KEPT_DELIVERED - timedelta(minutes=1)
    housekeeper = Housekeeper(database, Store(str(tmp_path / "audio"), tmp_path / "incoming"))
    housekeeper.stop()  # after one round
    housekeeper.run()
    with database.read() as session:
        assert not session.scalars(select(Delivery)).all()


def test_delays_are_kept(database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500]
    courier = Courier(database, SECRET, allow_private=True, delays_s=(3600,))
    enqueue(database, receiver.url)
    assert courier.step()
    assert not courier.step()
    assert len(receiver.received) == 1


def test_a_target_that_drips_delays_nobody(database: Database, receiver: Receiver) -> None:
    courier = Courier(database, SECRET, allow_private=True)
    with contextlib.ExitStack() as slow:
        for _ in range(6):
            url = slow.enter_context(dripping(b"HTTP/1.1 200 OK\r\nX-Long: "))
            for _ in range(3):
                enqueue(database, url)
        enqueue(database, receiver.url, tenant="other")
        courier.start()
        deadline = time.monotonic() + 3
        while not receiver.received and time.monotonic() < deadline:
            time.sleep(0.02)
        assert receiver.received
        in_hand = [attempt.origin for attempt in courier._in_hand if attempt.tenant == "acme"]
        assert len(in_hand) == len(set(in_hand)) == 2
    courier.stop()


def test_a_target_that_drips_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.5)
    courier = Courier(database, SECRET, allow_private=True)
    with dripping(b"HTTP/1.1 200 OK\r\nX-Long: ") as url:
        delivery_id = enqueue(database, url)
        began = time.monotonic()
        assert courier.step()
        assert time.monotonic() - began < 3
    found = state(database, delivery_id)
    assert found.state == "pending"
    assert "took too long" in (found.last_error or "")
    assert not courier._in_hand


def test_where_callbacks_never_go(database: Database) -> None:
    """Refused at the door, or by the lookup before the call: nothing is ever sent."""
    courier = Courier(database, SECRET, delays_s=())
    for url in FORBIDDEN:
        with contextlib.suppress(RequestError):
            outbound.check_url(url, allow_private=False, name="callback_url")
            delivery_id = enqueue(database, url)
            assert courier.step(), url
            found = state(database, delivery_id)
            assert found.state == "dead", url
            assert "private" in (found.last_error or ""), url
    assert not courier.step()


def test_a_name_that_leads_inside_is_not_called(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(host: str, port: int, *rest: object, **given: object) -> list[tuple]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", lookup)
    url = receiver.url.replace("127.0.0.1", "rebinding.example.com")
    outbound.check_url(url, allow_private=False, name="callback_url")
    enqueue(database, url)

    assert Courier(database, SECRET, delays_s=()).step()

    assert receiver.received == []
    with database.read() as session:
        [delivery] = session.scalars(select(Delivery))
        assert delivery.state == "dead"


def test_without_a_secret_none_are_accepted(
    make_settings: MakeSettings, samples: dict[str, Path]
) -> None:
    with running(make_settings()) as service:
        answer = service.client("submit").post(
            "/v1/detections",
            files={"file": samples["genuine_librivox_1"].read_bytes()},
            data={"callback_url": "https://example.com/hook"},
        )
    assert answer.status_code == 422
    assert "webhook_secret" in answer.json()["error"]["hint"]
