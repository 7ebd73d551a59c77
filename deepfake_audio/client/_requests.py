"""What a service is asked: the parts of requests that both clients send alike."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

DETECTIONS = "/v1/detections"


@dataclass(frozen=True)
class Submission:
    """A recording to hand in, the same however often it is sent."""

    recording: str | os.PathLike[str] | bytes
    name: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    wait_s: float

    @classmethod
    def of(
        cls,
        recording: str | os.PathLike[str] | bytes,
        name: str | None,
        wait_s: float,
        idempotency_key: str | None,
        metadata: Mapping[str, Any] | None,
        options: Mapping[str, str | float],
    ) -> Self:
        """Prepare one; the arguments are those of ``Client.submit``."""
        fields = {key: str(value) for key, value in options.items()}
        if metadata is not None:
            fields["metadata"] = json.dumps(metadata)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s:g}"
        if not isinstance(recording, bytes):
            name = name or Path(recording).name
        return cls(recording, name or "recording", fields, headers, wait_s)

    @contextmanager
    def request(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Open the recording; gives what ``post`` takes."""
        request = {
            "url": DETECTIONS,
            "data": dict(self.fields),
            "headers": dict(self.headers),
            "timeout": timeout_s + self.wait_s,
        }
        if isinstance(self.recording, bytes):
            yield {**request, "files": {"file": (self.name, self.recording)}}
            return
        with Path(self.recording).open("rb") as file:
            yield {**request, "files": {"file": (self.name, file)}}


def path_of(detection_id: str) -> str:
    """Return where a detection is, whatever is in its identifier."""
    return f"{DETECTIONS}/{quote(detection_id, safe='')}"


def query_of(wanted: Mapping[str, str | int], cursor: str | None) -> dict[str, str | int]:
    """Return the query for one page of a list."""
    return {**wanted, **({"cursor": cursor} if cursor else {})}


def authorization(key: str | None) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}
