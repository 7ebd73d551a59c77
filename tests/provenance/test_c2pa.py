"""C2PA manifests made by the C2PA library; without it, that there are some."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mutagen.id3
import pytest
from c2pa_files import sign
from labelled_files import recording, save

from deepfake_audio.provenance import AigcLabel, read_provenance, write_label
from deepfake_audio.provenance.manifest import _summary
from deepfake_audio.provenance.mp4 import C2PA_UUID

needs_c2pa = pytest.mark.skipif(
    not importlib.util.find_spec("c2pa"), reason="c2pa-python is not installed"
)
SIGNED = {
    "wav": ("audio/wav", "RIFF chunk C2PA"),
    "mp3": ("audio/mpeg", "ID3 GEOB"),
    "flac": ("audio/flac", "ID3 GEOB"),
    "m4a": ("audio/mp4", "MP4 uuid box"),
    "front.m4a": ("audio/mp4", "MP4 uuid box"),
    "mp4": ("video/mp4", "MP4 uuid box"),
}


@pytest.fixture
def without_c2pa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)


def manifest(content: bytes | Path) -> dict[str, Any]:
    found = read_provenance(content).c2pa
    assert found is not None
    return found


@needs_c2pa
@pytest.mark.parametrize("kind", SIGNED)
def test_manifests_are_read_and_verified(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mime, where = SIGNED[kind]
    content = sign(recording(kind), mime)
    found = manifest(content)
    size = found.pop("n_bytes")
    assert 1000 < size <= len(content) - len(recording(kind))
    assert found == {
        "where": where, "state": "Valid", "problem": "signingCredential.untrusted",
        "generator": "Voice Maker 2.0", "signer": "Test Maker",
        "source_types": ["trainedAlgorithmicMedia"], "says": "is_generated",
    }  # fmt: skip

    damaged = bytearray(content)
    damaged[3000 if kind == "wav" else -500] ^= 1  # in the audio
    found = manifest(bytes(damaged))
    assert (found["state"], found["says"]) == ("Invalid", None)
    assert "mismatch" in found["problem"]

    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = manifest(content)
    assert (found["where"], found["n_bytes"], found["state"]) == (where, size, "unverified")
    assert "deepfake-audio[provenance]" in found["problem"]


@needs_c2pa
def test_a_recording_of_the_world_is_not_generated() -> None:
    found = manifest(sign(recording("wav"), "audio/wav", "digitalCapture"))
    assert (found["source_types"], found["says"]) == (["digitalCapture"], None)


@needs_c2pa
def test_nothing_is_fetched() -> None:
    import c2pa

    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        content = sign(recording("wav"), "audio/wav", ocsp_url=url)
        asked.clear()
        assert manifest(content)["state"] == "Valid"
        assert asked == []
        # The same file, where the library may ask.
        with (
            c2pa.Context.from_dict({"verify": {"ocsp_fetch": True}}) as context,
            c2pa.Reader("audio/wav", io.BytesIO(content), context=context),
        ):
            assert asked
        server.shutdown()


@needs_c2pa
def test_a_label_breaks_the_signature_and_that_is_said(tmp_path: Path) -> None:
    path = save(tmp_path, "wav")
    path.write_bytes(sign(recording("wav"), "audio/wav"))
    written = write_label(path, AigcLabel("1", "P", "1"))
    assert written.has_manifest
    assert manifest(path)["state"] == "Invalid"


@needs_c2pa
def test_something_else_in_the_place_of_a_manifest() -> None:
    content = recording("wav") + b"C2PA\4\0\0\0abcd"
    size = (len(content) - 8).to_bytes(4, "little")
    found = manifest(content[:4] + size + content[8:])
    assert (found["state"], found["says"]) == ("unverified", None)
    assert found["problem"]


@pytest.mark.usefixtures("without_c2pa")
def test_presence_in_every_place(tmp_path: Path) -> None:
    mp3 = save(tmp_path, "mp3")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.GEOB(mime="application/c2pa", filename="c2pa", desc="d", data=b"x" * 70))
    tags.save(mp3)
    flac = recording("flac")
    block = b"\2\0\0\x4ac2pa" + b"x" * 70  # behind STREAMINFO
    uuid = C2PA_UUID + bytes(4) + b"manifest\0" + bytes(8) + b"x" * 70
    box = (8 + len(uuid)).to_bytes(4, "big") + b"uuid" + uuid
    wav = recording("wav") + b"C2PA" + (70).to_bytes(4, "little") + b"x" * 70
    wav = wav[:4] + (len(wav) - 8).to_bytes(4, "little") + wav[8:]
    places = {
        "ID3 GEOB": mp3.read_bytes(),
        "FLAC APPLICATION block": flac[:42] + block + flac[42:],
        "MP4 uuid box": recording("m4a") + box,
        "RIFF chunk C2PA": wav,
    }
    for where, content in places.items():
        found = manifest(content)
        assert (found["where"], found["n_bytes"], found["state"]) == (where, 70, "unverified")


@pytest.mark.parametrize(
    "store",
    [
        {},
        {"active_manifest": None, "manifests": {}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [{"label": "c2pa.actions"}]}}},
        {"active_manifest": "a", "manifests": {"a": {"claim_generator_info": [{}]}}},
    ],
)
def test_manifests_that_say_little(store: dict[str, Any]) -> None:
    found = _summary(json.loads(json.dumps(store)))
    assert (found["state"], found["says"], found["generator"]) == ("unverified", None, None)
