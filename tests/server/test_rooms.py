"""Live rooms over real WebSockets: what is heard, what is told, and what survives."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from sounds import make_speech
from sqlalchemy.exc import OperationalError
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from deepfake_audio import Detector
from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.report import Report
from deepfake_audio.server import audit
from deepfake_audio.server.database import Delivery
from deepfake_audio.server.engine import Engine
from deepfake_audio.server.policy import PolicyFile
from deepfake_audio.server.rooms import lifelines, protocol, records
from deepfake_audio.server.rooms.apart import Apart
from deepfake_audio.server.rooms.protocol import HEADER

from .conftest import MakeSettings, RunningService, running
from .test_faults import process

RATE = 16_000
CHUNK = 1_600
WAIT_S = 60

Message = dict[str, Any]


class Client:
    """A client of a room that remembers what it was told."""

    def __init__(self, service: RunningService, key: str | None = None) -> None:
        url = service.url.replace("http", "ws") + "/v1/streams"
        connection = connect(url, compression=None, max_size=None, proxy=None)
        self.socket: ClientConnection = connection.__enter__()
        self.told: list[Message] = []
        if key:
            self.say(type="auth", key=key)

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def chunk(self, speaker: int, sequence: int, payload: bytes) -> None:
        self.socket.send(HEADER.pack(speaker, 0, sequence) + payload)

    def hear(self, kind: str) -> Message:
        """Return the next message of a kind."""
        while True:
            self.told.append(json.loads(self.socket.recv(timeout=WAIT_S)))
            if self.told[-1]["type"] == kind:
                return self.told[-1]

    def all(self, kind: str) -> list[Message]:
        return [message for message in self.told if message["type"] == kind]

    def start(self, **given: Any) -> Message:
        self.say(type="start", **given)
        return self.hear("started")

    def join(self, speaker: int = 0, **given: Any) -> Message:
        self.say(**{"type": "speaker", "id": speaker, "sample_rate_hz": RATE, **given})
        return self.hear("speaker")

    def speak(self, speaker: int, sound: np.ndarray, first: int = 0) -> None:
        for number, piece in enumerate(pieces(sound)):
            self.chunk(speaker, first + number, piece)

    def stop(self) -> Message:
        self.say(type="stop")
        return self.hear("closed")

    def vanish(self) -> None:
        """End as a process does that is killed, or a cable that is pulled."""
        self.socket.socket.close()


def pieces(sound: np.ndarray) -> list[bytes]:
    return [sound[at : at + CHUNK].tobytes() for at in range(0, len(sound), CHUNK)]


def spoken(seconds: float, seed: int = 0, rate_hz: int = RATE) -> np.ndarray:
    return np.rint(make_speech(seconds, seed, rate_hz) * 32767).astype(np.int16)


def opus_packets(sound: np.ndarray) -> list[bytes]:
    """Encode 48 kHz int16 as packets of 20 ms."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.bit_rate = 32_000
    encoder.open()
    packets = []
    for at in range(0, len(sound) - 959, 960):
        frame = av.AudioFrame.from_ndarray(sound[None, at : at + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, at
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that do not depend on the batch, so that they can be compared."""
    monkeypatch.setattr("deepfake_audio.inference.resolve_precision", lambda *_: "fp32")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("unittest", device="cpu", precision="fp32")


MakeService = Callable[..., Any]


@pytest.fixture
def make_service(make_settings: MakeSettings, tmp_path: Path) -> MakeService:
    def make(policy: str = "", **given: Any) -> Any:
        if policy:
            path = tmp_path / "policy.toml"
            path.write_text(f"[surfaces.live]\n{policy}\n", encoding="utf-8")
            given["policy_file"] = path
        # Events are counted here: none may be left out because the tests share the machine.
        return running(make_settings(**{"model": "unittest", "max_event_delay_s": 60.0, **given}))

    return make


@pytest.fixture
def rooms(make_service: MakeService) -> Iterator[RunningService]:
    with make_service() as found:
        yield found


@pytest.fixture
def client(rooms: RunningService) -> Client:
    return Client(rooms, rooms.key("submit"))


def same_report(message: Message, whole: Report) -> None:
    said = Report.from_dict(message["report"])
    assert (said.verdict, said.reason) == (whole.verdict, whole.reason)
    assert said.input.duration_s == whole.input.duration_s
    assert said.llr_synthetic == pytest.approx(whole.llr_synthetic, abs=5e-4)
    assert len(said.segments) == len(whole.segments)


def test_the_closing_report_is_that_of_the_whole(
    rooms: RunningService, client: Client, detector: Detector
) -> None:
    started = client.start(name="call 7", metadata={"case": 1})
    assert re.fullmatch(r"room_[0-9a-f]{32}_[0-9a-f]{8}", started["stream"])
    assert started["decided_by"]["model"]["name"] == "unittest"
    sounds = [spoken(9.5, 1), spoken(7.2, 2), spoken(5, 3, 8_000)]
    client.join(0, name="alice")
    client.join(7, name="bob")
    client.join(9, sample_rate_hz=8_000, encoding="pcm_f32le")
    for number in range(95):
        for speaker, sound in ((0, sounds[0]), (7, sounds[1])):
            if piece := sound[number * CHUNK : (number + 1) * CHUNK].tobytes():
                client.chunk(speaker, number, piece)
    client.chunk(9, 5, (sounds[2] / np.float32(32768)).astype("<f4").tobytes())
    client.say(type="leave", id=7)
    report = client.hear("report")
    assert (report["speaker"], report["name"]) == (7, "bob")
    same_report(report, detector.detect(sounds[1], sample_rate_hz=RATE))
    closed = client.stop()
    events = [event for event in client.all("event") if event["speaker"] == 0]
    assert [event["time_s"] for event in events] == list(range(1, 10))
    assert events[0]["schema"] == "deepfake_audio.event/1"
    numbers = [m["number"] for m in client.told if "number" in m]
    assert numbers == list(range(1, len(numbers) + 1))
    reports = {report["speaker"]: report for report in client.all("report")}
    same_report(reports[0], detector.detect(sounds[0], sample_rate_hz=RATE))
    assert reports[9]["report"]["input"]["sample_rate_hz"] == 8_000
    with pytest.raises(ConnectionClosed) as ended:
        client.socket.recv(timeout=WAIT_S)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1000

    with rooms.client("read") as http:
        shown = http.get(f"/v1/streams/{started['stream']}").json()
        assert (shown["status"], shown["name"], shown["metadata"]) == (
            "closed",
            "call 7",
            {"case": 1},
        )
        assert (shown["verdict"], shown["action"]) == (closed["verdict"], closed["action"])
        assert set(shown["reports"]) == {"0", "7", "9"}
        assert shown["reports"]["7"]["report"] == report["report"]
    with rooms.database.read() as session:
        kinds = [event.kind for event in audit.events(session)]
        assert [kind for kind in kinds if kind.startswith("room.")] == [
            "room.opened",
            "room.closed",
        ]
        assert audit.verify(session).ok


def test_disorder_and_loss(client: Client, detector: Detector) -> None:
    sound = spoken(8)
    chunks = pieces(sound)
    client.start()
    for speaker in (1, 2):
        client.join(speaker)
    order = list(range(len(chunks)))
    order[20], order[21] = order[21], order[20]
    for number in order:
        client.chunk(1, number, chunks[number])
        client.chunk(1, number, chunks[number])  # everything twice
        if number != 40:
            client.chunk(2, number, chunks[number])
    client.stop()
    reports = {report["speaker"]: report for report in client.all("report")}
    same_report(reports[1], detector.detect(sound, sample_rate_hz=RATE))
    silenced = sound.copy()
    silenced[40 * CHUNK : 41 * CHUNK] = 0
    same_report(reports[2], detector.detect(silenced, sample_rate_hz=RATE))
    assert "lost_audio" in reports[2]["report"]["warnings"]
    arrivals = client.all("event")[-1]["arrivals"]
    assert (arrivals["lost"], arrivals["lost_s"]) == (1, pytest.approx(0.1))


def test_who_vanishes_loses_nothing(rooms: RunningService, detector: Detector) -> None:
    sound = spoken(12)
    key = rooms.key("submit")
    first = Client(rooms, key)
    started = first.start()
    first.join(3)
    first.speak(3, sound[: 5 * RATE])
    while first.hear("event")["time_s"] < 2:
        pass
    received = first.told[-1]["number"]
    first.vanish()

    second = Client(rooms, key)
    second.say(type="resume", stream=started["stream"], token=started["token"], received=received)
    expected = second.hear("resumed")["speakers"]["3"]
    assert 20 <= expected <= 50
    second.speak(3, sound[expected * CHUNK :], expected)
    closed = second.stop()
    times = [event["time_s"] for one in (first, second) for event in one.all("event")]
    assert times == list(range(1, 13))
    [report] = second.all("report")
    same_report(report, detector.detect(sound, sample_rate_hz=RATE))

    # Even the end is told once more.
    third = Client(rooms, key)
    third.say(type="resume", stream=started["stream"], token=started["token"])
    again = third.hear("closed")
    assert again == closed
    assert third.all("report") == [report]


def test_who_vanishes_at_the_door_leaves_no_room_for_ever(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*arguments: Any) -> None:
        raise WebSocketDisconnect(1006)

    with make_service(resume_s=0.2) as rooms:
        client = Client(rooms, rooms.key("submit"))
        with monkeypatch.context() as patch:
            patch.setattr("deepfake_audio.server.rooms.connection.Connection._send", gone)
            client.say(type="start")
            with pytest.raises(ConnectionClosed):
                client.hear("started")
        with rooms.client("read") as http:
            [room] = http.get("/v1/streams").json()["streams"]
            wait_for(http, room["id"])
        assert reason_of(rooms, room["id"]) == "disconnected"


def test_a_second_connection_takes_over(rooms: RunningService) -> None:
    key = rooms.key("submit")
    first, second = Client(rooms, key), Client(rooms, key)
    started = first.start()
    second.say(type="resume", stream=started["stream"], token=started["token"])
    assert second.hear("resumed")["speakers"] == {}
    assert first.hear("error")["code"] == "superseded"
    second.join()
    second.stop()


def test_a_room_closes_by_itself(make_service: MakeService) -> None:
    with make_service(resume_s=0.3) as rooms:
        client = Client(rooms, rooms.key("submit"))
        started = client.start()
        client.join()
        client.speak(0, spoken(3))
        client.hear("event")
        with rooms.client("read") as http:
            assert http.get("/v1/streams").json()["streams"][0]["status"] == "open"
            with rooms.client("operator") as operator:
                assert "deepfake_audio_rooms 1.0" in operator.get("/metrics").text
            client.vanish()
            shown = wait_for(http, started["stream"])
        assert shown["reports"]["0"]["report"]["input"]["duration_s"] == 3
        assert reason_of(rooms, started["stream"]) == "disconnected"
        late = Client(rooms, rooms.key("submit"))
        time.sleep(0.6)
        late.say(type="resume", stream=started["stream"], token=started["token"])
        assert late.hear("error")["code"] == "no_such_stream"


def wait_for(http: Any, room_id: str) -> Message:
    """Return a room once it has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        shown: Message = http.get(f"/v1/streams/{room_id}").json()
        if shown["status"] != "open":
            return shown
        time.sleep(0.05)
    raise AssertionError("the room stays open")


def reason_of(rooms: RunningService, room_id: str) -> str:
    with rooms.database.read() as session:
        [ended] = [
            event
            for event in audit.events(session)
            if event.subject == room_id and event.kind == "room.closed"
        ]
        return str(json.loads(ended.data)["reason"])


POLICY = """
review_from = 0.0
alert_windows = 2
alert_of = 3
"""


def test_alerts_by_policy(make_service: MakeService) -> None:
    settings = {
        "webhook_secret": "s",
        "webhook_allow_private": True,
        "max_room_speed": 100.0,
    }
    with make_service(POLICY, **settings) as rooms:
        client = Client(rooms, rooms.key("submit"))
        started = client.start(callback_url="http://127.0.0.1:9/hook")
        assert started["alert"] == {"windows": 2, "of": 3}
        client.join(5, name="mallory")
        # The last 12 s decide: a long silence clears the alert.
        client.speak(5, np.concatenate([spoken(4), np.zeros(20 * RATE, np.int16), spoken(4)]))
        closed = client.stop()
        told = [m for m in client.told if m["type"] in ("event", "alert", "alert_cleared")]
        kinds = [m["type"] for m in told if m["type"] != "event"]
        assert kinds == ["alert", "alert_cleared", "alert"]
        alert = client.all("alert")[0]
        assert (alert["speaker"], alert["name"], alert["action"]) == (5, "mallory", "review")
        assert alert["p_synthetic"] is not None
        # The second event with a score raises it, and not the first.
        before = told[: told.index(alert)]
        assert [m["action"] for m in before].count("review") == 2
        assert client.all("alert_cleared")[0]["action"] == "pass"
        assert closed["action"] == "review"
        assert client.all("report")[0]["alert"] == "review"
        with rooms.client("read") as http:
            [listed] = http.get("/v1/streams?alerted=true&status=closed").json()["streams"]
            assert listed["alerted_at"] is not None
            assert "reports" not in listed
            assert http.get("/v1/streams?alerted=false").json()["streams"] == []
        with rooms.database.read() as session:
            kinds = [event.kind for event in audit.events(session) if event.kind[:4] == "room"]
            assert kinds == ["room.opened", "room.alert", "room.alert", "room.closed"]
            deliveries = [d.payload for d in session.query(Delivery).order_by(Delivery.id)]
        assert [d["event"] for d in deliveries] == ["room.alert", "room.alert", "room.closed"]
        assert deliveries[0]["data"]["alert"]["speaker"] == 5
        assert deliveries[-1]["data"]["reports"]["5"]["name"] == "mallory"


def test_opus(client: Client, detector: Detector) -> None:
    sound = spoken(6, rate_hz=48_000)
    packets = opus_packets(sound)
    client.start()
    client.join(0, sample_rate_hz=48_000, encoding="opus")
    client.join(1, sample_rate_hz=48_000, encoding="opus")
    for number, packet in enumerate(packets):
        client.chunk(0, number, packet)
        broken = b"\xff" * 40 if number == 100 else packet
        client.chunk(1, number, broken)
    client.stop()
    reports = {report["speaker"]: report["report"] for report in client.all("report")}
    assert reports[0]["input"]["duration_s"] == pytest.approx(6, abs=0.05)
    assert "lost_audio" not in reports[0]["warnings"]
    whole = detector.detect(sound, sample_rate_hz=48_000)
    assert reports[0]["llr_synthetic"] == pytest.approx(whole.llr_synthetic, abs=0.2)
    # One broken packet is 20 ms of silence, told once, and all that follows is heard.
    assert reports[1]["input"]["duration_s"] == reports[0]["input"]["duration_s"]
    assert "lost_audio" in reports[1]["warnings"]
    [error] = client.all("error")
    assert (error["code"], error["fatal"]) == ("invalid_samples", False)


def test_who_may_enter(rooms: RunningService) -> None:
    for key in (None, "dfa_wrong", rooms.key("read")):
        client = Client(rooms, key)
        client.say(type="start")
        error = client.hear("error")
        expected = "forbidden" if key and key != "dfa_wrong" else "unauthorized"
        assert (error["code"], error["fatal"]) == (expected, True)
        with pytest.raises(ConnectionClosed):
            client.socket.recv(timeout=WAIT_S)
    mine = Client(rooms, rooms.key("submit"))
    started = mine.start()
    for tenant, token in (("other", started["token"]), ("acme", "guessed")):
        other = Client(rooms, rooms.key("submit", tenant=tenant))
        other.say(type="resume", stream=started["stream"], token=token)
        assert other.hear("error")["code"] == "no_such_stream"
    with rooms.client("read", tenant="other") as http:
        assert http.get("/v1/streams").json()["streams"] == []
        assert http.get(f"/v1/streams/{started['stream']}").status_code == 404
    with rooms.client("submit") as http:
        assert http.get("/v1/streams").status_code == 403
    mine.join()  # and nothing of this has hurt it


def test_a_service_without_keys_is_not_for_other_sites(make_service: MakeService) -> None:
    with make_service(insecure_local=True) as rooms:
        url = rooms.url.replace("http", "ws") + "/v1/streams"
        with connect(url, proxy=None, origin="https://evil.example") as other:
            assert json.loads(other.recv(timeout=WAIT_S))["code"] == "forbidden"
        port = int(rooms.url.rpartition(":")[2])
        with connect(  # a name of theirs that leads here
            f"ws://evil.example:{port}/v1/streams",
            sock=socket.create_connection(("127.0.0.1", port)),
            origin=f"http://evil.example:{port}",  # type: ignore[arg-type]
        ) as other:
            assert json.loads(other.recv(timeout=WAIT_S))["code"] == "forbidden"
        with connect(url, proxy=None, origin=rooms.url) as page:  # type: ignore[arg-type]
            page.send('{"type": "start"}')
            assert json.loads(page.recv(timeout=WAIT_S))["type"] == "started"


MALFORMED = [
    ("{", "bad_message", "no JSON"),
    ('{"type": "dance"}', "bad_message", ""),
    ("[]", "bad_message", ""),
    ('{"type": "speaker"}', "bad_message", "required"),
    ('{"type": "speaker", "id": 70000}', "bad_message", ""),
    ('{"type": "speaker", "id": 1, "name": "\\ud800"}', "bad_message", ""),
    ('{"type": "speaker", "id": 1, "surprise": NaN}', "bad_message", ""),
    ('{"type": "speaker", "id": 1, "encoding": "mp3"}', "bad_message", ""),
    ('{"type": "speaker", "id": 1, "sample_rate_hz": 192000}', "bad_message", ""),
    (
        '{"type": "speaker", "id": 1, "encoding": "opus", "sample_rate_hz": 16000}',
        "bad_message",
        "Opus",
    ),
    ('{"type": "start"}', "bad_message", "inside a room"),
    ('{"type": "leave", "id": 9}', "no_such_speaker", ""),
    ("[" * 100_000, "message_too_large", ""),
    ("[" * 60_000, "bad_message", ""),
    (b"", "bad_frame", ""),
    (b"\0" * 8, "bad_frame", ""),
    (HEADER.pack(0, 1, 0) + b"ab", "bad_frame", "reserved"),
    (HEADER.pack(4, 0, 0) + b"ab", "no_such_speaker", ""),
    (HEADER.pack(0, 0, 0) + b"abc", "invalid_samples", "whole number"),
    (HEADER.pack(0, 0, 0) + b"\0" * 300_000, "frame_too_large", ""),
]


def test_malformed_messages_are_told_and_survived(client: Client, detector: Detector) -> None:
    client.start()
    client.join()
    for message, code, says in MALFORMED:
        client.socket.send(message)
        error = client.hear("error")
        assert (error["code"], error["fatal"]) == (code, False), message
        assert says in error["message"], message
    client.say(type="ping")
    client.hear("pong")
    client.say(type="speaker", id=0)
    assert client.hear("error")["code"] == "speaker_exists"
    sound = spoken(4)
    client.speak(0, sound)
    client.stop()
    same_report(client.all("report")[0], detector.detect(sound, sample_rate_hz=RATE))


def test_one_mistake_too_many(client: Client) -> None:
    client.start()
    for _ in range(101):
        client.say(type="dance")
    while not client.hear("error")["fatal"]:
        pass
    assert client.told[-1]["code"] == "too_many_faults"


def test_limits(make_service: MakeService) -> None:
    with make_service(max_rooms=1, max_speakers=2) as rooms:
        key = rooms.key("submit")
        first = Client(rooms, key)
        first.start()
        other = Client(rooms, key)
        other.say(type="start")
        assert other.hear("error")["code"] == "too_many_rooms"
        first.join(0)
        first.join(1)
        first.say(type="speaker", id=2)
        assert first.hear("error")["code"] == "too_many_speakers"
        first.say(type="leave", id=0)  # and makes place
        first.join(2)
        # A recording is no conversation.
        minute = np.tile(spoken(6), 10)
        for number in range(10):
            first.chunk(2, number, minute[: 6 * RATE].tobytes())
        first.stop()
        second = Client(rooms, key)
        second.start()
        second.join()
        for number in range(13):
            second.chunk(0, number, minute[: 6 * RATE].tobytes())
        while not second.hear("error")["fatal"]:
            pass
        assert second.told[-1]["code"] == "too_fast"
        assert second.hear("closed")["reason"] == "too_fast"


def test_nobody_waits_for_ever(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake_audio.server.rooms.connection.ENTER_S", 0.2)
    with make_service(room_idle_s=0.3) as rooms:
        for key in (None, rooms.key("submit")):
            assert Client(rooms, key).hear("error")["code"] == "timeout"
        client = Client(rooms, rooms.key("submit"))
        client.start()
        assert client.hear("error")["code"] == "idle"


def test_a_room_has_an_end(make_service: MakeService) -> None:
    with make_service(max_room_s=0.4) as rooms:
        client = Client(rooms, rooms.key("submit"))
        client.start()
        assert client.hear("closed")["reason"] == "max_duration"


def test_the_service_stops(make_service: MakeService, detector: Detector) -> None:
    sound = spoken(5)
    with make_service() as rooms:
        client = Client(rooms, rooms.key("submit"))
        started = client.start()
        client.join()
        client.speak(0, sound)
        while client.hear("event")["time_s"] < 5:
            pass
        rooms.stop()
        with pytest.raises(ConnectionClosed):
            client.hear("never")
    with make_service() as rooms:
        assert reason_of(rooms, started["stream"]) == "service_stopped"
        with rooms.client("read") as http:
            shown = http.get(f"/v1/streams/{started['stream']}").json()
    assert shown["status"] == "closed"
    same_report(shown["reports"]["0"], detector.detect(sound, sample_rate_hz=RATE))


def test_a_slow_reader_misses_events_and_nothing_else(make_service: MakeService) -> None:
    with make_service(POLICY, max_room_speed=100.0) as rooms:
        key = rooms.key("submit")
        client = Client(rooms, key)
        started = client.start()
        client.join()
        client.vanish()
        away = Client(rooms, key)
        away.say(type="resume", stream=started["stream"], token=started["token"])
        away.hear("resumed")
        room = rooms.service.rooms.find(started["stream"])
        assert room is not None
        for number in range(200):
            room.outbox.put({"type": "event", "time_s": number}, passing=True)
            if number == 10:
                room.outbox.put({"type": "alert"})
        again = Client(rooms, key)
        again.say(type="resume", stream=started["stream"], token=started["token"])
        while again.hear("event")["time_s"] < 199:
            pass
        assert len(again.all("alert")) == 1
        assert len(again.all("event")) == 120
        assert sum(m.get("dropped", 0) for m in again.told) == 80


@pytest.mark.long
def test_rooms_of_a_dead_process_are_interrupted(make_service: MakeService, tmp_path: Path) -> None:
    with process(tmp_path) as (server, url):
        ours = RunningService(None, url, None)  # type: ignore[arg-type]
        client = Client(ours)
        started = client.start()
        client.join()
        client.speak(0, spoken(2))
        client.hear("event")
        server.kill()
        server.wait()
    again = make_service(data_dir=tmp_path, database_url=None)  # that of the process
    with again as rooms, rooms.client("read", tenant="local") as http:
        shown = http.get(f"/v1/streams/{started['stream']}").json()
        assert (shown["status"], shown["verdict"], shown["reports"]) == ("interrupted", None, None)
        assert shown["closed_at"] is not None
        assert len(http.get("/v1/streams?status=interrupted").json()["streams"]) == 1
        assert reason_of(rooms, started["stream"]) == "interrupted"
        assert lifelines.dead(tmp_path / "rooms") == []  # this process lives
    assert list((tmp_path / "rooms").iterdir()) == []


def test_records_in_each_database(make_service: MakeService, database_url: str) -> None:
    with make_service(POLICY, database_url=database_url) as rooms:
        ended, left = (Client(rooms, rooms.key("submit")) for _ in range(2))
        first = ended.start()["stream"]
        ended.join()
        ended.speak(0, spoken(5))
        ended.stop()
        second = left.start()["stream"]
        with rooms.client("read") as http:

            def listed(query: str) -> list[str]:
                found = http.get(f"/v1/streams?{query}").json()["streams"]
                return [room["id"] for room in found]

            assert listed("") == [second, first]
            assert listed("status=open") == [second]
            assert listed("status=closed&action=review&alerted=true") == [first]
            assert listed("limit=1") == [second]
            assert listed(f"limit=1&cursor={second}") == [first]
            assert listed("since=2200-01-01T00:00:00Z") == []
            assert records.interrupt(rooms.database, "0" * 8) == 0
            assert records.interrupt_stale(rooms.database, 60) == 0
            assert records.interrupt(rooms.database, second[-8:]) == 1
            assert listed("status=interrupted") == [second]
            assert http.get("/v1/streams?status=nonsense").status_code == 422
        with rooms.database.read() as session:
            assert audit.verify(session).ok


def test_a_room_keeps_its_engine(rooms: RunningService, detector: Detector) -> None:
    client = Client(rooms, rooms.key("submit"))
    before = client.start()["decided_by"]
    client.join()
    sound = spoken(6)
    client.speak(0, sound[: 3 * RATE])
    rooms.service.models.live = Engine(load_checkpoint("tiny"), PolicyFile(), "cpu")
    other = Client(rooms, rooms.key("submit"))
    after = other.start()["decided_by"]
    other.join()
    other.speak(0, sound)
    client.speak(0, sound[3 * RATE :], 30)
    client.stop()
    other.stop()
    assert (before["model"]["name"], after["model"]["name"]) == ("unittest", "tiny")
    same_report(client.all("report")[0], detector.detect(sound, sample_rate_hz=RATE))
    assert other.all("report")[0]["report"]["model"]["name"] == "tiny"


def test_what_would_be_late_is_left_out_and_the_report_is_whole(
    make_service: MakeService, detector: Detector
) -> None:
    sound = spoken(20)
    with make_service(max_event_delay_s=1e-6) as rooms:
        client = Client(rooms, rooms.key("submit"))
        client.start()
        client.join()
        client.speak(0, sound)
        client.stop()
    # Windows of the report end at 4, 7, 10 s and so on; the others come too late by a microsecond.
    times = [event["time_s"] for event in client.all("event")]
    assert times == [4, 7, 10, 13, 16, 19]
    assert [event["left_out"] for event in client.all("event")] == [3, 2, 2, 2, 2, 2]
    same_report(client.all("report")[0], detector.detect(sound, sample_rate_hz=RATE))


def test_rooms_are_heard_in_processes_of_their_own(
    make_service: MakeService, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = Apart._ask

    def watched(self: Apart, sha256: str, rows: Any) -> Any:
        asked.append(len(rows))
        return ask(self, sha256, rows)

    monkeypatch.setattr(Apart, "_ask", watched)
    sound = spoken(300)
    with make_service(rooms_apart=True, max_room_speed=1000.0) as rooms:
        client = Client(rooms, rooms.key("submit"))
        client.start()
        client.join()
        second = 0
        while not asked:  # they take some seconds to begin
            client.speak(0, sound[second * RATE : (second + 1) * RATE], 10 * second)
            second += 1
            time.sleep(0.1)
        client.speak(0, sound[second * RATE : (second + 5) * RATE], 10 * second)
        client.stop()
        lanes = [thread for thread in threading.enumerate() if "rooms-" in thread.name]
        assert len(lanes) > 1
    heard = sound[: (second + 5) * RATE]
    [report] = client.all("report")
    assert report["report"]["input"]["duration_s"] == second + 5
    assert [event["time_s"] for event in client.all("event")] == list(range(1, second + 6))
    whole = detector.detect(heard, sample_rate_hz=RATE)
    assert len(report["report"]["segments"]) == len(whole.segments)
    assert sum(asked) > 0
    assert not any(thread.is_alive() for thread in lanes)


def test_no_room_is_opened_for_what_cannot_be_heard(
    rooms: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rooms.key("submit")
    Client(rooms, key).start()
    late = property(lambda self: 1e9, lambda self, value: None)
    monkeypatch.setattr("deepfake_audio.server.rooms.backlog.Backlog.delay_s", late, raising=False)
    other = Client(rooms, key)
    other.say(type="start")
    assert other.hear("error")["code"] == "overloaded"


def test_a_window_that_cannot_be_scored_hurts_nobody_else(
    rooms: RunningService, client: Client, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = rooms.service.models.live.scorer
    hear = scorer.hear

    def fail(windows: list[np.ndarray]) -> Any:
        if any(np.abs(window).max() > 0.99 for window in windows):
            raise RuntimeError("a window like this")
        return hear(windows)

    monkeypatch.setattr(scorer, "hear", fail)
    sound = spoken(8)
    early, late = sound.copy(), sound.copy()
    early[RATE] = late[5 * RATE] = 32767
    client.start()
    for speaker in range(3):
        client.join(speaker)
    for number, chunks in enumerate(zip(*map(pieces, (sound, early, late)), strict=True)):
        for speaker, chunk in enumerate(chunks):
            client.chunk(speaker, number, chunk)
    client.stop()
    reports = {report["speaker"]: report for report in client.all("report")}
    same_report(reports[0], detector.detect(sound, sample_rate_hz=RATE))
    assert reports[1]["report"]["input"]["duration_s"] == 8
    # The last window decides whether there is a report at all.
    assert (reports[2]["report"], reports[2]["error"]["code"]) == (None, "internal_error")


def test_the_record_waits_for_the_database(
    rooms: RunningService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = client.start()
    client.join()
    failures = [OperationalError("", None, Exception()) for _ in range(2)]
    write = records.closed

    def fail_twice(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        write(*arguments)

    monkeypatch.setattr(records, "closed", fail_twice)
    client.stop()  # said only once it is recorded
    with rooms.client("read") as http:
        assert http.get(f"/v1/streams/{started['stream']}").json()["status"] == "closed"


def test_a_record_that_cannot_be_written_holds_up_no_other(
    rooms: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Client(rooms, rooms.key("submit")) for _ in range(2))
    bad, good = first.start()["stream"], second.start()["stream"]
    closed = records.closed

    def choosy(database: Any, room_id: str, *rest: Any) -> None:
        if room_id == bad:
            raise ValueError("nothing that a database takes")
        closed(database, room_id, *rest)

    monkeypatch.setattr(records, "closed", choosy)
    first.stop()
    second.stop()
    with rooms.client("read") as http:
        assert http.get(f"/v1/streams/{good}").json()["status"] == "closed"
        assert http.get(f"/v1/streams/{bad}").json()["status"] == "open"


def test_a_room_that_cannot_be_recorded_does_not_open(
    rooms: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OperationalError("", None, Exception())

    monkeypatch.setattr(records, "opened", fail)
    client = Client(rooms, rooms.key("submit"))
    client.say(type="start")
    assert client.hear("error")["fatal"]
    monkeypatch.undo()
    assert rooms.service.rooms._rooms == {}  # and takes nobody's place


DOCS = Path(__file__).parents[2] / "docs" / "live-rooms.md"


def test_the_python_client_of_the_docs(rooms: RunningService, samples: dict[str, Path]) -> None:
    text = DOCS.read_text(encoding="utf-8")
    [code] = re.findall(r"<!-- python-client -->\n```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    url = rooms.url.replace("http", "ws") + "/v1/streams"
    path = str(samples["synthetic_espeak_1"])
    key = rooms.key("submit")
    reports = asyncio.run(names["speak"](url, key, path, pace=0.02))
    assert set(reports) == {0}
    assert Report.from_dict(reports[0]).input.duration_s > 5
    with pytest.raises(RuntimeError, match="no valid API key"):
        asyncio.run(names["speak"](url, "dfa_wrong", path, pace=0.02))


def test_every_message_is_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    said = {"started", "resumed", "speaker", "event", "alert", "alert_cleared", "report", "closed"}
    heard = set(protocol._TYPES.split(", "))
    for kind in said | heard | {"error", "pong"}:
        assert f"`{kind}`" in text, kind
    package = Path(protocol.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    for error in set(re.findall(r'code="(\w+)"', code)) - {"internal_error"}:
        assert f"`{error}`" in text, error
