"""The metrics of one process as a page for Prometheus, on a port of its own."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterable
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

PORTS = 100  # that are tried, one after the other: the processes of a host have the same settings


class _OneAtATime(CollectorRegistry):
    """Measures for one reader after the other: the exporter mixes what it measures for two at once."""

    def __init__(self) -> None:
        super().__init__()
        self._measuring = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._measuring:
            return list(super().collect())


class Exposition:
    """The page. port: the one it has, as long as it is served; None: no port was free."""

    def __init__(self) -> None:
        self._registry = _OneAtATime()
        self._server: WSGIServer | None = None
        self.reader = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)

    def serve(self, host: str, first_port: int) -> None:
        """Serve the page on the first free port. The reader must belong to a MeterProvider by now."""
        for port in range(first_port, min(first_port + PORTS, 65_536)):
            try:
                self._server, _ = start_http_server(port, host, self._registry)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                logger.warning("[otel] metrics are not served on %s:%d: %s", host, port, error)
                return
            logger.info("metrics served at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
            return
        logger.warning("[otel] metrics are not served: %d ports from %d on are taken", PORTS, first_port)

    @property
    def port(self) -> int | None:
        return self._server.server_port if self._server else None

    def close(self) -> None:
        """End serving. Harmless when repeated."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
