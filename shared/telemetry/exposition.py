"""The metrics of one process as a page for Prometheus, on a port of its own."""

from __future__ import annotations

import errno
import io
import logging
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.exposition import ThreadingWSGIServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

PORTS = 100  # that are tried, one after the other: the processes of a host have the same settings
CONNECTIONS = 16  # at once; more are closed
IDLE_SECONDS = 5.0  # for which a client may send or take nothing
MEASURE_SECONDS = 10.0  # for which a reader waits until those before it have their page


class _OneAtATime(CollectorRegistry):
    """Measures for one reader after the other: the exporter mixes what it measures for two at once."""

    def __init__(self) -> None:
        super().__init__()
        self._measuring = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        if not self._measuring.acquire(timeout=MEASURE_SECONDS):
            raise TimeoutError("others are measuring")
        try:
            return list(super().collect())
        finally:
            self._measuring.release()


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def get_stderr(self) -> io.StringIO:
        return io.StringIO()  # for the traceback of a client that is gone; `_Server` logs what cannot be measured

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class _Server(ThreadingWSGIServer):
    """Serves the page of a registry from its own thread. Errors: OSError (no such address, port taken)."""

    request_queue_size = CONNECTIONS

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        [(self.address_family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        super().__init__((str(address[0]), port), _Handler)
        self._page = make_wsgi_app(registry)
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self.set_app(self._answer)
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            page: Iterable[bytes] = self._page(environ, start_response)
            return page
        except Exception as error:  # noqa: BLE001 - OpenTelemetry has one of its own for what takes too long
            logger.warning("metrics not measured: %s: %s", type(error).__name__, error)
            start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"The metrics cannot be measured now: see the log.\n"]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("request for metrics not answered", exc_info=True)


class Exposition:
    """The page. port: the one it has, as long as it is served; None: no port was free."""

    def __init__(self) -> None:
        self._registry = _OneAtATime()
        self._server: _Server | None = None
        self.reader = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)

    def serve(self, host: str, first_port: int) -> None:
        """Serve the page on the first free port. The reader must belong to a MeterProvider by now."""
        for port in range(first_port, min(first_port + PORTS, 65_536)):
            try:
                self._server = _Server(host, port, self._registry)
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
