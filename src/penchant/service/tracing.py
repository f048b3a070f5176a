"""OpenTelemetry spans.

In: requests, and the address of a collector. Out: a span for each request with its id, route, method and status; never its path,
query, headers or body, which hold user ids.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penchant.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

PARENT = (b"traceparent", b"tracestate")
"""Headers with the trace a request belongs to."""


class Tracing:
    """Makes and exports spans; a slow or absent collector costs spans, never an answer.

    Args:
        processor: Receives finished spans.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "penchant", "service.version": version("penchant")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(__name__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, address: str) -> Tracing:
        """Send spans to a collector, a batch every few seconds from a thread of its own.

        Raises:
            ConfigError: The address is not an HTTP address.
            MissingExtraError: OpenTelemetry is not installed.
        """
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{address!r} is not the address of a collector.",
                where="traces",
                fix="give one like http://localhost:4318",
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "opentelemetry", "telemetry") from error
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces")))

    def begin(self, headers: dict[bytes, bytes]) -> Span:
        """Return a span that begins now, in the caller's trace."""
        from opentelemetry.trace import SpanKind

        carrier = {name.decode(): headers[name].decode("latin-1") for name in PARENT if name in headers}
        return self._tracer.start_span("request", self._propagator.extract(carrier), kind=SpanKind.SERVER)

    def end(self, span: Span, *, request_id: str, route: str, method: str, status: int) -> None:
        """Describe the request in its span, and export the span."""
        from opentelemetry.trace import StatusCode

        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "penchant.request_id": request_id,
            }
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send the remaining spans, and stop."""
        self._provider.shutdown()
