"""A client of the moderation service: recordings in, detections out.

Needs httpx, as of the extra ``server``; of the rest of this package it takes reports and errors.

>>> with Client("http://127.0.0.1:8000", key) as client:  # doctest: +SKIP
...     found = client.submit("clip.wav", wait_s=20)
...     print(found.report.verdict, found.action)
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from .errors import DeepfakeAudioError, MissingExtraError
from .report import Report
from .signatures import SIGNATURE_HEADER, verify

try:
    import httpx
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "the client needs httpx", hint='pip install "deepfake-audio[server]"'
    ) from error

__all__ = ["SIGNATURE_HEADER", "Client", "Detection", "ServiceError", "verify"]

POLL_S = 0.5
"""How often to ask again for what is not done, seconds."""

_AGAIN = (429, 503)
_PAUSE_S = 1.0


class ServiceError(DeepfakeAudioError):
    """The service refused a request, or did not answer.

    Attributes
    ----------
    status : int or None
        Of HTTP; None if there was no answer.
    """

    code = "service_error"

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, name=name, hint=hint)
        self.status = status
        self.code = code or type(self).code


@dataclass(frozen=True)
class Detection:
    """One submitted recording as the service has it.

    Attributes
    ----------
    id, status : str
        ``queued``, ``processing``, ``done`` or ``failed``.
    action : str or None
        What the policy says: ``pass``, ``label``, ``review`` or ``block``.
    report : Report or None
        Once it is done.
    error : dict or None
        Why it failed: ``code``, ``message``, ``hint``.
    fields : mapping
        All that the service said, see ``GET /openapi.json``.
    """

    id: str
    status: str
    action: str | None
    report: Report | None
    error: Mapping[str, Any] | None
    fields: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether there is a report, or there will be none."""
        return self.status in ("done", "failed")

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> Self:
        said = fields["report"]
        report = Report.from_dict(said) if said else None
        return cls(
            fields["id"], fields["status"], fields["action"], report, fields["error"], fields
        )


class Client:
    """Asks a service; for one thread at a time.

    Parameters
    ----------
    url : str
        Of the service, such as ``https://voice.example``.
    key : str, optional
        With the scopes ``submit`` and ``read``; none for ``serve --insecure-local``.
    timeout_s : float
        For each request beyond what it asks the service to wait, seconds.
    patience_s : float
        For how long to come again when the service is full, or away, seconds.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        recording: str | os.PathLike[str] | bytes,
        *,
        name: str | None = None,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: str | float,
    ) -> Detection:
        """Hand in a recording, once, however often that has to be tried.

        Parameters
        ----------
        recording : path or bytes
            Sent as it is.
        name : str, optional
            What reports call it; the name of the file by default.
        wait_s : float
            Have the service answer when it is done, or after so many seconds.
        idempotency_key : str, optional
            Under which the same recording is scored once only; one of its own by default.
        metadata : mapping, optional
            Given back with the detection.
        **options
            Further fields: ``surface``, ``callback_url``, ``retention_days``.

        Raises
        ------
        ServiceError
            If it is refused, or the service is full or away for longer than ``patience_s``.
        OSError
            If the file cannot be read.
        """
        fields = {key: str(value) for key, value in options.items()}
        if metadata is not None:
            fields["metadata"] = json.dumps(metadata)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s:g}"
        if not isinstance(recording, bytes):
            name = name or Path(recording).name

        def send() -> httpx.Response:
            with ExitStack() as opened:
                content: bytes | BinaryIO = (
                    recording
                    if isinstance(recording, bytes)
                    else opened.enter_context(Path(recording).open("rb"))
                )
                return self._http.post(
                    "/v1/detections",
                    files={"file": (name or "recording", content)},
                    data=fields,
                    headers=headers,
                    timeout=self._timeout_s + wait_s,
                )

        return Detection._of(self._patiently(send))

    def get(self, detection_id: str) -> Detection:
        """Return a detection as it is now.

        Raises
        ------
        ServiceError
            If there is none of this identifier, or none that this key can see.
        """
        return Detection._of(self._get(f"/v1/detections/{_segment(detection_id)}", {}))

    def wait(self, detection_id: str, *, within_s: float = 60.0) -> Detection:
        """Ask again and again until a detection is finished.

        Raises
        ------
        TimeoutError
            If it is not within so many seconds.
        ServiceError
            As for :meth:`get`.
        """
        deadline = time.monotonic() + within_s
        while not (found := self.get(detection_id)).finished:
            if time.monotonic() + POLL_S > deadline:
                raise TimeoutError(f"{detection_id} is {found.status} after {within_s:g} s")
            time.sleep(POLL_S)
        return found

    def list(self, **wanted: str | int) -> Iterator[Detection]:
        """Yield detections, the newest first, asking for page after page.

        Parameters
        ----------
        **wanted
            Filters such as ``status``, ``verdict``, ``action``, ``since``; ``limit`` is the
            length of a page.
        """
        cursor: str | None = None
        while True:
            query = {**wanted, **({"cursor": cursor} if cursor else {})}
            page = self._get("/v1/detections", query)
            yield from map(Detection._of, page["detections"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def delete_audio(self, detection_id: str) -> Detection:
        """Delete the audio of a detection; its record stays."""
        path = f"/v1/detections/{_segment(detection_id)}"
        return Detection._of(self._patiently(lambda: self._http.delete(path)))

    def _get(self, path: str, query: Mapping[str, str | int]) -> dict[str, Any]:
        return self._patiently(lambda: self._http.get(path, params=dict(query)))

    def _patiently(self, send: Any) -> dict[str, Any]:
        """Return what the service says, coming again while it is full or away."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                answer = send()
            except httpx.TransportError as error:
                fault = ServiceError(
                    f"no answer ({type(error).__name__}: {error})",
                    name=str(self._http.base_url),
                    hint="check the address, and that the service runs",
                )
                pause_s = _PAUSE_S
            else:
                if answer.is_success:
                    said: dict[str, Any] = answer.json()
                    return said
                fault = _refusal(answer)
                if answer.status_code not in _AGAIN:
                    raise fault
                pause_s = _seconds(answer.headers.get("Retry-After"))
            if time.monotonic() + pause_s > deadline:
                raise fault
            time.sleep(pause_s)


def _refusal(answer: httpx.Response) -> ServiceError:
    try:
        said = answer.json()["error"]
        return ServiceError(
            said["message"],
            name=said["name"],
            hint=said["hint"],
            status=answer.status_code,
            code=said["code"],
        )
    except (ValueError, KeyError, TypeError):  # such as a proxy's page
        return ServiceError(f"HTTP status {answer.status_code}", status=answer.status_code)


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else _PAUSE_S


def _segment(identifier: str) -> str:
    """Return an identifier as one part of a path, whatever is in it."""
    return quote(identifier, safe="")
