"""`[otel]`: which telemetry is exported, and to which collector. By default nothing is exported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from shared.config.reader import Values, read_values
from shared.config.setting import Setting
from shared.config.table import ConfigTable

NONE = "none"
HTTP, GRPC = "otlp-http", "otlp-grpc"
PROTOCOLS = ("binary", "json")
_ENDPOINT = re.compile(r"https?://[^/]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True)
class Tls:
    """Certificates of the connection to a collector."""

    ca_certificate: Annotated[
        Path | None,
        Setting("PEM file with the authorities to trust.", key="ca-certificate", default="the system's", exists=True),
    ] = None
    client_certificate: Annotated[
        Path | None, Setting("PEM file with the client's certificate.", key="client-certificate", exists=True)
    ] = None
    client_private_key: Annotated[
        Path | None,
        Setting("PEM file with the private key of client-certificate.", key="client-private-key", exists=True),
    ] = None

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> Tls:
        """Errors: ConfigError (a certificate without its key, or a key without its certificate)."""
        if ("client_certificate" in values) != ("client_private_key" in values):
            expectation = "both client-certificate and client-private-key, or neither"
            raise table.error("client-certificate", expectation, None)
        return cls(**values)


@dataclass(frozen=True)
class Exporter:
    """One collector: `{ otlp-http = {…} }` or `{ otlp-grpc = {…} }`.

    kind: HTTP or GRPC
    """

    kind: str
    endpoint: Annotated[
        str,
        Setting(
            "URL of the collector; for otlp-http the whole one, such as http://collector:4318/v1/logs.",
            matches=_ENDPOINT.match,
            expected="an http:// or https:// URL",
        ),
    ]
    protocol: Annotated[str, Setting("Encoding of otlp-http.", choices=PROTOCOLS)] = "binary"
    headers: Annotated[
        Mapping[str, str],
        Setting("Headers of every request; ${NAME} in a value is that environment variable.", expands=True),
    ] = field(default_factory=dict, repr=False)
    tls: Annotated[Tls, Setting("Certificates of the connection.")] = field(default_factory=Tls)


def read_exporter(table: ConfigTable, key: str) -> Exporter | None:
    """Return the exporter under a key of [otel]; None for "none". Errors: ConfigError."""
    value = table.get(key)
    if value is None or value == NONE:
        return None
    if value in (HTTP, GRPC):
        expectation = f'"none", or a table with an endpoint: {{ {value} = {{ endpoint = "…" }} }}'
        raise table.error(key, expectation, value)
    if not isinstance(value, dict):
        raise table.error(key, f"one of {', '.join((NONE, HTTP, GRPC))}", value, show=True)
    choice = table.table(key)
    found = {kind: choice.table(kind) for kind in (HTTP, GRPC) if choice.has(kind)}
    if len(found) != 1:
        raise table.error(key, f'"none", {{ {HTTP} = {{…}} }} or {{ {GRPC} = {{…}} }}', found)
    [(kind, collector)] = found.items()
    values = read_values(Exporter, collector, without=() if kind == HTTP else ("protocol",))
    for name, text in values.get("headers", {}).items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            raise collector.error(f"headers.{name}", "a header that can be sent (printable ASCII, not empty)", text)
    return Exporter(kind=kind, **values)


_EXPORTER_DEFAULT = f'"{NONE}"'


@dataclass(frozen=True)
class Otel:
    """Telemetry for an operator's collector (docs/TELEMETRY.md)."""

    environment: Annotated[str, Setting("The attribute `env` of all telemetry.")] = "dev"
    service_name: Annotated[
        str, Setting("First part of the attribute `service.name`; -api, -worker or -beat follows.")
    ] = "threadhouse"
    exporter: Annotated[
        Exporter | None, Setting("Where log events go.", default=_EXPORTER_DEFAULT, read=read_exporter)
    ] = None
    trace_exporter: Annotated[
        Exporter | None, Setting("Where spans go.", default=_EXPORTER_DEFAULT, read=read_exporter)
    ] = None
    metrics_exporter: Annotated[
        Exporter | None, Setting("Where metrics go.", default=_EXPORTER_DEFAULT, read=read_exporter)
    ] = None
    metrics_interval_ms: Annotated[
        float, Setting("Time between two exports of metrics.", unit="ms", env="OTEL_METRIC_EXPORT_INTERVAL")
    ] = 30_000.0
    metrics_port: Annotated[
        int,
        Setting(
            "Where each process serves its metrics to Prometheus: the first free port from this one on. 0: nowhere.",
            maximum=65_535,
        ),
    ] = 0
    metrics_host: Annotated[str, Setting("Address of metrics_port; the page asks for no key.")] = "127.0.0.1"
    log_user_prompt: Annotated[bool, Setting("Whether log events contain what users type; otherwise [REDACTED].")] = (
        False
    )
    log_tool_output: Annotated[
        bool, Setting("Whether log events contain arguments and output of tools; otherwise [REDACTED].")
    ] = True

    @property
    def exports(self) -> bool:
        """Whether anything is exported."""
        return bool(self.exporter or self.trace_exporter or self.measures)

    @property
    def measures(self) -> bool:
        """Whether metrics are exported, to a collector or to Prometheus."""
        return bool(self.metrics_exporter or self.metrics_port)
