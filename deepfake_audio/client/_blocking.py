"""The client for ordinary code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import httpx

from ._answers import POLL_S, Detection, Patience
from ._requests import DETECTIONS, Submission, authorization, path_of, query_of


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
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._http = httpx.Client(base_url=url, headers=authorization(key), timeout=timeout_s)

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
        given = Submission.of(recording, name, wait_s, idempotency_key, metadata, options)

        def send() -> httpx.Response:
            with given.request(self._timeout_s) as request:
                return self._http.post(**request)

        return Detection.of(self._patiently(send))

    def get(self, detection_id: str) -> Detection:
        """Return a detection as it is now.

        Raises
        ------
        ServiceError
            If there is none of this identifier, or none that this key can see.
        """
        return Detection.of(self._get(path_of(detection_id), {}))

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
            page = self._get(DETECTIONS, query_of(wanted, cursor))
            yield from map(Detection.of, page["detections"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def delete_audio(self, detection_id: str) -> Detection:
        """Delete the audio of a detection; its record stays."""
        path = path_of(detection_id)
        return Detection.of(self._patiently(lambda: self._http.delete(path)))

    def _get(self, path: str, query: dict[str, str | int]) -> dict[str, Any]:
        return self._patiently(lambda: self._http.get(path, params=query))

    def _patiently(self, send: Callable[[], httpx.Response]) -> dict[str, Any]:
        """Return what the service says, coming again while it is full or away."""
        patience = Patience(self._patience_s, str(self._http.base_url))
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = send()
            except httpx.TransportError as error:
                outcome = error
            said = patience.weigh(outcome)
            if isinstance(said, dict):
                return said
            time.sleep(said)
