"""What the service says of itself, for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deepfake_audio.server.logs import JsonFormatter


def test_a_record_is_one_line_of_json() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord(
            "a.b", logging.ERROR, __file__, 1, "%s fails \u8bed", ("it",), sys.exc_info()
        )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("ERROR", "a.b", "it fails \u8bed")
    assert said["exception"].endswith("ValueError: two\nlines")
    age = datetime.now(UTC) - datetime.fromisoformat(said["time"])
    assert 0 <= age.total_seconds() < 60


def test_a_service_logs_as_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepfake_audio", "serve", "--insecure-local", "--port", "0"]
    service = subprocess.Popen(
        [*command, "--data", str(tmp_path), "--model", "tiny"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DEEPFAKE_AUDIO_LOG_FORMAT": "json"},
        start_new_session=True,
    )
    assert service.stderr is not None
    try:
        for line in service.stderr:
            if found := re.search(r"listening on http://(.+):(\d+)", line):
                break
        with socket.create_connection((found[1], int(found[2])), timeout=30) as connection:
            connection.sendall(b"this is not HTTP\r\n\r\n")
            assert b"400" in connection.recv(1000)
        said = json.loads(service.stderr.readline())
        assert (said["level"], said["logger"]) == ("WARNING", "uvicorn.error")
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=60)
    assert service.returncode == 0  # that it was asked to stop is no failure
