"""Telemetry: the queue for the collector is bounded, dropped records are counted and logged, records are OTLP; spans
are made of slow transactions only.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from shared.config.otel import Exporter, Otel
from shared.store.connection import Database
from shared.telemetry import exporters, log_records, sdk
from tests.support.otlp_sink import OtlpSink

NO_COLLECTOR = Exporter("otlp-http", "http://127.0.0.1:9/v1/logs")


def test_records_beyond_the_queue_are_dropped_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, released, sent, sizes = threading.Event(), threading.Event(), [], []

    def send(self: object, request: bytes) -> LogRecordExportResult:
        [resource_logs] = ExportLogsServiceRequest.FromString(request).resource_logs
        records = resource_logs.scope_logs[0].log_records
        sizes.append(len(records))
        blocked.set()
        assert released.wait(60)
        sent.extend(record.event_name for record in records)
        return LogRecordExportResult.SUCCESS

    monkeypatch.setattr(exporters._Logs, "_send", send)
    logs = exporters.LogProcessor(NO_COLLECTOR, "delta", Resource({}), ("test", "1"))
    for _ in range(exporters.BATCH):
        logs.emit("delta", {})
    assert blocked.wait(60)
    first = sizes[0]  # fewer than BATCH where a second passes while they are emitted

    for _ in range(5000):
        logs.emit("delta", {})
    for _ in range(exporters.MAX_QUEUE):
        logs.emit("turn", {})

    half = exporters.MAX_QUEUE // 2
    assert logs.queue.dropped == (exporters.BATCH + 5000 - first - half) + (exporters.MAX_QUEUE - half)
    assert "1 log events were dropped" in caplog.text
    released.set()
    logs.shutdown()
    assert sent.count("delta") == first + half
    assert sent.count("turn") == half


def test_a_record_has_its_attributes_and_long_texts_are_not_cached() -> None:
    long = "x" * 8192
    cached = log_records._attribute.cache_info().currsize
    record = log_records.encode("codex.tool_result", {"output": long, "cut": True, "count": 1, "unknown": None})
    envelope = log_records.Envelope(Resource({"service.name": "s"}), "scope", "1")

    [logs] = ExportLogsServiceRequest.FromString(envelope.around([record, record])).resource_logs

    assert logs.resource.attributes[0].value.string_value == "s"
    [scope] = logs.scope_logs
    assert (scope.scope.name, len(scope.log_records)) == ("scope", 2)
    attributes = {one.key: one.value for one in scope.log_records[1].attributes}
    assert attributes.keys() == {"event.name", "event.timestamp", "output", "cut", "count"}
    assert attributes["event.name"].string_value == scope.log_records[1].event_name == "codex.tool_result"
    observed_at = datetime.fromtimestamp(scope.log_records[1].observed_time_unix_nano / 1e9, UTC)
    seen = datetime.fromisoformat(attributes["event.timestamp"].string_value)
    assert abs(seen - observed_at) < timedelta(milliseconds=2)
    assert attributes["output"].string_value == long
    assert attributes["cut"].bool_value
    assert attributes["count"].string_value == "1"
    assert log_records._attribute.cache_info().currsize <= cached + 3


def test_only_slow_transactions_of_a_request_become_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path}/spans.sqlite3")
    with OtlpSink() as sink:
        process = sdk.Sdk(Otel(trace_exporter=Exporter("otlp-http", f"{sink.http_url}/v1/traces")), "api", "1", "delta")
        process.watch_engine(database.engine)
        for request, slow_ns in (("quick", 3600 * 10**9), ("slow", 0)):
            monkeypatch.setattr(sdk, "SLOW_TRANSACTION_NS", slow_ns)
            with process.span(request, {}), database.write() as connection:
                connection.execute(text("SELECT 1"))
        with database.read() as connection:  # of no request
            connection.execute(text("SELECT 2"))
        process.close()
    database.close()

    spans = sink.exported["traces"]
    assert [span.name for span in spans] == ["quick", "transaction", "slow"]
    assert spans[1].content["parentSpanId"] == spans[2].content["spanId"]
    assert spans[1].attributes["db.system.name"] == "sqlite"
    assert int(spans[1].content["startTimeUnixNano"]) < int(spans[1].content["endTimeUnixNano"])
