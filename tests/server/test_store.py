"""Audio in a folder or in a bucket: kept whole, lent, deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from deepfake_audio.errors import ConfigError
from deepfake_audio.server.store import Store

from .conftest import MakeSettings, running


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = str(tmp_path / "audio")
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        url = "s3://clips/audio"
    return Store(url, tmp_path / "incoming")


def keep(store: Store, content: bytes, identifier: str) -> str:
    key = store.key("acme", identifier)
    with store.upload() as path:
        path.write_bytes(content)
        store.keep(path, key)
    return key


def test_what_is_kept_is_lent_and_deleted(store: Store) -> None:
    key = keep(store, b"sound", "det_000001")
    with store.local(key) as path:
        assert path.read_bytes() == b"sound"
    with store.open(key) as file:
        assert file.read() == b"sound"
    assert list(store.keys()) == [key]
    assert list(store.incoming.iterdir()) == []

    store.delete(key)
    store.delete(key)  # gone is gone

    assert list(store.keys()) == []
    with pytest.raises(FileNotFoundError), store.local(key):
        pass
    with pytest.raises(FileNotFoundError):
        store.open(key)


def test_an_upload_that_nobody_keeps_leaves_nothing(store: Store) -> None:
    with store.upload() as path:
        path.write_bytes(b"half")
    assert list(store.incoming.iterdir()) == []


def test_what_a_killed_service_left_is_swept_up(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "audio"), tmp_path / "incoming")
    left, fresh = store.incoming / "upload-old", store.incoming / "upload-new"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, time.time() - 7200))
    assert store.sweep(time.time()) == 1
    assert list(store.incoming.iterdir()) == [fresh]


def test_a_store_that_cannot_be_used_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="storage_url"):
        Store(str(tmp_path / "file" / "audio"), tmp_path / "incoming")
    with pytest.raises(ConfigError, match="storage_url"):
        Store("nosuch://bucket", tmp_path / "incoming")


def test_the_service_over_a_bucket(
    bucket: Any, make_settings: MakeSettings, samples: dict[str, Path]
) -> None:
    with running(make_settings(storage_url="s3://clips/voice")) as service:
        client = service.client("submit", "read", "review")
        content = samples["synthetic_espeak_1"].read_bytes()
        found = client.post(
            "/v1/detections", files={"file": content}, headers={"Prefer": "wait=30"}
        ).json()
        assert found["status"] == "done"
        url = f"/v1/detections/{found['id']}"
        assert client.get(f"{url}/audio").content == content
        assert client.get(f"{url}/audio.wav").content[:4] == b"RIFF"
        assert bucket.find("clips/voice")
        client.delete(url).raise_for_status()
        bucket.invalidate_cache()
        assert list(service.service.store.keys()) == []
