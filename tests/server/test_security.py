"""What strangers, other tenants and hostile clients get: as little as possible, in one line."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from deepfake_audio.server import keys, patience
from deepfake_audio.server.database import now

from .conftest import MakeSettings, RunningService, running

Samples = dict[str, Path]

OPEN = {"/healthz", "/readyz"}
NO_SUCH = {
    "detection_id": "det_0",
    "batch_id": "bat_0",
    "stream_id": "room_0",
    "callback_id": "evt_0",
}


def endpoints(service: RunningService) -> list[tuple[str, str]]:
    """Every method and path that the service answers, parameters filled in."""
    schema = httpx.get(f"{service.url}/openapi.json").json()
    return [
        (method.upper(), path.format(**NO_SUCH))
        for path, methods in schema["paths"].items()
        for method in methods
        if path not in OPEN
    ]


def test_without_a_key_nothing_is_answered(service: RunningService) -> None:
    found = endpoints(service)
    assert len(found) >= 9
    client = service.client()
    for headers in (
        {},
        {"Authorization": "Bearer dfa_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer"},
    ):
        for method, path in found:
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "unauthorized"
            assert answer.headers["WWW-Authenticate"] == "Bearer"


OPENED_BY = {
    "POST /v1/detections": "submit",
    "GET /v1/detections": "read",
    "GET /v1/detections/det_0": "read",
    "DELETE /v1/detections/det_0": "submit",
    "GET /v1/detections/det_0/audio": "review",
    "GET /v1/detections/det_0/audio.wav": "review",
    "GET /v1/detections/det_0/events": "review",
    "GET /v1/detections/det_0/reviews": "review",
    "POST /v1/detections/det_0/reviews": "review",
    "POST /v1/batches": "submit",
    "GET /v1/batches/bat_0": "read",
    "GET /v1/streams": "read",
    "GET /v1/streams/room_0": "read",
    "GET /v1/reviews/queue": "review",
    "GET /v1/dashboard": "review",
    "GET /v1/callbacks": "admin",
    "POST /v1/callbacks/evt_0/retry": "admin",
    "GET /v1/me": "read operator",
    "GET /v1/models": "read operator",
    "POST /v1/models/promote": "operator",
    "GET /v1/audit/head": "operator",
    "GET /metrics": "operator",
}
"""What of the door each key opens; ``admin`` opens everything but what is an operator's alone."""


@pytest.mark.parametrize("scope", keys.Scope)
def test_a_key_opens_what_its_scope_says(service: RunningService, scope: keys.Scope) -> None:
    client = service.client(scope)
    opened = set()
    for method, path in endpoints(service):
        answer = client.request(method, path)
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "forbidden"
        else:
            opened.add(f"{method} {path}")
    assert opened == {
        endpoint
        for endpoint, scopes in OPENED_BY.items()
        if scope in scopes.split() or (scope == "admin" and scopes != "operator")
    }
    assert len(endpoints(service)) == len(OPENED_BY)


def test_the_tenants_admin_is_not_the_operator(make_settings: MakeSettings) -> None:
    """One tenant's people must not change what decides about another tenant's recordings."""
    with running(make_settings(candidate_model="unittest")) as service:
        live = service.service.engine.model.sha256
        answer = service.client("submit", "read", "review", "admin").post("/v1/models/promote")
        assert answer.status_code == 403
        assert "scope operator" in answer.json()["error"]["message"]
        assert service.service.engine.model.sha256 == live
        operator = service.client("operator")
        assert operator.get("/v1/me").json()["scopes"] == ["operator"]
        assert operator.post("/v1/models/promote").is_success
        assert service.service.engine.model.sha256 != live


def test_another_tenant_sees_nothing(service: RunningService, samples: Samples) -> None:
    owner = service.client("submit", "read", "review")
    stranger = service.client("submit", "read", "review", tenant="other")
    content = samples["genuine_librivox_1"].read_bytes()
    found = owner.post(
        "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
    ).json()
    url = f"/v1/detections/{found['id']}"

    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/audio"), ("GET", "/audio.wav")):
        answer = stranger.request(method, url + path)
        assert answer.status_code == 404, (method, path)
        absent = stranger.request(method, f"/v1/detections/det_0{path}").json()
        assert (
            answer.json()["error"]["message"].replace(found["id"], "det_0")
            == (absent["error"]["message"])
        )
    assert stranger.get("/v1/detections").json()["detections"] == []
    assert owner.get(url).json()["audio"]["available"]


def test_keys_end_when_they_are_told_to(service: RunningService) -> None:
    def opens(secret: str) -> bool:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{service.url}/v1/me", headers=headers).is_success

    with service.database.write() as session:
        key, secret = keys.create(
            session, tenant="acme", name="n", scopes=frozenset({keys.Scope.READ})
        )
    assert opens(secret)
    with service.database.write() as session:
        successor, new = keys.rotate(session, key.id, old_until=now() + timedelta(hours=1))
    assert opens(secret)
    assert opens(new)
    with service.database.write() as session:
        keys.revoke(session, key.id)
        late, newest = keys.rotate(session, successor.id)
    assert not opens(secret)
    assert not opens(new)
    assert opens(newest)
    ended = service.key("read", expires_at=now() - timedelta(seconds=1))
    assert not opens(ended)
    with service.database.read() as session:
        stored = [vars(key) for key in keys.listed(session)]
    assert newest not in repr(stored)
    assert late.id


def test_insecure_local_stays_on_this_machine(make_settings: MakeSettings) -> None:
    from deepfake_audio.errors import ConfigError
    from deepfake_audio.server.service import Service

    with running(make_settings(insecure_local=True)) as service:
        assert httpx.get(f"{service.url}/v1/me").json()["tenant"] == "local"
    with pytest.raises(ConfigError, match="this machine only"):
        Service(make_settings(insecure_local=True, host="0.0.0.0"))


def test_insecure_local_is_not_for_pages_of_other_sites(make_settings: MakeSettings) -> None:
    with running(make_settings(insecure_local=True)) as service:
        port = httpx.URL(service.url).port

        def ask(method: str, host: str, origin: str | None = None) -> int:
            headers = {"Host": host} | ({"Origin": origin} if origin else {})
            answer = httpx.request(method, f"{service.url}/v1/models/promote", headers=headers)
            if answer.status_code == 403:
                assert answer.json()["error"]["code"] == "forbidden"
                assert answer.headers["X-Frame-Options"] == "DENY"
            return answer.status_code

        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
            assert ask("POST", host) == 409, host  # let in, and there is no candidate
            assert ask("POST", host, f"http://{host}") == 409, host
            assert ask("GET", host, "https://evil.example") == 405, host
            for origin in ("https://evil.example", "null", "http://localhost:1", "http://["):
                assert ask("POST", host, origin) == 403, (host, origin)
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "",
            "[",
            "@",
        ):
            assert ask("GET", host) == 403, host
            assert ask("POST", host, f"http://{host}") == 403, host


def test_a_body_that_is_no_upload_may_not_be_large(service: RunningService) -> None:
    client = service.client("review")
    large = {"decision": "genuine", "note": "x" * patience.BODY_BYTES}

    answer = client.post("/v1/detections/det_1/reviews", json=large)

    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]["message"]


def test_too_large_is_refused_while_it_comes(make_settings: MakeSettings, samples: Samples) -> None:
    with running(make_settings(max_upload_bytes=100_000)) as service:
        client = service.client("submit", "read")

        announced = client.post("/v1/detections", files={"file": bytes(10_000_000)})
        assert announced.status_code == 413

        def endless():  # without a length, as a chunked body
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(10_000):
                yield bytes(100_000)

        try:
            status = client.post(
                "/v1/detections",
                content=endless(),
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            ).status_code
        except (httpx.WriteError, httpx.ReadError):  # hung up in the middle of it
            status = 413
        assert status == 413
        assert list((service.service.settings.data_dir / "incoming").iterdir()) == []
        assert client.get("/v1/detections").json()["detections"] == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no boundary at all"),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\n'
            b"b\r\n--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="surface"\r\n\r\n'
            + bytes(70_000)
            + b"\r\n--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            b"\r\n--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 40 + b"--x--\r\n",
        ),
    ],
)
def test_bodies_that_are_no_upload(service: RunningService, content_type: str, body: bytes) -> None:
    client = service.client("submit", "read")

    answer = client.post("/v1/detections", content=body, headers={"Content-Type": content_type})

    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]
    assert list((service.service.settings.data_dir / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..\\..\\windows\\system32\\a.wav",
        "/absolute/path.wav",
        "<img src=x onerror=alert(1)>.wav",
        "a\x00b.wav",
        "x" * 4000,
        'quote"and;semi.wav',
        "-rf.wav",
        "\u202egnp.wav",
    ],
)
def test_a_file_name_is_only_ever_text(
    service: RunningService, samples: Samples, name: str
) -> None:
    client = service.client("submit", "read", "review")
    before = set(Path(service.service.settings.data_dir).rglob("*"))
    content = samples["genuine_librivox_1"].read_bytes()

    found = client.post("/v1/detections", files={"file": (name, content)}).json()

    assert len(found["name"]) <= 255
    assert "/" not in found["name"]
    assert found["name"].isprintable()
    new = set(Path(service.service.settings.data_dir).rglob("*")) - before
    assert {path.name for path in new if path.is_file()} <= {found["id"], "service.sqlite3-wal"}
    disposition = client.get(f"/v1/detections/{found['id']}/audio").headers["Content-Disposition"]
    assert disposition == f'attachment; filename="{found["id"]}.bin"'


def test_every_answer_tells_browsers_to_be_careful(service: RunningService) -> None:
    for path in ("/healthz", "/v1/me", "/nowhere"):
        headers = httpx.get(service.url + path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in headers
    injected = httpx.get(f"{service.url}/v1/detections/a%0d%0aSet-Cookie:%20x=y")
    assert "set-cookie" not in injected.headers


def test_unfinished_headers_are_not_waited_for(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.ImpatientProtocol, "headers_s", 0.5)
    host, port = service.url.removeprefix("http://").split(":")
    for opening in (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "):
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            sock.sendall(opening)
            began = time.monotonic()
            assert sock.recv(100) == b""  # hung up
            assert 0.3 < time.monotonic() - began < 5
    # Who has got to the point may take longer than that.
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    for _ in range(2):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        time.sleep(0.8)
    connection.close()


def test_a_slow_upload_is_not_waited_for(make_settings: MakeSettings) -> None:
    with running(make_settings(upload_s=0.5)) as service:
        secret = service.key("submit")
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            sock.sendall(
                f"POST /v1/detections HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n"
                '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
                "abc".encode()
            )
            assert b" 408 " in sock.recv(4096)
        assert list((service.service.settings.data_dir / "incoming").iterdir()) == []


def test_a_client_that_vanishes_leaves_nothing(service: RunningService) -> None:
    secret = service.key("submit", "read")
    host, port = service.url.removeprefix("http://").split(":")
    incoming = service.service.settings.data_dir / "incoming"
    for _ in range(5):
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.sendall(
            f"POST /v1/detections HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
            '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
            + bytes(2_000_000)
        )
        sock.close()
    deadline = time.monotonic() + 10
    while list(incoming.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(incoming.iterdir()) == []
    client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {secret}"})
    assert client.get("/v1/detections").json()["detections"] == []


def test_many_slow_clients_do_not_keep_others_out(
    service: RunningService, samples: Samples
) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for sock in slow:
            sock.sendall(b"POST /v1/detections HTTP/1.1\r\nHost: a\r\nX: ")
        client = service.client("submit", "read")
        content = samples["genuine_librivox_1"].read_bytes()
        answer = client.post(
            "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
        )
        assert answer.status_code == 201
        assert threading.active_count() < 80  # none of them holds a thread
    finally:
        for sock in slow:
            sock.close()
