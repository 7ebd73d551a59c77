"""How long the service listens to somebody who does not get to the point.

uvicorn waits for ever for the end of a request's headers, and FastAPI reads a JSON body of any
size into memory. Uploads have limits of their own, see :mod:`deepfake_audio.server.uploads`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import RequestError

HEADERS_S = 10.0
"""Seconds within which the headers of a request have to be complete."""

BODY_S = 15.0
BODY_BYTES = 256 * 1024
"""What the body of a request that is no upload may take."""

UPLOADS = ("/v1/detections", "/v1/batches")


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 for which unfinished headers are a reason to hang up."""

    _timer: asyncio.TimerHandle | None = None
    headers_s = HEADERS_S

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; wait on if it did not complete the headers."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.headers_s, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        self._timer = None
        # Between two requests of a connection uvicorn has a timer of its own.
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class SmallBodies:
    """ASGI middleware: bodies that are no uploads are small and come quickly."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a body that has limits."""
        if scope["type"] != "http" or (scope["method"] == "POST" and scope["path"] in UPLOADS):
            await self.app(scope, receive, send)
            return
        end = time.monotonic() + BODY_S
        left = BODY_BYTES
        whole = False

        async def bounded() -> Message:
            nonlocal left, whole
            if whole:  # from now on only the end of the connection is waited for
                return await receive()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    message = await receive()
            except TimeoutError as error:
                raise RequestError("the body takes too long", status=408) from error
            left -= len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if left < 0:
                raise RequestError(f"the body is larger than {BODY_BYTES} bytes", status=413)
            return message

        await self.app(scope, bounded, send)
