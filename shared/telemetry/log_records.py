"""Log records as OTLP has them on the wire (opentelemetry/proto/logs/v1/logs.proto), encoded when they are emitted.

There is one record per delta. The SDK's own records, and a thread that encodes batches of them, take several times the
CPU of everything else that a delta needs. Nearly all attributes repeat, so their encoded bytes are cached.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common._internal import _encode_instrumentation_scope, _encode_resource
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

MAX_CACHED_CHARACTERS = 64  # of a value whose encoded bytes are cached
_OBSERVED_AT = struct.Struct("<BQ")  # observed_time_unix_nano, field 11, fixed64
_SPAN = struct.Struct("<BI BB16s BB8s")  # flags, field 8, fixed32; trace_id, field 9, bytes; span_id, field 10, bytes


def encode(name: str, attributes: Mapping[str, Any]) -> bytes:
    """Return a LogRecord of now, in the current span, with the attributes `event.name` and `event.timestamp`, too.

    Numbers become strings, as in the original; a value that is None is left out.
    """
    return b"".join((head(name), moment(), members(attributes)))


def head(name: str) -> bytes:
    """Return the beginning of a record: what does not change within a span. `moment` and `members` follow."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return _name(name)
    ids = (0x4A, 16, span.trace_id.to_bytes(16, "big"), 0x52, 8, span.span_id.to_bytes(8, "big"))
    return _name(name) + _SPAN.pack(0x45, span.trace_flags, *ids)


def moment() -> bytes:
    """Return the members of a record that say when it is: now."""
    now_ns = time.time_ns()
    now_s, ms = divmod(now_ns // 1_000_000, 1000)
    return b"%b%b%b.%03dZ" % (_OBSERVED_AT.pack(0x59, now_ns), _TIMESTAMP, _second(now_s), ms)


def members(attributes: Mapping[str, Any]) -> bytes:
    """Return the members of a record that have these attributes."""
    parts = []
    for key, value in attributes.items():
        if value is not None:
            is_cached = type(value) is not str or len(value) <= MAX_CACHED_CHARACTERS
            parts.append(_attribute(key, value) if is_cached else _attribute.__wrapped__(key, value))
    return b"".join(parts)


@lru_cache(64)
def _name(name: str) -> bytes:
    severity = SeverityNumber.SEVERITY_NUMBER_INFO
    record = LogRecord(event_name=name, severity_number=severity, severity_text="INFO")
    return _bytes(record) + _attribute("event.name", name)


@lru_cache(1)
def _second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(4096, typed=True)
def _attribute(key: str, value: Any) -> bytes:
    encoded = AnyValue(bool_value=value) if isinstance(value, bool) else AnyValue(string_value=str(value))
    return _bytes(LogRecord(attributes=[KeyValue(key=key, value=encoded)]))


def _bytes(message: Message) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


# The attribute without its value, which always has the same length.
_TIMESTAMP = _attribute("event.timestamp", "2026-01-01T00:00:00.000Z")[: -len("2026-01-01T00:00:00.000Z")]


class Envelope:
    """Makes the ExportLogsServiceRequests of one process."""

    def __init__(self, resource: Resource, name: str, version: str) -> None:
        self._resource = _bytes(ResourceLogs(resource=_encode_resource(resource)))
        scope = _encode_instrumentation_scope(InstrumentationScope(name, version))
        self._scope = _bytes(ScopeLogs(scope=scope))

    def around(self, records: Sequence[bytes]) -> bytes:
        """Return a request with these records."""
        scope_logs = b"".join((self._scope, *(_field_2(record) for record in records)))
        resource_logs = self._resource + _field_2(scope_logs)
        return b"\x0a" + _varint(len(resource_logs)) + resource_logs  # resource_logs, field 1


def _field_2(message: bytes) -> bytes:
    """Return a message as field 2: log_records of ScopeLogs, scope_logs of ResourceLogs."""
    return b"\x12" + _varint(len(message)) + message


def _varint(value: int) -> bytes:
    """Return a number as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
