"""The client for code that awaits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import httpx

from ._answers import POLL_S, Detection, Patience
from ._requests import DETECTIONS, Submission, authorization, path_of, query_of


class AsyncClient:
    """Asks a service from a running event loop; any number of tasks may share one.

    Every method does and raises what its namesake of :class:`Client` does.

    Parameters
    ----------
    url, key, timeout_s, patience_s
        As for :class:`Client`.
    connections : int
        Most requests under way; others wait for their turn.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        connections: int = 32,
    ) -> None:
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        # Turns are taken here: in the pool of httpx waiting for one counts against the timeout.
        self._turns = asyncio.Semaphore(connections)
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=authorization(key),
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=connections),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
        self,
        recording: str | os.PathLike[str] | bytes,
        *,
        name: str | None = None,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: str | float,
    ) -> Detection:
        """Hand in a recording, once; see :meth:`Client.submit`."""
        given = Submission.of(recording, name, wait_s, idempotency_key, metadata, options)

        async def send() -> httpx.Response:
            with given.request(self._timeout_s) as request:
                return await self._http.post(**request)

        return Detection.of(await self._patiently(send))

    async def get(self, detection_id: str) -> Detection:
        """Return a detection as it is now; see :meth:`Client.get`."""
        return Detection.of(await self._get(path_of(detection_id), {}))

    async def wait(self, detection_id: str, *, within_s: float = 60.0) -> Detection:
        """Ask again and again until a detection is finished; see :meth:`Client.wait`."""
        deadline = time.monotonic() + within_s
        while not (found := await self.get(detection_id)).finished:
            if time.monotonic() + POLL_S > deadline:
                raise TimeoutError(f"{detection_id} is {found.status} after {within_s:g} s")
            await asyncio.sleep(POLL_S)
        return found

    async def list(self, **wanted: str | int) -> AsyncIterator[Detection]:
        """Yield detections, the newest first; see :meth:`Client.list`."""
        cursor: str | None = None
        while True:
            page = await self._get(DETECTIONS, query_of(wanted, cursor))
            for fields in page["detections"]:
                yield Detection.of(fields)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def delete_audio(self, detection_id: str) -> Detection:
        """Delete the audio of a detection; its record stays."""
        path = path_of(detection_id)
        return Detection.of(await self._patiently(lambda: self._http.delete(path)))

    async def _get(self, path: str, query: dict[str, str | int]) -> dict[str, Any]:
        return await self._patiently(lambda: self._http.get(path, params=query))

    async def _patiently(self, send: Callable[[], Awaitable[httpx.Response]]) -> dict[str, Any]:
        """Return what the service says, coming again while it is full or away."""
        patience: Patience | None = None
        while True:
            outcome: httpx.Response | httpx.TransportError
            async with self._turns:
                # Begins with the first turn: waiting for it is nobody's fault.
                patience = patience or Patience(self._patience_s, str(self._http.base_url))
                try:
                    outcome = await send()
                except httpx.TransportError as error:
                    outcome = error
            said = patience.weigh(outcome)
            if isinstance(said, dict):
                return said
            await asyncio.sleep(said)
