"""Recordings named by their URL: off by default, and never a way into the network."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepfake_audio.server import outbound

from .conftest import MakeSettings, RunningService, dripping, running
from .test_webhooks import FORBIDDEN

Samples = dict[str, Path]


@pytest.fixture
def site(samples: Samples) -> Iterator[str]:
    """Somebody's web server."""
    content = samples["genuine_librivox_1"].read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"/gone": 404, "/moved": 302}.get(self.path, 200)
            body = bytes(50_000_000) if self.path == "/large" else content
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/a%20voice.flac")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who hangs up has had enough
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(service: RunningService, url: str) -> tuple[int, dict]:
    client = service.client("submit", "read")
    answer = client.post(
        "/v1/detections", files={"url": (None, url)}, headers={"Prefer": "wait=30"}
    )
    return answer.status_code, answer.json()


def test_a_recording_is_fetched(make_settings: MakeSettings, site: str, samples: Samples) -> None:
    settings = make_settings(url_input=True, url_allow_private=True, max_upload_bytes=10_000_000)
    with running(settings) as service:
        status, found = fetch(service, f"{site}/a%20voice.flac?token=1")
        assert status == 201
        assert found["name"] == "a voice.flac"
        assert found["bytes"] == samples["genuine_librivox_1"].stat().st_size
        for path in ("/gone", "/moved", "/large"):
            status, found = fetch(service, site + path)
            assert 400 <= status < 500, path
        assert list((settings.data_dir / "incoming").iterdir()) == []


def test_it_is_off_by_default(service: RunningService, site: str) -> None:
    status, found = fetch(service, site)
    assert status == 422
    assert "url_input" in found["error"]["hint"]


def test_nothing_inside_is_asked(
    make_settings: MakeSettings, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(make_settings(url_input=True)) as service:
        answers = set()
        for url in FORBIDDEN:
            status, found = fetch(service, url)
            assert status == 422, url
            answers.add(found["error"]["message"])
        # Whether anything listens there cannot be told from the answer.
        assert len(answers) <= 3

        def lookup(host: str, port: int, *rest: object, **given: object) -> list[tuple]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(outbound.socket, "getaddrinfo", lookup)
        status, found = fetch(service, site.replace("127.0.0.1", "rebinding.example.com"))
        assert status == 422
        assert found["error"]["code"] == "fetch_failed"


@pytest.mark.parametrize(
    "head",
    [
        b"",  # not even a status
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",  # cut, it looks whole
    ],
)
def test_a_server_that_drips_is_cut_off(head: bytes) -> None:
    began = time.monotonic()
    with (
        dripping(head) as url,
        pytest.raises(TimeoutError),
        outbound.exchange("GET", url, allow_private=True, seconds=0.5) as answer,
    ):
        answer.read()
    assert time.monotonic() - began < 3


@pytest.mark.long
def test_slow_servers_keep_nobody_out(make_settings: MakeSettings) -> None:
    settings = make_settings(url_input=True, url_allow_private=True, upload_s=3)
    with (
        running(settings) as service,
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: ") as url,
        ThreadPoolExecutor(8) as clients,
    ):
        slow = [clients.submit(fetch, service, url) for _ in range(8)]
        client = service.client("read")
        time.sleep(1)
        began = time.monotonic()
        assert client.get("/v1/me").status_code == 200
        assert time.monotonic() - began < 1
        status, found = slow[0].result()
        assert (status, found["error"]["code"]) == (422, "fetch_failed")
        assert "longer than 3 s" in found["error"]["message"]
        # Not on the threads on which others' recordings are taken in.
        assert any("deepfake_audio-fetch" in thread.name for thread in threading.enumerate())
