"""Exporters: OTLP over HTTP or gRPC, behind bounded queues that count what they drop."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import orjson
import requests
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from shared.config.otel import GRPC, Exporter
from shared.telemetry import log_records

logger = logging.getLogger(__name__)
# The exporters log each failed attempt; ExportQueue logs once a minute instead.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

MAX_QUEUE = 2048  # records of one kind that wait for the collector; more are dropped
BATCH = 512  # records of one request
EXPORT_SECONDS = 3.0  # for one request and its retries
LOG_SECONDS = 60.0  # between two log lines about dropped records
_IDS = {"traceId", "spanId", "parentSpanId"}


class ExportQueue:
    """Counts the records that wait for the collector, and those that were dropped. what: their name in log lines."""

    def __init__(self, what: str) -> None:
        self.dropped = 0
        self._what = what
        self._waiting = 0
        self._lock = threading.Lock()
        self._logged_at = -LOG_SECONDS

    def admit(self, *, minor: bool = False) -> bool:
        """Return whether one more record may wait. minor: records of a frequent kind use at most half of the queue."""
        with self._lock:
            if self._waiting < (MAX_QUEUE // 2 if minor else MAX_QUEUE):
                self._waiting += 1
                return True
        self.drop(1)
        return False

    def dequeue(self, count: int) -> None:
        """Count records that are being sent and wait no longer."""
        with self._lock:
            self._waiting -= count

    def drop(self, count: int) -> None:
        """Count records that never arrive, and log them at most once a minute."""
        with self._lock:
            self.dropped += count
            now = time.monotonic()
            if now < self._logged_at + LOG_SECONDS:
                return
            self._logged_at = now
        counts = (self.dropped, self._what, self._waiting)
        logger.warning("telemetry: the collector fails or is too slow: %d %s were dropped, %d are waiting", *counts)

    def close(self) -> None:
        """Count what is waiting as dropped, because the process ends."""
        with self._lock:
            self.dropped += self._waiting
            self._waiting = 0
        if self.dropped:
            logger.warning("telemetry: %d %s were dropped since the start", self.dropped, self._what)


class _Logs(LogRecordExporter):
    """Sends batches of records that are already encoded, in one envelope each."""

    def __init__(self, exporter: HttpLogs | GrpcLogs, queue: ExportQueue, resource: Resource, scope: tuple[str, str]):
        self._exporter = exporter
        self._queue = queue
        self._envelope = log_records.Envelope(resource, *scope)

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        self._queue.dequeue(len(batch))
        result = LogRecordExportResult.FAILURE
        try:
            result = self._send(self._envelope.around(batch))
        finally:
            if result is not LogRecordExportResult.SUCCESS:
                self._queue.drop(len(batch))
        return result

    def _send(self, request: bytes) -> LogRecordExportResult:
        # This is the exporters' own export() without its encoding, which would slow down the threads of the turns.
        if isinstance(self._exporter, HttpLogs):
            sent = self._exporter._client.export(request).success
            return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE
        return self._exporter.export([ExportLogsServiceRequest.FromString(request)])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _GrpcLogs(GrpcLogs):
    """Sends a request as it is, instead of translating SDK records into one."""

    def _translate_data(self, data: Sequence[Any]) -> ExportLogsServiceRequest:
        return data[0]  # type: ignore[no-any-return]


class _Spans(SpanExporter):
    """Sends batches of spans and counts those that are lost."""

    def __init__(self, exporter: SpanExporter, queue: ExportQueue) -> None:
        self._exporter = exporter
        self._queue = queue

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._queue.dequeue(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self._queue.drop(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class LogProcessor:
    """Sends log records in batches, from a thread of its own. minor: name of the frequent events, see ExportQueue."""

    def __init__(self, exporter: Exporter, minor: str, resource: Resource, scope: tuple[str, str]) -> None:
        self.queue = ExportQueue("log events")
        self._minor = minor
        self.exporter = log_exporter(exporter)
        self._batches = BatchLogRecordProcessor(
            _Logs(self.exporter, self.queue, resource, scope),
            max_queue_size=MAX_QUEUE,
            max_export_batch_size=BATCH,
        )

    def emit(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Queue a record of now, in the current span. attributes: as of `log_records.encode`."""
        if self.queue.admit(minor=name == self._minor):
            self._put(log_records.encode(name, attributes))

    def repeated(self, name: str, attributes: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
        """Return a function that queues records with these attributes and more, in the span of this moment."""
        always, is_minor = log_records.head(name) + log_records.members(attributes), name == self._minor

        def emit(more: Mapping[str, Any]) -> None:
            if self.queue.admit(minor=is_minor):
                self._put(always + log_records.moment() + log_records.members(more))

        return emit

    def _put(self, record: bytes) -> None:
        self._batches._batch_processor.emit(record)  # type: ignore[arg-type]

    def shutdown(self) -> None:
        self._batches.shutdown()


class SpansProcessor(SpanProcessor):
    """Sends spans in batches, from a thread of its own."""

    def __init__(self, exporter: Exporter) -> None:
        self.queue = ExportQueue("spans")
        self.exporter = span_exporter(exporter)
        self._batches = BatchSpanProcessor(
            _Spans(self.exporter, self.queue), max_queue_size=MAX_QUEUE, max_export_batch_size=BATCH
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled and self.queue.admit():
            self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)


def log_exporter(exporter: Exporter) -> HttpLogs | GrpcLogs:
    """Return an exporter of log records; with gRPC it sends requests that are encoded already."""
    if exporter.kind == GRPC:
        return _GrpcLogs(**_grpc(exporter))
    return HttpLogs(**_http(exporter, ExportLogsServiceRequest))


def span_exporter(exporter: Exporter) -> SpanExporter:
    """Return an exporter of spans."""
    if exporter.kind == GRPC:
        return GrpcSpans(**_grpc(exporter))
    return HttpSpans(**_http(exporter, ExportTraceServiceRequest))


def metric_exporter(exporter: Exporter) -> MetricExporter:
    """Return an exporter of metrics."""
    if exporter.kind == GRPC:
        return GrpcMetrics(**_grpc(exporter))
    return HttpMetrics(**_http(exporter, ExportMetricsServiceRequest))


def _grpc(exporter: Exporter) -> Mapping[str, Any]:
    """Return the arguments of a gRPC exporter."""
    insecure = exporter.endpoint.startswith("http://")
    files = (exporter.tls.ca_certificate, exporter.tls.client_private_key, exporter.tls.client_certificate)
    return {
        "endpoint": exporter.endpoint,
        "insecure": insecure,
        "credentials": None
        if insecure
        else grpc.ssl_channel_credentials(*(file.read_bytes() if file else None for file in files)),
        "headers": tuple((name.lower(), value) for name, value in exporter.headers.items()),
        "timeout": EXPORT_SECONDS,
    }


def _http(exporter: Exporter, message: type[Message]) -> Mapping[str, Any]:
    """Return the arguments of an HTTP exporter. message: the type of its requests."""
    files = {
        "certificate_file": exporter.tls.ca_certificate,
        "client_certificate_file": exporter.tls.client_certificate,
        "client_key_file": exporter.tls.client_private_key,
    }
    return {
        "endpoint": exporter.endpoint,
        "headers": dict(exporter.headers),
        "timeout": EXPORT_SECONDS,
        "session": _JsonSession(message) if exporter.protocol == "json" else requests.Session(),
        **{name: str(file) for name, file in files.items() if file},
    }


class _JsonSession(requests.Session):
    """Sends JSON (OTLP, JSON Protobuf Encoding), although the exporters can only encode protobuf."""

    def __init__(self, message: type[Message]) -> None:
        super().__init__()
        self._message = message

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        decoded = MessageToDict(self._message.FromString(options["data"]), use_integers_for_enums=True)
        options["data"] = orjson.dumps(_with_hex_ids(decoded))
        options["headers"] = {**options["headers"], "content-type": "application/json"}
        return super().request(method, url, **options)


def _with_hex_ids(value: Any) -> Any:
    """Return JSON with trace and span ids in hex instead of base64, as OTLP wants them."""
    match value:
        case dict():
            return {
                name: base64.b64decode(inner).hex() if name in _IDS else _with_hex_ids(inner)
                for name, inner in value.items()
            }
        case list():
            return [_with_hex_ids(inner) for inner in value]
    return value
