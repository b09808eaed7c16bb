"""The page with the metrics of a process: what is on it, and where it is served."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from shared import telemetry
from shared.config import Config, load
from shared.store.turns import Turn
from shared.telemetry import exposition
from shared.telemetry.metrics import BUCKETS_MS, MAX_SERIES, MAX_VALUE_CHARACTERS, METRICS, OTHER
from tests.support.metric_pages import FIRST_PORTS, choose_first_port, read, value
from tests.support.wait import until

TURN = Turn("turn", "thread", "ann", "running", "inProgress", {}, 0)
SETTINGS = {"model": "m", "modelProvider": "openai", "approvalPolicy": "never", "sandboxPolicy": {"type": "readOnly"}}


def configured(home: Path, **settings: object) -> Config:
    lines = [f"{key} = {setting!r}".replace("'", '"') for key, setting in settings.items()]
    (home / "config.toml").write_text("\n".join(["[otel]", *lines, ""]))
    return load(home, {})


def take_port() -> socket.socket:
    """Listen on a port that may be the first for pages."""
    for port in FIRST_PORTS:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
    raise AssertionError("every port is taken")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start telemetry with a page, and return its port."""
    telemetry.start(configured(tmp_path, metrics_port=choose_first_port()), "api")
    port = telemetry.metrics_port()
    assert port is not None
    yield port
    telemetry.stop()


def test_a_page_shows_what_was_counted_and_measured(port: int) -> None:
    telemetry.lease_lost(TURN, lambda: None)
    telemetry.request_handled("turn/start", "ok", 7)
    telemetry.request_handled("turn/start", "failed", 40)
    telemetry.observe("threadhouse.connections", lambda: [(3, {})])

    page = read(port)

    assert value([page], "threadhouse_lease_lost_total") == 1
    assert value([page], "threadhouse_turn_moves_total", to="lost") == 1
    assert value([page], "threadhouse_requests_total", method="turn/start", outcome="failed") == 1
    assert value([page], "threadhouse_requests_duration_ms_bucket", le="10") == 1
    assert value([page], "threadhouse_requests_duration_ms_sum") == 47
    assert value([page], "threadhouse_connections") == 3
    buckets = [one.labels["le"] for one in page["threadhouse_requests_duration_ms"].samples if "le" in one.labels]
    assert buckets == [*(str(bound) for bound in BUCKETS_MS), "+Inf"]
    assert page["threadhouse_requests"].documentation == METRICS["threadhouse.requests"].description
    assert page["target_info"].samples[0].labels["service_name"] == "threadhouse-api"


def test_counters_with_known_attributes_begin_at_zero_so_that_their_first_event_is_an_increase(port: int) -> None:
    page = read(port)

    for limit in METRICS["threadhouse.limit.refused"].attributes["limit"]:
        assert value([page], "threadhouse_limit_refused_total", limit=limit) == 0
    assert value([page], "threadhouse_lease_lost_total") == 0
    assert value([page], "threadhouse_requests_total") is None  # which methods there will be is not known


def test_words_that_only_clients_know_share_a_series(port: int) -> None:
    for number in range(10):
        telemetry.tool_decided(f"tool-{number}", "call", "approved", "user")
        settings = {**SETTINGS, "model": f"made-up-{number}"}
        telemetry.conversation_started("thread", "ann", None, settings)
    telemetry.tool_decided("exec_command", "call", "approved", "user")
    telemetry.conversation_started("thread", "ann", None, {**SETTINGS, "model": "gpt-5.5"})

    page = read(port)

    found = [(one.labels["tool"], one.value) for one in page["codex_approval_requested"].samples]
    assert sorted(found) == [("exec_command", 1), (OTHER, 10)]
    models = [(one.labels["model"], one.value) for one in page["codex_thread_started"].samples]
    assert sorted(models) == [("gpt-5.5", 1), (OTHER, 10)]


def test_a_metric_has_a_largest_number_of_series(port: int) -> None:
    for number in range(MAX_SERIES + 10):
        telemetry.request_handled(f"method-{number}", "ok", 1)
    telemetry.request_handled("method-0", "ok", 1)
    telemetry.request_handled("x" * (MAX_VALUE_CHARACTERS + 1), "ok", 1)

    page = read(port)

    assert len(page["threadhouse_requests"].samples) == MAX_SERIES + 1
    assert value([page], "threadhouse_requests_total", method=OTHER, outcome=OTHER) == 11
    assert value([page], "threadhouse_requests_total", method="method-0") == 2


def test_a_measurement_that_fails_leaves_the_others_on_the_page(port: int, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> list[tuple[float, dict[str, str]]]:
        raise OSError("the database is away")

    telemetry.observe("threadhouse.turns", fail)
    telemetry.observe("threadhouse.connections", lambda: [(1, {})])

    page = read(port)

    assert "threadhouse_turns" not in page
    assert value([page], "threadhouse_connections") == 1
    assert "the database is away" in caplog.text


def test_a_process_takes_the_next_port_when_one_is_taken(tmp_path: Path) -> None:
    with take_port() as taken:
        first = taken.getsockname()[1]
        telemetry.start(configured(tmp_path, metrics_port=first), "worker")
        port = telemetry.metrics_port()
        telemetry.stop()

    assert port is not None
    assert port > first


def test_a_page_that_cannot_be_served_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        telemetry.start(configured(tmp_path, metrics_port=choose_first_port(), metrics_host="203.0.113.1"), "api")
    telemetry.request_handled("turn/start", "ok", 1)
    port = telemetry.metrics_port()
    telemetry.stop()

    assert port is None
    assert "metrics are not served on 203.0.113.1" in caplog.text


def test_no_page_is_served_after_the_end_or_by_default(tmp_path: Path, port: int) -> None:
    telemetry.stop()
    with pytest.raises(URLError):
        read(port)

    telemetry.start(configured(tmp_path), "api")
    assert telemetry.metrics_port() is None


def test_without_traces_and_log_events_there_are_no_spans(port: int) -> None:
    with telemetry.span("model"):
        assert telemetry.trace_headers() == {}


def is_served(port: int) -> bool:
    try:
        return "target_info" in read(port)
    except OSError:
        return False


def test_connections_beyond_a_number_are_closed_at_once_until_others_end(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition._Handler, "timeout", 600)
    with ExitStack() as idle:
        for _ in range(exposition.CONNECTIONS):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        with socket.create_connection(("127.0.0.1", port)) as further:
            assert further.recv(1) == b""
    until(lambda: is_served(port))


def test_an_idle_connection_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition._Handler, "timeout", 0.05)

    with socket.create_connection(("127.0.0.1", port)) as idle:
        assert idle.recv(1) == b""


def test_a_reader_does_not_wait_for_ever_for_another_one(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MEASURE_SECONDS", 0.05)
    measuring, go_on = threading.Event(), threading.Event()

    def measure() -> list[tuple[float, dict[str, str]]]:
        measuring.set()
        go_on.wait()
        return [(1, {})]

    telemetry.observe("threadhouse.connections", measure)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(read, port)
        try:
            measuring.wait()
            with pytest.raises(HTTPError, match="503"):
                read(port)
        finally:
            go_on.set()
        assert value([first.result()], "threadhouse_connections") == 1


def has_ipv6_loopback() -> bool:
    """Return whether this host has the address ::1; Python may know IPv6 where the kernel has it switched off."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this host has no IPv6")
def test_a_page_is_served_on_an_ipv6_address(tmp_path: Path) -> None:
    telemetry.start(configured(tmp_path, metrics_port=choose_first_port(), metrics_host="::1"), "api")
    port = telemetry.metrics_port()
    try:
        assert port is not None
        with socket.create_connection(("::1", port)) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b" 200 OK" in client.makefile("rb").readline()
    finally:
        telemetry.stop()
