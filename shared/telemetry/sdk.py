"""The OpenTelemetry SDK of one process: built when something is exported, and then only."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.otel_config import GRPC, Exporter, Otel
from shared.telemetry import exporters

logger = logging.getLogger(__name__)

SCOPE = "threadhouse"
SHUTDOWN_SECONDS = 3.0  # to send what waits, whatever the collector does
LEAVE_SECONDS = 1.0  # behind that, for threads to come out of requests that were cut
METRICS_SECONDS = 30.0  # between two exports; OTEL_METRIC_EXPORT_INTERVAL (ms) wins
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}

Observe = Callable[[], Iterable[tuple[float, Mapping[str, str]]]]


class _Roots(Sampler):
    """No trace of its own for what no request or task asked for: the journal's commits, a listener's queries."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        alone = kind is SpanKind.CLIENT
        return SamplingResult(Decision.DROP if alone else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "Roots"


class _Parts(_Roots):
    """Of what a request or task does, all but what tells nothing: a connection out of the pool, the BEGIN behind it."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        idle = kind is SpanKind.CLIENT and (name == "connect" or name.startswith("BEGIN"))
        return SamplingResult(Decision.DROP if idle else Decision.RECORD_AND_SAMPLE)


class Sdk:
    """Providers of logs, traces and metrics, as far as each is exported. minor: the event that gives way to others."""

    def __init__(self, otel: Otel, role: str, version: str, minor: str) -> None:
        self._otel = otel
        if any(one and one.kind == GRPC for one in self._all) and _is_gevent():
            _befriend_grpc()
        resource = Resource.create(
            {
                "service.name": f"{otel.service_name}-{role}",
                "service.version": version,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "env": otel.environment,
                "host.name": socket.gethostname(),
            }
        )
        self._outboxes: list[exporters.Outbox] = []
        self._exporters: list[Any] = []
        self._closing: list[Callable[[], object]] = []
        self.tracers = TracerProvider(
            resource=resource, sampler=ParentBased(_Roots(), local_parent_sampled=_Parts()), shutdown_on_exit=False
        )
        self._tracer = self.tracers.get_tracer(SCOPE, version)
        if otel.trace_exporter:
            spans = exporters.SpansProcessor(otel.trace_exporter)
            self.tracers.add_span_processor(spans)
            self._outboxes.append(spans.outbox)
            self._exporters.append(spans.exporter)
            self._closing.append(self.tracers.shutdown)
        self._logs: exporters.LogProcessor | None = None
        if otel.exporter:
            self._logs = exporters.LogProcessor(otel.exporter, minor, resource, (SCOPE, version))
            self._outboxes.append(self._logs.outbox)
            self._exporters.append(self._logs.exporter)
            self._closing.append(self._logs.shutdown)
        self._meters: MeterProvider | None = None
        self._meter: Meter | None = None
        self._instruments: dict[str, Any] = {}
        if otel.metrics_exporter:
            interval_ms = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or METRICS_SECONDS * 1000)
            exporter = exporters.metric_exporter(otel.metrics_exporter)
            self._exporters.append(exporter)
            reader = PeriodicExportingMetricReader(exporter, interval_ms)
            meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            self._meters, self._meter = meters, meters.get_meter(SCOPE, version)
            self._closing.append(lambda: meters.shutdown(timeout_millis=SHUTDOWN_SECONDS * 1000))
        self._instrumented: list[Any] = []
        if otel.trace_exporter:
            self._instrument_redis()

    @property
    def _all(self) -> tuple[Exporter | None, ...]:
        return self._otel.exporter, self._otel.trace_exporter, self._otel.metrics_exporter

    @property
    def has_logs(self) -> bool:
        return self._logs is not None

    def close(self) -> None:
        """Send what waits, for as long as that may take; then no more."""
        threads = [threading.Thread(target=_closed, args=(close,), daemon=True) for close in self._closing]
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for exporter in self._exporters:
            _closed(exporter.shutdown)
        deadline = time.monotonic() + LEAVE_SECONDS
        for thread in threads:  # one that still waits inside gRPC when the interpreter ends aborts the process
            thread.join(max(0.0, deadline - time.monotonic()))
        for outbox in self._outboxes:
            outbox.close()

    # -- log events

    def emit(self, name: str, attributes: Mapping[str, Any]) -> None:
        if self._logs is not None:
            self._logs.emit(name, attributes)

    # -- traces

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Any],
        kind: str = "internal",
        parent: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """parent: W3C headers of where this was asked for; else what is current.

        What is current stays the parent if it belongs to that trace; if it belongs to another, it becomes a link.
        """
        context, links = None, []
        if parent:
            here = trace.get_current_span().get_span_context()
            asked = TraceContextTextMapPropagator().extract(parent)
            there = trace.get_current_span(asked).get_span_context()
            if there.is_valid and here.trace_id != there.trace_id:
                context = asked
                links = [Link(here)] if here.is_valid else []
        span = self._tracer.start_span(name, context, KINDS[kind], attributes, links)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                # The kind alone: what an exception says may be anybody's text.
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def carried(self) -> dict[str, str]:
        """W3C headers of the current span."""
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        return headers

    # -- metrics

    def count(self, name: str, amount: int, attributes: Mapping[str, str]) -> None:
        if self._meter is not None:
            counter = self._instruments.get(name) or self._new(name, self._meter.create_counter(name))
            counter.add(amount, attributes)

    def measure(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        if self._meter is not None:
            histogram = self._instruments.get(name) or self._new(name, self._meter.create_histogram(name))
            histogram.record(value, attributes)

    def observe(self, name: str, look: Observe) -> None:
        """A value that is looked at whenever metrics are sent."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in look()]

        if self._meter is not None:
            self._meter.create_observable_gauge(name, [callback])

    def _new(self, name: str, instrument: Any) -> Any:
        return self._instruments.setdefault(name, instrument)

    # -- what others instrument

    def _instrument_redis(self) -> None:
        from opentelemetry.instrumentation.redis import RedisInstrumentor

        RedisInstrumentor().instrument(tracer_provider=self.tracers)

    def watch_celery(self, app: Any) -> None:
        """Spans of messages that are sent and of tasks that run."""
        from celery import signals
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        app.set_default()  # the instrumentation looks a task up in the default application, in any thread

        def know(sender: str, **_: Any) -> None:
            """It never ends the span of a message whose task it does not know, and the API only knows names."""
            if sender not in app.tasks:
                app.task(name=sender)(_elsewhere)

        signals.before_task_publish.connect(know, weak=False)
        CeleryInstrumentor().instrument(tracer_provider=self.tracers, meter_provider=self._meters)

    def watch_flask(self, app: Any) -> None:
        """Spans of requests below /v2/. Of WebSockets each request is one, made by the dispatcher: not the socket."""
        if self._otel.trace_exporter:
            from opentelemetry.instrumentation.flask import FlaskInstrumentor

            FlaskInstrumentor.instrument_app(
                app,
                tracer_provider=self.tracers,
                meter_provider=self._meters,
                excluded_urls=r"^https?://[^/]+/(?!v2/)",
                enable_commenter=False,
            )

    def watch_engine(self, engine: Any) -> None:
        """Spans of statements, without their values."""
        if self._otel.trace_exporter:
            from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

            # Its list of versions ends below 2.1; its hooks are SQLAlchemy's public events.
            SQLAlchemyInstrumentor().instrument(
                engines=[engine], tracer_provider=self.tracers, meter_provider=self._meters, skip_dep_check=True
            )


def _elsewhere() -> None:
    raise AssertionError("this task runs in workers")


def _closed(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception:  # the process ends, with or without it
        logger.exception("telemetry did not end well")


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("socket"))


def _befriend_grpc() -> None:
    """gRPC waits in C, where gevent cannot switch: from here on it waits in gevent's thread pool."""
    from grpc.experimental import gevent

    gevent.init_gevent()
