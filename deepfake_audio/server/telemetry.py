"""Spans for OpenTelemetry: what a request led to, on whatever thread and in whatever process.

The service names its spans whether or not anybody listens, which costs next to nothing; they are
sent only if the setting ``telemetry`` says so. What is in them is chosen here, and nowhere else: no
audio, no key, no name of a file, no query, no address of a client, no message of an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import ConfigError, MissingExtraError

SERVICE_NAME = "deepfake-audio"
"""What the service is called unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` say."""

_UNWATCHED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines every few seconds."""

_NAME = "deepfake_audio"
_TRACER = trace.get_tracer(_NAME, __version__)
_WIRE = TraceContextTextMapPropagator()
_PARENT = "traceparent"


def begin() -> Callable[[], None]:
    """Send spans from here on, to where the environment says (``OTEL_EXPORTER_OTLP_ENDPOINT``).

    Returns
    -------
    callable
        Sends what is left, and ends.

    Raises
    ------
    MissingExtraError
        If the SDK is not installed.
    ConfigError
        If the environment asks for something that cannot be.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME as KEY
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtraError(
            "telemetry needs the SDK of OpenTelemetry",
            name="telemetry",
            hint='pip install "deepfake-audio[telemetry]"',
        ) from None
    try:
        told = OTELResourceDetector().detect()
        provider = TracerProvider(resource=Resource.create({KEY: SERVICE_NAME}).merge(told))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise ConfigError(
            str(error), name="telemetry", hint="look at the OTEL_ variables"
        ) from error
    # Not that of the whole process: libraries that found one would tell what they think fit.
    global _TRACER
    _TRACER = provider.get_tracer(_NAME, __version__)
    return provider.shutdown


class Spans:
    """Gives each request a span, and each room; under that of whoever asks, if he names one.

    Parameters
    ----------
    app : ASGI application
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _UNWATCHED:
            await self._app(scope, receive, send)
            return
        method = str(scope.get("method", "WS"))
        parent = Headers(scope=scope).get(_PARENT)
        about = {"http.request.method": method}
        with _span(method, _context(parent), about, SpanKind.SERVER) as span:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            try:
                await self._app(scope, receive, answer)
            finally:
                # Known only now: as it is declared, and not with what a client put into it.
                if route := getattr(scope.get("route"), "path", None):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)


def current() -> str | None:
    """Return what is to be kept of the current span, so that work can go on under it later.

    Returns
    -------
    str or None
        A ``traceparent`` (W3C Trace Context); None if nobody listens.
    """
    carrier: dict[str, str] = {}
    _WIRE.inject(carrier)
    return carrier.get(_PARENT)


@contextmanager
def span(name: str, parent: str | None = None, **about: str | int | float) -> Iterator[Span]:
    """Give a piece of work a span.

    Parameters
    ----------
    name : str
        The kind of work.
    parent : str, optional
        From :func:`current`, where the work was asked for.
    **about : str, int or float
        Attributes, without the prefix ``deepfake_audio.``.

    Yields
    ------
    Span
        Marked as failed if an exception comes by; of that only the type is told, for a message may
        hold the name of a file.
    """
    with _span(name, _context(parent), _attributes(about)) as begun:
        yield begun


@contextmanager
def _span(
    name: str,
    context: Context | None,
    attributes: dict[str, Any],
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    with _TRACER.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except Exception as error:
            fail(begun, type(error).__name__)
            raise


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed."""
    span.set_status(Status(StatusCode.ERROR, kind))


@dataclass(frozen=True)
class Part:
    """What one request had of work that was done for several together.

    Attributes
    ----------
    parent : str or None
        As for :func:`span`.
    about : dict
        Attributes, as for :func:`span`.
    failure : str or None
        What kind of error came of it.
    """

    parent: str | None
    about: dict[str, str | int | float]
    failure: str | None = None


def past(name: str, parts: Iterable[Part], began_ns: int, ended_ns: int) -> None:
    """Give work that was done for several requests together a span under each of them.

    Parameters
    ----------
    name : str
        The kind of work.
    parts : iterable of Part
        Whose it was.
    began_ns, ended_ns : int
        When, ``time.time_ns()``.
    """
    for part in parts:
        span = _TRACER.start_span(
            name,
            context=_context(part.parent),
            attributes=_attributes(part.about),
            start_time=began_ns,
        )
        if part.failure is not None:
            fail(span, part.failure)
        span.end(ended_ns)


def _context(parent: str | None) -> Context | None:
    return _WIRE.extract({_PARENT: parent}) if parent else None


def _attributes(about: Mapping[str, Any]) -> dict[str, Any]:
    return {f"deepfake_audio.{key}": value for key, value in about.items()}
