"""`[otel]` of config.toml: what is told of each run, and to which collector. By default nothing goes anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.config_table import ConfigTable
from shared.errors import ConfigError

NONE = "none"
HTTP, GRPC = "otlp-http", "otlp-grpc"
PROTOCOLS = ("binary", "json")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True)
class Exporter:
    """`{ otlp-http = {…} }` or `{ otlp-grpc = {…} }`: one collector, and how it is spoken to."""

    kind: str  # HTTP or GRPC
    endpoint: str  # http(s) URL; of HTTP the whole one, such as http://collector:4318/v1/logs; required
    protocol: str = "binary"  # of HTTP: binary or json
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # sent along; ${NAME} in a value: environment
    ca_certificate: Path | None = None  # tls.ca-certificate: PEM file; none: the system's authorities
    client_certificate: Path | None = None  # tls.client-certificate: PEM file, together with the next one
    client_private_key: Path | None = None  # tls.client-private-key: PEM file


@dataclass(frozen=True)
class Otel:
    """`[otel]`: telemetry for an operator's collector (docs/TELEMETRY.md)."""

    environment: str = "dev"  # the attribute `env` of everything that is told
    service_name: str = "threadhouse"  # of service.name, which is this and -api, -worker or -beat
    exporter: Exporter | None = None  # log events: "none" (default) or an Exporter
    trace_exporter: Exporter | None = None  # spans: the same
    metrics_exporter: Exporter | None = None  # metrics: the same
    log_user_prompt: bool = False  # false: [REDACTED] instead of what users type
    log_tool_output: bool = True  # false: [REDACTED] instead of arguments and output of tools

    @property
    def exports(self) -> bool:
        """Whether anything goes anywhere."""
        return bool(self.exporter or self.trace_exporter or self.metrics_exporter)


def read_otel(table: ConfigTable, home: Path, environ: Mapping[str, str]) -> Otel:
    """Errors: ConfigError."""
    return Otel(
        environment=table.text("environment") or Otel.environment,
        service_name=table.text("service_name") or Otel.service_name,
        exporter=_exporter(table, "exporter", home, environ),
        trace_exporter=_exporter(table, "trace_exporter", home, environ),
        metrics_exporter=_exporter(table, "metrics_exporter", home, environ),
        log_user_prompt=table.flag("log_user_prompt", Otel.log_user_prompt),
        log_tool_output=table.flag("log_tool_output", Otel.log_tool_output),
    )


def _exporter(otel: ConfigTable, key: str, home: Path, environ: Mapping[str, str]) -> Exporter | None:
    choice = otel.choice_or_table(key, (NONE, HTTP, GRPC))
    if not isinstance(choice, ConfigTable):
        if choice in (HTTP, GRPC):
            raise otel.error(key, f'"none", or a table with an endpoint: {{ {choice} = {{ endpoint = "…" }} }}', choice)
        return None
    found = choice.tables_of((HTTP, GRPC))
    if len(found) != 1:
        raise otel.error(key, f'"none", {{ {HTTP} = {{…}} }} or {{ {GRPC} = {{…}} }}', dict(found))
    [(kind, table)] = found.items()
    endpoint = table.text("endpoint")
    if endpoint is None or not re.match(r"https?://[^/]", endpoint):
        raise table.error("endpoint", "an http:// or https:// URL", endpoint)
    tls = table.table("tls")
    certificate, private_key = _file(tls, "client-certificate", home), _file(tls, "client-private-key", home)
    if (certificate is None) != (private_key is None):
        raise tls.error("client-certificate", "both client-certificate and client-private-key, or neither", None)
    return Exporter(
        kind=kind,
        endpoint=endpoint,
        protocol=(table.choice("protocol", PROTOCOLS) if kind == HTTP else None) or Exporter.protocol,
        headers=_headers(table, environ),
        ca_certificate=_file(tls, "ca-certificate", home),
        client_certificate=certificate,
        client_private_key=private_key,
    )


def _headers(table: ConfigTable, environ: Mapping[str, str]) -> dict[str, str]:
    """With the values of the variables that they name. An error never tells a value: it may be a secret."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ConfigError(
                f"{table.file}: {table.path_of('headers')}: ${{{match[1]}}}: the environment has no {match[1]}"
            )
        return environ[match[1]]

    headers = {name: _VARIABLE.sub(value_of, text) for name, text in table.mapping("headers").items()}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise table.error(f"headers.{name}", "a header that can be sent (printable ASCII, not empty)", value)
    return headers


def _file(table: ConfigTable, key: str, home: Path) -> Path | None:
    path = table.path(key, home)
    if path is not None and not path.is_file():
        raise table.error(key, "a file that exists", str(path), show=True)
    return path
