"""Spans for OpenTelemetry: what a request led to, on whatever thread and in whatever process.

The service names its spans whether or not anybody listens, which costs next to nothing; they are
sent only if the setting ``telemetry`` says so, or the process was started by
``opentelemetry-instrument``. There is no audio in them, no key, no name of a file, and no query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..errors import ConfigError, MissingExtraError

SERVICE_NAME = "deepfake-audio"
"""What the service is called unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` say."""

_UNWATCHED = "healthz,readyz,metrics"
_TRACER = trace.get_tracer("deepfake_audio", __version__)
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
    trace.set_tracer_provider(provider)
    return provider.shutdown


def watch(app: FastAPI) -> None:
    """Give each request a span, except those by which a machine asks whether the service lives."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        server_request_hook=_without_query,
        excluded_urls=_UNWATCHED,
        exclude_spans=["receive", "send"],  # a room has thousands
    )


def _without_query(span: Span, scope: MutableMapping[str, Any]) -> None:
    """Take out what somebody searched for."""
    path = str(scope.get("path", ""))
    for key in ("http.url", "http.target", "url.full", "url.query"):
        if key in (getattr(span, "attributes", None) or {}):
            span.set_attribute(key, "" if key == "url.query" else path)


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
    with _TRACER.start_as_current_span(
        name,
        context=_context(parent),
        attributes=_attributes(about),
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


def past(name: str, parents: Iterable[tuple[str | None, dict[str, Any]]], began_ns: int) -> None:
    """Give work that was done for several requests together a span under each, ending now.

    Parameters
    ----------
    name : str
        The kind of work.
    parents : iterable of (str or None, dict)
        As for :func:`span`: the parent and the attributes.
    began_ns : int
        When it began, ``time.time_ns()``.
    """
    for parent, about in parents:
        _TRACER.start_span(
            name, context=_context(parent), attributes=_attributes(about), start_time=began_ns
        ).end()


def _context(parent: str | None) -> Context | None:
    return _WIRE.extract({_PARENT: parent}) if parent else None


def _attributes(about: dict[str, Any]) -> dict[str, Any]:
    return {f"deepfake_audio.{key}": value for key, value in about.items()}
