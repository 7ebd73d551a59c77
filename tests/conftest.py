"""Fixtures shared by all tests: speech-like sound, files of it, and the untrained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import make_speech

from deepfake_audio.checkpoint import Checkpoint, load_checkpoint
from deepfake_audio.detector import Detector

MakeSpeech = Callable[..., np.ndarray]
MakeWav = Callable[..., Path]


@pytest.fixture(scope="session")
def speech() -> MakeSpeech:
    return make_speech


@pytest.fixture
def speech_wav(tmp_path: Path) -> MakeWav:
    """Factory of WAV files: ``speech_wav(name, seconds, seed=0, channels=1, rate_hz=16_000)``."""

    def make(
        name: str, seconds: float, *, seed: int = 0, channels: int = 1, rate_hz: int = 16_000
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = [make_speech(seconds, seed + channel, rate_hz) for channel in range(channels)]
        soundfile.write(path, np.stack(sound, axis=1), rate_hz)
        return path

    return make


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return load_checkpoint("unittest")


@pytest.fixture(scope="session")
def detector(checkpoint: Checkpoint) -> Detector:
    return Detector(checkpoint, device="cpu", precision="fp32")  # the same, whatever the batch


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket on an S3 server of our own, as an fsspec file system."""
    server_module = pytest.importorskip("moto.server", reason='pip install "moto[server]"')
    s3fs = pytest.importorskip("s3fs", reason='pip install "deepfake-audio[distributed]"')
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir("clips")
    yield filesystem
    filesystem.rm("clips", recursive=True)  # the server's memory outlives it
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
