"""A collector of the tests: it receives OTLP over HTTP (binary and JSON) and gRPC, and keeps every record."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, Parse
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

from tests.support.wait import until

KINDS = {
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
    "traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
}
_IDS = {"traceId", "spanId", "parentSpanId"}


@dataclass(frozen=True)
class Exported:
    """One log record, span or metric. content: its OTLP/JSON form, with hexadecimal ids."""

    service: str
    resource: dict[str, Any]
    content: dict[str, Any]
    headers: dict[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.attributes.get("event.name") or self.content.get("name"))

    @property
    def attributes(self) -> dict[str, Any]:
        return plain(self.content.get("attributes", []))


class OtlpSink:
    """The collector; a context manager.

    http_url, grpc_url: where it listens
    mute:               it accepts connections and never answers
    keeps:              False: it throws away what comes over HTTP, without the time that reading it would take
    exported:           every record so far, by kind
    """

    def __init__(self, *, mute: bool = False, keeps: bool = True) -> None:
        self.exported: dict[str, list[Exported]] = {"logs": [], "traces": [], "metrics": []}
        self.connections = 0
        self.bodies: list[bytes] = []
        self._mute = mute
        self._closed = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                sink.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink._mute:
                    sink._closed.wait()
                    return
                kind = self.path.rpartition("/")[2]
                headers = {name.lower(): value for name, value in self.headers.items()}
                request, response = KINDS[kind]
                if not keeps:
                    pass
                elif headers["content-type"] == "application/json":
                    message = Parse(json.dumps(_with_base64_ids(json.loads(body))), request())
                    sink.record(kind, message, headers)
                else:
                    sink.record(kind, request.FromString(body), headers)
                self.send_response(200)
                answer = response().SerializeToString()
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        logs_grpc.add_LogsServiceServicer_to_server(_Servicer(self, "logs"), self._grpc)
        traces_grpc.add_TraceServiceServicer_to_server(_Servicer(self, "traces"), self._grpc)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Servicer(self, "metrics"), self._grpc)
        self.http_url = f"http://127.0.0.1:{self._http.server_port}"
        self.grpc_url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> OtlpSink:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening. A second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def record(self, kind: str, message: Any, headers: dict[str, str]) -> None:
        """Keep the records of one export request."""
        self.bodies.append(message.SerializeToString())
        request = _with_hex_ids(MessageToDict(message, use_integers_for_enums=True))
        resources, scopes, leaves = {
            "logs": ("resourceLogs", "scopeLogs", "logRecords"),
            "traces": ("resourceSpans", "scopeSpans", "spans"),
            "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
        }[kind]
        for one in request.get(resources, []):
            resource = plain(one["resource"]["attributes"])
            for scope in one[scopes]:
                for leaf in scope[leaves]:
                    self.exported[kind].append(Exported(str(resource["service.name"]), resource, leaf, headers))

    def wait_for(self, kind: str, name: str, count: int = 1, **attributes: Any) -> list[Exported]:
        """Wait until there are `count` records of that name with these attributes. Return all of them."""
        until(lambda: len(self.named(kind, name, **attributes)) >= count)
        return self.named(kind, name, **attributes)

    def named(self, kind: str, name: str, **attributes: Any) -> list[Exported]:
        """Return the records of that name with these attributes; `__` in an attribute's name stands for a dot."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        records = list(self.exported[kind])
        return [record for record in records if record.name == name and wanted.items() <= record.attributes.items()]


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Ignore errors of connections: tests kill the clients."""


class _Servicer:
    def __init__(self, sink: OtlpSink, kind: str) -> None:
        self._sink = sink
        self._kind = kind

    def Export(self, request: Any, context: Any) -> Any:
        self._sink.connections += 1
        if self._sink._mute:
            self._sink._closed.wait()
        self._sink.record(self._kind, request, {key: str(value) for key, value in context.invocation_metadata()})
        return KINDS[self._kind][1]()


def plain(attributes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return OTLP attributes as a dict of plain values."""
    return {one["key"]: next(iter(one["value"].values()), None) for one in attributes}


def _with_hex_ids(value: Any) -> Any:
    return _changed(value, lambda text: base64.b64decode(text).hex())


def _with_base64_ids(value: Any) -> Any:
    return _changed(value, lambda text: base64.b64encode(bytes.fromhex(text)).decode())


def _changed(value: Any, change: Any) -> Any:
    match value:
        case dict():
            return {name: change(one) if name in _IDS else _changed(one, change) for name, one in value.items()}
        case list():
            return [_changed(one, change) for one in value]
    return value
