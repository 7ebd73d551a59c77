"""The ASGI application."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import DeepfakeAudioError
from . import locality, telemetry
from .errors import RequestError
from .patience import SmallBodies
from .routes import callbacks, dashboard, detections, models, operations, page, reviews, rooms
from .routes.common import error_response
from .service import Service

logger = logging.getLogger(__name__)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}


def create_app(service: Service) -> FastAPI:
    """Return the application of a service; it starts and stops the service with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = FastAPI(
        title="deepfake_audio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(operations.router)
    app.include_router(detections.router)
    app.include_router(callbacks.router)
    app.include_router(models.router)
    app.include_router(rooms.router)
    app.include_router(reviews.router)
    app.include_router(dashboard.router)
    app.include_router(page.router)
    app.add_middleware(SmallBodies)
    if service.settings.insecure_local:
        app.add_middleware(_ThisMachine)
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(telemetry.Spans)
    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    """Make every error look the same, and tell nobody what is inside."""

    @app.exception_handler(DeepfakeAudioError)
    async def ours(request: Request, error: DeepfakeAudioError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return error_response(RequestError(first["msg"], name=name, status=422, code="bad_request"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, RequestError):  # what FastAPI met when it read the body
            return error_response(error.__cause__)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        return error_response(RequestError(str(error.detail), status=error.status_code, code=code))

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    async def database(request: Request, error: Exception) -> JSONResponse:
        logger.error("the database does not answer: %s", error)
        return error_response(
            RequestError(
                "the database does not answer, or is asked too much",
                hint="come again",
                status=503,
                code="unavailable",
                retry_after_s=2,
            )
        )

    @app.exception_handler(DataError)
    @app.exception_handler(OverflowError)
    async def unfit(request: Request, error: Exception) -> JSONResponse:
        return error_response(
            RequestError(
                "holds a value that no record can have",
                hint="leave out NUL and far dates",
                status=422,
            )
        )

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return await unforeseen(request, error)
        logger.error("the disk is full")
        return error_response(
            RequestError(
                "no room for the recording",
                hint="come again",
                status=507,
                code="disk_full",
                retry_after_s=60,
            )
        )

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        logger.error("unforeseen: %s %s", request.method, request.url.path, exc_info=error)
        return error_response(
            RequestError("something went wrong here", status=500, code="internal_error")
        )


class _ThisMachine:
    """Keeps pages of other sites away; rooms look for themselves, to say what is wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            try:
                locality.check(scope["method"], headers.get("host"), headers.get("origin"))
            except RequestError as error:
                app = error_response(error)
        await app(scope, receive, send)


class _SecurityHeaders:
    """Adds to each answer what browsers need to know."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
