"""The OpenTelemetry SDK of one process. It is built only when something is exported."""

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
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, NoOpMeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from shared.config.otel import GRPC, Exporter, Otel
from shared.telemetry import exporters
from shared.telemetry.metrics import BUCKETS_MS, MAX_SERIES, MAX_VALUE_CHARACTERS, METRICS, OTHER

logger = logging.getLogger(__name__)

SCOPE = "threadhouse"
SLOW_TRANSACTION_NS = 5_000_000
SHUTDOWN_SECONDS = 3.0  # to send what is queued, whatever the collector does
LEAVE_SECONDS = 1.0  # after that, for threads to return from requests that were cut
_BEGAN_AT = "telemetry_began_at_ns"  # in the `info` of a connection: when its transaction began, Unix ns
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}

Observe = Callable[[], Iterable[tuple[float, Mapping[str, str]]]]


class Sdk:
    """Providers of logs, traces and metrics, of those that are exported. minor: the frequent event, see ExportQueue."""

    def __init__(self, otel: Otel, role: str, version: str, minor: str) -> None:
        self._otel = otel
        if any(one and one.kind == GRPC for one in self._all) and _is_gevent():
            _patch_grpc()
        resource = Resource.create(
            {
                "service.name": f"{otel.service_name}-{role}",
                "service.version": version,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "env": otel.environment,
                "host.name": socket.gethostname(),
            }
        )
        self._queues: list[exporters.ExportQueue] = []
        self._exporters: list[Any] = []
        self._closing: list[Callable[[], object]] = []
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracer = self.tracers.get_tracer(SCOPE, version)
        if otel.trace_exporter:
            spans = exporters.SpansProcessor(otel.trace_exporter)
            self.tracers.add_span_processor(spans)
            self._queues.append(spans.queue)
            self._exporters.append(spans.exporter)
            self._closing.append(self.tracers.shutdown)
        self._logs: exporters.LogProcessor | None = None
        if otel.exporter:
            self._logs = exporters.LogProcessor(otel.exporter, minor, resource, (SCOPE, version))
            self._queues.append(self._logs.queue)
            self._exporters.append(self._logs.exporter)
            self._closing.append(self._logs.shutdown)
        self._meter: Meter | None = None
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in METRICS}
        self.metrics_port: int | None = None
        if otel.measures:
            self._start_metrics(otel, resource, version)

    def _start_metrics(self, otel: Otel, resource: Resource, version: str) -> None:
        readers: list[MetricReader] = []
        if otel.metrics_exporter:
            exporter = exporters.metric_exporter(otel.metrics_exporter)
            self._exporters.append(exporter)
            readers.append(PeriodicExportingMetricReader(exporter, otel.metrics_interval_ms))
        exposition = None
        if otel.metrics_port:
            from shared.telemetry.exposition import Exposition

            exposition = Exposition()
            readers.append(exposition.reader)
            self._closing.append(exposition.close)
        meters = MeterProvider(readers, resource, shutdown_on_exit=False)
        self._closing.append(lambda: meters.shutdown(timeout_millis=SHUTDOWN_SECONDS * 1000))
        self._meter = meters.get_meter(SCOPE, version)
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                for attributes in metric.known_combinations:  # the first event of a new series would be no increase
                    self.count(name, 0, attributes)
        if exposition is not None:
            exposition.serve(otel.metrics_host, otel.metrics_port)
            self.metrics_port = exposition.port

    @property
    def _all(self) -> tuple[Exporter | None, ...]:
        return self._otel.exporter, self._otel.trace_exporter, self._otel.metrics_exporter

    @property
    def has_logs(self) -> bool:
        return self._logs is not None

    @property
    def _has_traces(self) -> bool:
        """Whether spans are of use; log events name the span in which they happen."""
        return self.has_logs or self._otel.trace_exporter is not None

    def close(self) -> None:
        """Send what is queued, for SHUTDOWN_SECONDS at most, and stop."""
        threads = [threading.Thread(target=_closed, args=(close,), daemon=True) for close in self._closing]
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for exporter in self._exporters:
            _closed(exporter.shutdown)
        deadline = time.monotonic() + LEAVE_SECONDS
        for thread in threads:  # a thread that waits inside gRPC when the interpreter ends aborts the process
            thread.join(max(0.0, deadline - time.monotonic()))
        for queue in self._queues:
            queue.close()

    # -- log events

    def emit(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Queue a log event."""
        if self._logs is not None:
            self._logs.emit(name, attributes)

    def repeated(self, name: str, attributes: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
        """Return a function that queues this log event, with these attributes and more, in the span of this moment."""
        assert self._logs is not None
        return self._logs.repeated(name, attributes)

    # -- traces

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Any],
        kind: str = "internal",
        parent: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """Make a span.

        parent: W3C headers of the request that caused it; None: the current span is the parent. A current span of the
                request's trace stays the parent; one of another trace becomes a link.
        """
        if not self._has_traces:
            yield
            return
        context, links = None, []
        if parent:
            current = trace.get_current_span().get_span_context()
            cause_context = TraceContextTextMapPropagator().extract(parent)
            cause = trace.get_current_span(cause_context).get_span_context()
            if cause.is_valid and current.trace_id != cause.trace_id:
                context = cause_context
                links = [Link(current)] if current.is_valid else []
        span = self._tracer.start_span(name, context, KINDS[kind], attributes, links)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                # Only the type: the message of an exception may be a user's text.
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def trace_headers(self) -> dict[str, str]:
        """Return the W3C headers of the current span."""
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        return headers

    # -- metrics

    def count(self, name: str, amount: int, attributes: Mapping[str, str]) -> None:
        """Add to a counter. name: one of METRICS with this kind, as below."""
        if self._meter is not None:
            counter = self._counters.get(name)
            if counter is None:
                made = self._meter.create_counter(name, description=METRICS[name].description)
                counter = self._counters.setdefault(name, made)
            counter.add(amount, self._bounded(name, attributes))

    def measure(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Add a value to a histogram."""
        if self._meter is not None:
            histogram = self._histograms.get(name)
            if histogram is None:
                made = self._meter.create_histogram(
                    name, description=METRICS[name].description, explicit_bucket_boundaries_advisory=BUCKETS_MS
                )
                histogram = self._histograms.setdefault(name, made)
            histogram.record(value, self._bounded(name, attributes))

    def _bounded(self, name: str, attributes: Mapping[str, str]) -> Mapping[str, str]:
        """Return the attributes, or OTHER for each of them when the metric has too many combinations."""
        series, values = self._series[name], tuple(attributes.values())
        if values in series:
            return attributes
        if len(series) < MAX_SERIES and all(len(value) <= MAX_VALUE_CHARACTERS for value in values):
            series.add(values)
            return attributes
        return dict.fromkeys(attributes, OTHER)

    def observe(self, name: str, measure: Observe) -> None:
        """Add a gauge that is measured whenever metrics are exported."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in measure()]

        if self._meter is not None:
            self._meter.create_observable_gauge(name, [callback], description=METRICS[name].description)

    # -- instrumentation of libraries

    def watch_celery(self, app: Any) -> None:
        """Make spans of tasks that are sent and of tasks that run."""
        if not self._has_traces:
            return
        from celery import signals
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        app.set_default()  # the instrumentation looks a task up in the default application, in any thread

        def register(sender: str, **_: Any) -> None:
            """Register a task by its name: the instrumentation never ends the span of a task that is not registered."""
            if sender not in app.tasks:
                app.task(name=sender)(_not_here)

        signals.before_task_publish.connect(register, weak=False)
        CeleryInstrumentor().instrument(tracer_provider=self.tracers, meter_provider=NoOpMeterProvider())

    def watch_flask(self, app: Any) -> None:
        """Make spans of requests below /v2/. The dispatcher makes those of requests over a WebSocket."""
        if self._otel.trace_exporter:
            from opentelemetry.instrumentation.flask import FlaskInstrumentor

            FlaskInstrumentor.instrument_app(
                app,
                tracer_provider=self.tracers,
                meter_provider=NoOpMeterProvider(),
                excluded_urls=r"^https?://[^/]+/(?!v2/)",
                enable_commenter=False,
            )

    def watch_engine(self, engine: Engine) -> None:
        """Make spans of transactions that take SLOW_TRANSACTION_NS or longer; a trivial turn has a dozen quick ones."""
        if not self._otel.trace_exporter:
            return
        attributes = {"db.system.name": engine.dialect.name}

        def begin(_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
            record.info[_BEGAN_AT] = time.time_ns()

        def end(_connection: Any, record: ConnectionPoolEntry) -> None:
            began_at_ns = record.info.get(_BEGAN_AT, 0)
            is_slow = began_at_ns and time.time_ns() - began_at_ns >= SLOW_TRANSACTION_NS
            if is_slow and trace.get_current_span().is_recording():
                kind = SpanKind.CLIENT
                self._tracer.start_span("transaction", None, kind, attributes, start_time=began_at_ns).end()

        # Of the pool, not of connections: with a listener of one, SQLAlchemy looks for more around every statement.
        event.listen(engine, "checkout", begin)
        event.listen(engine, "checkin", end)


def _not_here() -> None:
    raise AssertionError("this task runs in workers")


def _closed(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception:  # the process ends anyway
        logger.exception("telemetry shutdown failed")


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("socket"))


def _patch_grpc() -> None:
    """Make gRPC wait in gevent's thread pool: it waits in C, where gevent cannot switch."""
    from grpc.experimental import gevent

    gevent.init_gevent()
