"""The sweep: which workers it wakes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shared import alerts
from shared.config import Limits
from shared.config.webhooks import Webhook
from shared.events import durable_events
from tests.builders import SilentQueue
from tests.workers.builders import Bench
from workers import sweep


def test_turns_over_their_users_cap_wake_no_worker_and_run_when_a_place_is_free(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(limits=Limits(turns_at_once=1))
    queue: Any = SilentQueue()
    bench.workers[0].queue = queue
    turns = [bench.begin(bench.thread(), f"[[pause {name}]]") for name in ("a", "b", "c")]
    sweep.wake_workers(bench.workers[0])
    assert queue.enqueued == [""], "one of the three may run"

    running = bench.start_run()
    bench.model.wait_reached("a")
    sweep.wake_workers(bench.workers[0])
    assert queue.enqueued == [""], "none of the other two may run"

    for name in ("a", "b", "c"):
        bench.model.release(name)
    running.join()
    assert [bench.turn(turn).status for turn in turns] == ["completed"] * 3
    assert queue.enqueued == [""], "the end of a turn is followed by the next without a wake-up"


def test_a_lost_worker_is_an_alert(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench()
    services = bench.workers[0]
    sweep.recover(services)
    assert services.store.alerts.all_users_list(0) == []
    turn = bench.begin(bench.thread(), "[[pause a]]")
    running = bench.start_run()
    bench.model.wait_reached("a")

    bench.lose(turn, services)

    assert [one.name for one in services.store.alerts.all_users_list(0)] == [alerts.LEASES_LOST]
    bench.model.release("a")
    running.join()


def test_a_turn_whose_events_cannot_be_made_holds_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    services = bench.workers[0]
    unpublished = [SimpleNamespace(id=name) for name in ("broken", "whole")]
    published = []

    def publish(_store: object, _log: object, turn: Any) -> None:
        if turn.id == "broken":
            raise AttributeError("a row of an earlier release")
        published.append(turn.id)

    monkeypatch.setattr(type(services.store.recovery), "all_users_unpublished", lambda _: unpublished)
    monkeypatch.setattr(durable_events, "publish_missing", publish)

    sweep.publish_missing(services)

    assert published == ["whole"]


def test_deliveries_are_enqueued_however_many_tasks_of_other_kinds_wait(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(webhooks=(Webhook("https://hooks.example/in", "secret", events=("turn.completed",)),))
    services = bench.workers[0]
    bench.run_turn(bench.thread(), "hello")
    queue: Any = SilentQueue()
    services.queue = queue
    services.redis.rpush("background", *["the task of another kind"] * 2 * sweep.MAX_WAKE_UPS)

    sweep.enqueue_deliveries(services)
    assert queue.enqueued == ["delivery"]

    sweep.enqueue_deliveries(services)
    assert queue.enqueued == ["delivery"], "it waits already"


def test_an_erasure_is_not_enqueued_again_while_its_task_waits(bench: Bench) -> None:
    services = bench.workers[0]
    queue: Any = SilentQueue()
    services.queue = queue
    for _ in range(2):
        thread = bench.thread()
        services.store.threads.delete(thread.id, thread.owner)

    sweep.enqueue_erasures(services)
    sweep.enqueue_erasures(services)

    assert queue.enqueued == ["erasure"]
