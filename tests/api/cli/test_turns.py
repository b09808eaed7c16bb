"""threadhouse turns, turn and workers, as an operator runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from shared.errors import Unavailable
from shared.store import Store
from shared.store.turns import Turn
from shared.store.workers import Worker
from tests.builders import make_config, make_thread, make_turn

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)


def run(home: Path, *words: str) -> Result:
    environ = {"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": None, "THREADHOUSE_REDIS_URL": None}
    return CliRunner(env=environ).invoke(commands, words)


def rows(home: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(home, *words, "--json").output.splitlines()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    assert run(tmp_path, "users", "add", "ada").exit_code == 0
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


@pytest.fixture
def turn(tmp_path: Path, store: Store) -> Turn:
    return make_turn(store, make_thread(store, make_config(tmp_path), store.users.get("ada").id))


def test_turns_lists_what_waits_and_why(tmp_path: Path, store: Store, turn: Turn) -> None:
    listed = rows(tmp_path, "turns")
    assert [(row["id"], row["user"], row["state"], row["cause"]) for row in listed] == [
        (turn.id, "ada", "queued", "noWorker")
    ]
    assert "threadhouse worker" in run(tmp_path, "turns").output
    assert rows(tmp_path, "turns", "--state", "running") == []
    assert rows(tmp_path, "turns", "--older", "5m") == []
    assert rows(tmp_path, "turns", "--user", "ada") == listed
    assert run(tmp_path, "turns", "--user", "bob").exit_code == 1


def test_turn_shows_its_state_and_timeline_and_says_when_redis_is_away(tmp_path: Path, turn: Turn) -> None:
    shown = run(tmp_path, "turn", turn.id).output
    assert "no worker takes turns" in shown
    assert "queued" in shown
    assert "Redis does not answer" in shown
    assert json.loads(run(tmp_path, "turn", turn.id, "--json").output)["timeline"][0]["what"] == "queued"
    missing = run(tmp_path, "turn", "nothing")
    assert missing.exit_code == 1
    assert "no turn nothing: see `threadhouse turns`" in missing.output


def test_turn_stop_and_requeue_move_it_and_are_audited(tmp_path: Path, store: Store, turn: Turn) -> None:
    refused = run(tmp_path, "turn", turn.id, "requeue")
    assert refused.exit_code == 1
    assert "no worker runs it" in refused.output
    assert len(store.claims.claim(["host:1:abc:x"], lease_ms=30_000, turns_at_once=0)) == 1
    assert "queued again" in run(tmp_path, "turn", turn.id, "requeue").output

    assert run(tmp_path, "turn", turn.id, "stop").output == "stopped\n"

    assert store.turns.get(turn.id, turn.owner).status == "interrupted"
    assert run(tmp_path, "turn", turn.id, "stop").exit_code == 1
    actions = [row.action for row in store.audit.all_users_page()]
    assert actions[-2:] == ["turn requeue", "turn stop"]


def test_workers_lists_the_processes_and_how_many_turns_each_runs(tmp_path: Path, store: Store, turn: Turn) -> None:
    assert rows(tmp_path, "workers") == []
    store.workers.report(WORKER)
    assert len(store.claims.claim([f"{WORKER.name}:x"], lease_ms=30_000, turns_at_once=0)) == 1

    (row,) = rows(tmp_path, "workers")

    assert (row["name"], row["state"], row["turns"], row["slots"]) == (WORKER.name, "ready", 1, 2)
    assert WORKER.name in run(tmp_path, "workers").output


@pytest.mark.parametrize("words", [("turns",), ("turn", "x"), ("workers",), ("usage",), ("users", "list")])
def test_a_database_that_is_away_is_said_in_one_line(words: tuple[str, ...]) -> None:
    environ = {"THREADHOUSE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    failed = CliRunner(env=environ).invoke(commands, words)

    assert isinstance(failed.exception, Unavailable)
    assert str(failed.exception).startswith("the database does not answer: ")
    assert "\n" not in str(failed.exception)
