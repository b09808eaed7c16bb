"""What goes out: OTLP by HTTP or gRPC, behind a bound and a count of what was lost on the way."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Mapping, Sequence
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

from shared.otel_config import GRPC, Exporter
from shared.telemetry import log_records

logger = logging.getLogger(__name__)
# What they say of each attempt is said here once a minute.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

MAX_QUEUE = 2048  # records of one kind that wait for the collector; more are dropped
BATCH = 512  # records of one request
EXPORT_SECONDS = 3.0  # for one request and its repetitions
SAY_SECONDS = 60.0  # between two words in the log about what was dropped
_IDS = {"traceId", "spanId", "parentSpanId"}


class Outbox:
    """How many records wait, and how many were lost. what: their name in the log."""

    def __init__(self, what: str) -> None:
        self.dropped = 0
        self._what = what
        self._waiting = 0
        self._lock = threading.Lock()
        self._said_at = -SAY_SECONDS

    def admit(self, *, minor: bool = False) -> bool:
        """Whether one more may wait. minor: what there is much of leaves half of the room to the rest."""
        with self._lock:
            if self._waiting < (MAX_QUEUE // 2 if minor else MAX_QUEUE):
                self._waiting += 1
                return True
        self.lose(1)
        return False

    def take(self, count: int) -> None:
        """These do not wait any more."""
        with self._lock:
            self._waiting -= count

    def lose(self, count: int) -> None:
        """These never arrive."""
        with self._lock:
            self.dropped += count
            now = time.monotonic()
            if now < self._said_at + SAY_SECONDS:
                return
            self._said_at = now
        logger.warning("telemetry: the collector does not take what it is sent: %s", self.told())

    def told(self) -> str:
        return f"{self.dropped} {self._what} were dropped, {self._waiting} wait"

    def close(self) -> None:
        """The process ends: what waits now is lost."""
        with self._lock:
            self.dropped += self._waiting
            self._waiting = 0
        if self.dropped:
            logger.warning("telemetry: %d %s were dropped since the start", self.dropped, self._what)


class _Logs(LogRecordExporter):
    """Sends batches of encoded records: all that is left to do here is to put them into one envelope."""

    def __init__(self, exporter: HttpLogs | GrpcLogs, outbox: Outbox, resource: Resource, scope: tuple[str, str]):
        self._exporter = exporter
        self._outbox = outbox
        self._envelope = log_records.Envelope(resource, *scope)

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        self._outbox.take(len(batch))
        result = LogRecordExportResult.FAILURE
        try:
            result = self._send(self._envelope.around(batch))
        finally:
            if result is not LogRecordExportResult.SUCCESS:
                self._outbox.lose(len(batch))
        return result

    def _send(self, request: bytes) -> LogRecordExportResult:
        # What the exporters' own export() does behind its encoding, which takes the turns' threads off the processor.
        if isinstance(self._exporter, HttpLogs):
            sent = self._exporter._client.export(request).success
            return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE
        return self._exporter.export([ExportLogsServiceRequest.FromString(request)])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _GrpcLogs(GrpcLogs):
    def _translate_data(self, data: Sequence[Any]) -> ExportLogsServiceRequest:
        return data[0]  # type: ignore[no-any-return]


class _Spans(SpanExporter):
    def __init__(self, exporter: SpanExporter, outbox: Outbox) -> None:
        self._exporter = exporter
        self._outbox = outbox

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._outbox.take(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self._outbox.lose(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class LogProcessor:
    """Batches of log records, sent by a thread of its own. minor: name of events that make room for others."""

    def __init__(self, exporter: Exporter, minor: str, resource: Resource, scope: tuple[str, str]) -> None:
        self.outbox = Outbox("log events")
        self._minor = minor
        self.exporter = log_exporter(exporter)
        self._batches = BatchLogRecordProcessor(
            _Logs(self.exporter, self.outbox, resource, scope),
            max_queue_size=MAX_QUEUE,
            max_export_batch_size=BATCH,
        )

    def emit(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Of what happens now, in the current span. attributes: as `log_records.encode` takes them."""
        if self.outbox.admit(minor=name == self._minor):
            self._batches._batch_processor.emit(log_records.encode(name, attributes))  # type: ignore[arg-type]

    def shutdown(self) -> None:
        self._batches.shutdown()


class SpansProcessor(SpanProcessor):
    """Batches of spans, in a thread of its own."""

    def __init__(self, exporter: Exporter) -> None:
        self.outbox = Outbox("spans")
        self.exporter = span_exporter(exporter)
        self._batches = BatchSpanProcessor(
            _Spans(self.exporter, self.outbox), max_queue_size=MAX_QUEUE, max_export_batch_size=BATCH
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled and self.outbox.admit():
            self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)


def log_exporter(exporter: Exporter) -> HttpLogs | GrpcLogs:
    if exporter.kind == GRPC:
        return _GrpcLogs(**_grpc(exporter))
    return HttpLogs(**_http(exporter, ExportLogsServiceRequest))


def span_exporter(exporter: Exporter) -> SpanExporter:
    if exporter.kind == GRPC:
        return GrpcSpans(**_grpc(exporter))
    return HttpSpans(**_http(exporter, ExportTraceServiceRequest))


def metric_exporter(exporter: Exporter) -> MetricExporter:
    if exporter.kind == GRPC:
        return GrpcMetrics(**_grpc(exporter))
    return HttpMetrics(**_http(exporter, ExportMetricsServiceRequest))


def _grpc(exporter: Exporter) -> dict[str, Any]:
    insecure = exporter.endpoint.startswith("http://")
    files = (exporter.ca_certificate, exporter.client_private_key, exporter.client_certificate)
    return {
        "endpoint": exporter.endpoint,
        "insecure": insecure,
        "credentials": None
        if insecure
        else grpc.ssl_channel_credentials(*(file.read_bytes() if file else None for file in files)),
        "headers": tuple((name.lower(), value) for name, value in exporter.headers.items()),
        "timeout": EXPORT_SECONDS,
    }


def _http(exporter: Exporter, message: type[Message]) -> dict[str, Any]:
    files = {
        "certificate_file": exporter.ca_certificate,
        "client_certificate_file": exporter.client_certificate,
        "client_key_file": exporter.client_private_key,
    }
    return {
        "endpoint": exporter.endpoint,
        "headers": dict(exporter.headers),
        "timeout": EXPORT_SECONDS,
        "session": _JsonSession(message) if exporter.protocol == "json" else requests.Session(),
        **{name: str(file) for name, file in files.items() if file},
    }


class _JsonSession(requests.Session):
    """Sends as JSON what the exporters encode as protobuf, which is all they know (OTLP, JSON Protobuf Encoding)."""

    def __init__(self, message: type[Message]) -> None:
        super().__init__()
        self._message = message

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        told = MessageToDict(self._message.FromString(options["data"]), use_integers_for_enums=True)
        options["data"] = orjson.dumps(_with_hex_ids(told))
        options["headers"] = {**options["headers"], "content-type": "application/json"}
        return super().request(method, url, **options)


def _with_hex_ids(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: base64.b64decode(inner).hex() if name in _IDS else _with_hex_ids(inner)
                for name, inner in value.items()
            }
        case list():
            return [_with_hex_ids(inner) for inner in value]
    return value
