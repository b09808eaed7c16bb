"""threadhouse queue, as an operator runs it while Redis is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from api.cli import commands
from shared.clock import now_ms
from shared.store import Store
from shared.store.tables import outbox
from shared.store.workers import Worker
from tests.builders import make_config, make_thread, make_turn

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns", "background"], 2)
MESSAGE = {"id": "m", "target": "https://h/in", "event": "turn.completed", "data": {}, "state": "pending"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    assert run(tmp_path, "users", "add", "ada").exit_code == 0
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


def run(home: Path, *words: str) -> Result:
    environ = {"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": None, "THREADHOUSE_REDIS_URL": None}
    return CliRunner(env=environ).invoke(commands, words)


def rows(home: Path) -> dict[str, dict[str, Any]]:
    """Return kind of work → its row; of turns the last cause."""
    return {row["work"]: row for row in map(json.loads, run(home, "queue", "--json").output.splitlines())}


def test_each_queue_says_what_waits_in_it_and_why(tmp_path: Path, store: Store) -> None:
    quiet = rows(tmp_path)
    assert {row["queue"] for row in quiet.values()} == {"turns", "calls", "feedback", "background"}
    assert [row["why"] for row in quiet.values()] == [None] * len(quiet)
    assert quiet["turns"]["tasks"] is None, "Redis is away"

    make_turn(store, make_thread(store, make_config(tmp_path), store.users.get("ada").id))
    due_ms = now_ms() - 600_000
    times = {"created_at_ms": due_ms, "due_at_ms": due_ms, "changed_at_ms": due_ms}
    with store.database.write() as connection:
        connection.execute(insert(outbox).values(**MESSAGE, **times))
    waiting = rows(tmp_path)
    assert (waiting["turns"]["waiting"], waiting["turns"]["cause"]) == (1, "noWorker")
    assert "start one with `threadhouse worker`" in waiting["turns"]["why"]
    assert (waiting["messages"]["waiting"], waiting["messages"]["since_ms"]) == (1, due_ms)
    assert "`threadhouse worker --queues background`" in waiting["messages"]["why"]

    store.workers.report(WORKER)
    waiting = rows(tmp_path)
    assert (waiting["turns"]["cause"], waiting["turns"]["workers"]) == ("claim", 1)
    assert "is due for 10 min" in waiting["messages"]["why"]
    assert "messages" in run(tmp_path, "queue").output
