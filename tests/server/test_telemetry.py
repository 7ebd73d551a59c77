"""Spans, as a collector of OpenTelemetry gets them from a real process of the service."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deepfake_audio.server import telemetry

pytest.importorskip("opentelemetry.proto")
pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

NAME = "a-name-that-nobody-is-told"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes spans by OTLP over HTTP, and callbacks."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.callbacks = 0
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    taken.take(ExportTraceServiceRequest.FromString(body))
                else:
                    taken.callbacks += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services |= {
                pair.value.string_value
                for pair in resource.resource.attributes
                if pair.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


def about(span: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in span.attributes}


def serve(folder: Path, **environment: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "deepfake_audio", "serve", "--insecure-local", "--port", "0"]
    service = subprocess.Popen(
        [*command, "--data", str(folder), "--model", "tiny"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert service.stderr is not None
    for line in service.stderr:
        if found := re.search(r"listening on (http://\S+)", line):
            return service, found[1]
    raise AssertionError("it did not start")


def end(service: subprocess.Popen[str]) -> str:
    service.send_signal(signal.SIGINT)
    _, said = service.communicate(timeout=60)
    assert service.returncode == 0, said
    return said


@pytest.mark.long
def test_one_trace_leads_from_the_upload_to_the_callback(
    collector: Collector, tmp_path: Path, speech_wav: Any
) -> None:
    service, url = serve(
        tmp_path / "data",
        DEEPFAKE_AUDIO_TELEMETRY="true",
        DEEPFAKE_AUDIO_WEBHOOK_SECRET="s" * 32,  # pragma: allowlist secret
        DEEPFAKE_AUDIO_WEBHOOK_ALLOW_PRIVATE="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    try:
        files = {"file": (f"{NAME}.wav", speech_wav("clip.wav", 3).read_bytes())}
        answer = httpx.post(
            f"{url}/v1/detections",
            files=files,
            data={"callback_url": f"{collector.url}/callback"},
            headers={"Prefer": "wait=30", "traceparent": PARENT},
            timeout=60,
        )
        detection = answer.json()
        assert detection["status"] == "done", detection
        listed = httpx.get(f"{url}/v1/detections", params={"search": NAME}, timeout=30)
        assert NAME in listed.text
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        broken = {"file": ("broken.wav", b"RIFF\x10\0\0\0WAVEnothing")}
        httpx.post(f"{url}/v1/detections", files=broken, headers={"Prefer": "wait=30"}, timeout=60)
        deadline = time.monotonic() + 30
        while not collector.callbacks and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        end(service)  # sends what is left

    assert collector.services == {"deepfake-audio"}
    names = {span.name for span in collector.spans}
    assert names >= {"POST /v1/detections", "GET /v1/detections", "decode", "score", "callback"}
    assert not [name for name in names if "healthz" in name or "receive" in name or "send" in name]

    upload = next(span for span in collector.named("POST /v1/detections") if span.parent_span_id)
    assert upload.trace_id.hex() == PARENT.split("-")[1]
    decode, score, callback = (
        [span for span in collector.named(name) if span.trace_id == upload.trace_id]
        for name in ("decode", "score", "callback")
    )
    assert len(decode) == len(score) == len(callback) == 1
    for [span] in (decode, score, callback):
        assert span.parent_span_id == upload.span_id
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert about(decode[0])["deepfake_audio.detection"] == detection["id"]
    assert about(score[0])["deepfake_audio.verdict"] == detection["report"]["verdict"]
    assert about(score[0])["deepfake_audio.model"] == detection["report"]["model"]["sha256"]
    assert about(callback[0])["deepfake_audio.subject"] == detection["id"]

    [failed] = [span for span in collector.named("decode") if span.trace_id != upload.trace_id]
    assert failed.status.code == 2
    assert failed.status.message.endswith("Error")
    told = "".join(map(str, collector.spans))
    assert NAME not in told
    assert "broken.wav" not in told


def test_a_span_of_a_request_tells_nothing_that_a_client_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    app = FastAPI()
    app.add_middleware(telemetry.Spans)

    @app.get("/things/{name}")
    def thing(name: str) -> None:
        raise RuntimeError(f"no thing {name}")

    @app.get("/healthz")
    def health() -> None:
        return None

    asked = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def ask(path: str) -> int:
        async with httpx.AsyncClient(transport=asked, base_url="http://metrics.example") as client:
            headers = {"User-Agent": NAME, "traceparent": "nonsense"}
            return (await client.get(path, headers=headers)).status_code

    paths = (f"/things/{NAME}?q={NAME}", "/things/x?q=%FF", "/nowhere", "/healthz")
    assert [asyncio.run(ask(path)) for path in paths] == [500, 500, 404, 200]
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["GET /things/{name}", "GET /things/{name}", "GET"]
    failed, _, unknown = spans
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "RuntimeError"
    assert unknown.attributes == {"http.request.method": "GET", "http.response.status_code": 404}
    assert not unknown.parent
    assert NAME not in "".join(span.to_json() for span in spans)
    assert not any(span.events for span in spans)


@pytest.mark.long
def test_nothing_is_sent_unasked(collector: Collector, tmp_path: Path, speech_wav: Any) -> None:
    service, url = serve(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    try:
        files = {"file": ("clip.wav", speech_wav("clip.wav", 2).read_bytes())}
        answer = httpx.post(
            f"{url}/v1/detections", files=files, headers={"Prefer": "wait=30"}, timeout=60
        )
        assert answer.json()["status"] == "done"
    finally:
        end(service)
    assert collector.spans == []


@pytest.mark.long
def test_without_the_sdk_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from deepfake_audio.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--insecure-local", "--data", str(tmp_path)],
        env=os.environ | {"DEEPFAKE_AUDIO_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 4
    assert 'pip install "deepfake-audio[telemetry]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_listener_there_is_nothing_to_keep() -> None:
    assert telemetry.current() is None
    with telemetry.span("decode", PARENT, detection="det_1"):
        # A span that came from elsewhere is handed on, whoever listens here.
        assert telemetry.current() == PARENT
    parts = [
        telemetry.Part(None, {}),
        telemetry.Part(PARENT, {"verdict": "uncertain"}, "AudioError"),
    ]
    telemetry.past("score", parts, time.time_ns(), time.time_ns())
    with pytest.raises(ValueError, match="passes"), telemetry.span("decode"):
        raise ValueError("passes")
