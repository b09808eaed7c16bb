"""What counts as a problem of a deployment, and that it has the names of the rules and a heading in the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from sqlalchemy import update

from shared import alerts
from shared.clock import now_ms
from shared.event_names import SCHEDULER_LEASE_KEY
from shared.ids import new_id
from shared.protocol.turn import TurnError
from shared.queue import QUEUES
from shared.store import Store
from shared.store.alert_tables import alerts as table
from shared.store.workers import Worker
from shared.store.writes import End, Published, Write
from tests.builders import Backend, claim_turn, make_thread, make_turn, unread_inputs

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy/prometheus/alerts.yml").read_text()
OF_RULES = dict(re.findall(r"alert: (\w+)[^#]*?severity: (\w+)", RULES))
OF_METRICS_ONLY = {"ThreadhouseRequestsFail", "ThreadhouseModelErrors"}  # the database does not know them
OURS = {alerts.NO_REDIS, "ThreadhouseRedisMemory", alerts.NOT_WATCHED}


class Redis(fakeredis.FakeRedis):
    """A Redis with a healthy memory. is_away: it does not answer"""

    is_away = False

    def info(self, *_: Any, **__: Any) -> dict[str, object]:
        return {"maxmemory_policy": "noeviction", "used_memory": 1, "maxmemory": 0}

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.is_away:
            raise redis.ConnectionError("out of reach")
        return super().execute_command(*args, **options)


@pytest.fixture
def client() -> Iterator[Redis]:
    """Return the Redis of a deployment whose scheduler lives."""
    client = Redis(server=fakeredis.FakeServer())
    client.set(SCHEDULER_LEASE_KEY, "ada")
    yield client
    client.close()


@pytest.fixture
def store(backend: Backend) -> Store:
    """Return the store of a deployment with a worker."""
    backend.store.workers.report(Worker("ada:1:x", "ada", 1, "0.2.0", QUEUES, 8))
    return backend.store


def look(store: Store, client: Redis) -> list[str]:
    """Look for problems as some process would, and let what is found be old enough. Returns what holds."""
    if not client.is_away:
        client.delete("alerts-watched")
    alerts.watch(store, client, turns_at_once=0)
    with store.database.write() as connection:
        older = update(table).where(table.c.until_ms.is_(None)).values(since_ms=table.c.since_ms - 600_000)
        connection.execute(older)
    return sorted(one.name.removeprefix("Threadhouse") for one in alerts.of_day(store) if one.until_ms is None)


def test_a_deployment_that_works_has_none(store: Store, client: Redis) -> None:
    assert look(store, client) == []


def test_processes_that_are_missing_are_found_and_end_when_they_are_back(store: Store, client: Redis) -> None:
    client.delete(SCHEDULER_LEASE_KEY)
    store.workers.remove("ada:1:x")
    assert look(store, client) == ["NoScheduler", "NoWorkers"]

    client.set(SCHEDULER_LEASE_KEY, "ada")
    store.workers.report(Worker("ada:2:x", "ada", 2, "0.2.0", QUEUES, 8, problem="no bubblewrap"))
    assert look(store, client) == ["WorkersBroken"]
    (broken,) = (one for one in alerts.of_day(store) if one.until_ms is None)
    assert "no bubblewrap" in broken.message
    assert sorted(one.name for one in alerts.of_day(store) if one.until_ms) == [
        "ThreadhouseNoScheduler",
        "ThreadhouseNoWorkers",
    ]


def test_a_redis_that_does_not_answer_is_found(store: Store, client: Redis) -> None:
    client.is_away = True
    assert look(store, client) == ["NoRedis"]


def test_one_process_looks_for_all(store: Store, client: Redis) -> None:
    look(store, client)
    client.delete(SCHEDULER_LEASE_KEY)
    alerts.watch(store, client, turns_at_once=0)
    assert not [one for one in store.alerts.all_users_list(0) if one.name]


def test_failed_turns_are_found_when_they_are_many_and_spent_budgets_always(
    backend: Backend, store: Store, client: Redis
) -> None:
    def end(info: Any) -> None:
        make_turn(store, make_thread(store, backend.config))
        claim = claim_turn(store)
        error: TurnError = {"message": "", "codexErrorInfo": info, "additionalDetails": None, "misalignment": None}
        read = [(pending.id, new_id()) for pending in unread_inputs(store, claim.turn_id)]
        store.commit([Write(claim, read=read, end=End("failed", now_ms(), error))], Published())

    for _ in range(4):
        end("other")
    assert look(store, client) == []
    end("usageLimitExceeded")
    assert look(store, client) == ["BudgetRejections", "TurnsFail"]


def test_a_problem_is_listed_once_it_has_held_for_its_time(store: Store, client: Redis) -> None:
    client.delete(SCHEDULER_LEASE_KEY)
    alerts.watch(store, client, turns_at_once=0)
    assert alerts.of_day(store) == []
    assert look(store, client) == ["NoScheduler"]


def test_the_names_are_those_of_the_rules_and_each_has_a_heading() -> None:
    assert alerts.KINDS.keys() == OF_RULES.keys() - OF_METRICS_ONLY | OURS
    assert {name: alerts.KINDS[name].severity for name in alerts.KINDS.keys() - OURS}.items() <= OF_RULES.items()

    headings = set(re.findall(r"^### (\w+)$", (ROOT / "docs/OPERATIONS.md").read_text(), re.MULTILINE))
    assert headings == set(alerts.KINDS)
