"""What the scheduler measures of a deployment, as Prometheus gets it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from api.cli import deployment_metrics
from shared import telemetry
from shared.config import load
from shared.queue import QUEUES
from shared.store import Store
from shared.store.migrations import migrate
from shared.store.workers import Worker
from shared.telemetry.metrics import METRICS, WAITS
from tests.builders import claim_turn, make_config, make_thread, make_turn
from tests.support.metric_pages import choose_first_port, read, value

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)
OF_THE_DEPLOYMENT = {
    metric.prometheus_name
    for name, metric in METRICS.items()
    if name.startswith(("threadhouse.turns", "threadhouse.workers", "threadhouse.outbox"))
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    migrate(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


@pytest.fixture
def lease() -> threading.Event:
    lease = threading.Event()
    lease.set()
    return lease


@pytest.fixture
def port(tmp_path: Path, store: Store, lease: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve the metrics as the scheduler does, with one turn at once per user. Return the port."""
    monkeypatch.setattr(deployment_metrics, "READ_SECONDS", 60.0)  # a busy machine must not fail a test
    (tmp_path / "config.toml").write_text(f"[otel]\nmetrics_port = {choose_first_port()}\n")
    telemetry.start(load(tmp_path, {}), "beat")
    port = telemetry.metrics_port()
    assert port is not None
    deployment_metrics.observe(store, 1, lease.is_set)
    yield port
    telemetry.stop()


def test_an_empty_deployment_reports_zeros_so_that_a_missing_metric_is_a_missing_scheduler(port: int) -> None:
    page = read(port)

    samples = [sample for name in OF_THE_DEPLOYMENT for sample in page[name].samples]
    assert {sample.value for sample in samples} == {0}
    assert {sample.labels["cause"] for sample in page["threadhouse_turns_waiting"].samples} == set(WAITS)
    assert {sample.labels["queue"] for sample in page["threadhouse_workers_serving"].samples} == set(QUEUES)


def test_without_the_lease_a_scheduler_reports_nothing_of_the_deployment(port: int, lease: threading.Event) -> None:
    lease.clear()

    assert OF_THE_DEPLOYMENT.isdisjoint(read(port))


def test_workers_are_counted_by_state_and_only_those_that_take_tasks_serve_queues(store: Store, port: int) -> None:
    store.workers.report(WORKER)
    store.workers.report(replace(WORKER, name="host:2:abc", slots=4, problem="no bubblewrap"))
    store.workers.report(replace(WORKER, name="host:3:abc", slots=8, draining=True))

    page = read(port)

    states = {sample.labels["state"]: sample.value for sample in page["threadhouse_workers"].samples}
    assert states == {"ready": 1, "broken": 1, "draining": 1, "lost": 0}
    assert value([page], "threadhouse_workers_serving", queue="turns") == 2
    assert value([page], "threadhouse_workers_serving", queue="feedback") == 0
    assert value([page], "threadhouse_workers_slots") == 2 + 4


def test_a_turn_that_waits_for_its_own_user_is_told_from_one_that_waits_for_a_worker(
    tmp_path: Path, store: Store, port: int
) -> None:
    store.workers.report(WORKER)
    config = make_config(tmp_path)
    make_turn(store, make_thread(store, config, "ada"))
    claim_turn(store)
    make_turn(store, make_thread(store, config, "ada"))
    make_turn(store, make_thread(store, config, "bob"))

    page = read(port)

    assert value([page], "threadhouse_turns", state="running") == 1
    assert value([page], "threadhouse_turns", state="queued") == 2
    assert value([page], "threadhouse_turns_waiting", cause="limit") == 1
    assert value([page], "threadhouse_turns_waiting", cause="claim") == 1
    assert value([page], "threadhouse_turns_waiting", cause="noWorker") == 0


def test_a_database_that_hangs_is_asked_once_and_leaves_the_other_metrics_on_the_page(
    store: Store, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deployment_metrics, "READ_SECONDS", 0.05)
    monkeypatch.setattr(deployment_metrics, "FAILED_SECONDS", 600.0)
    answer = threading.Event()
    asked = []

    def hang() -> dict[str, tuple[int, int]]:
        asked.append("undelivered")
        answer.wait()
        return {}

    monkeypatch.setattr(store.outbox, "undelivered", hang)
    monkeypatch.setattr(store.recovery, "all_users_count_phases", hang)
    with caplog.at_level(logging.WARNING):
        pages = [read(port), read(port)]
    answer.set()

    assert len(asked) == 1
    for page in pages:
        assert OF_THE_DEPLOYMENT.isdisjoint(page)
        assert value([page], "threadhouse_lease_lost_total") == 0
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage().startswith("deployment not measured: TimeoutError: ")
    assert line.exc_info is None


def test_a_failure_of_one_read_is_one_of_all_until_it_is_over(
    store: Store, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, tuple[int, int]]:
        raise OSError("the database is away")

    monkeypatch.setattr(deployment_metrics, "FAILED_SECONDS", 0.0)
    with monkeypatch.context() as failing:
        failing.setattr(store.outbox, "undelivered", fail)
        assert OF_THE_DEPLOYMENT.isdisjoint(read(port))

    assert read(port).keys() >= OF_THE_DEPLOYMENT
