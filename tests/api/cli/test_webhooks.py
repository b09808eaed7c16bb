"""threadhouse webhooks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from shared.config import load
from shared.store import Store

URL = "https://hooks.example/in"
HOOK = f'[[webhooks]]\nurl = "{URL}"\nsecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"\n'


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with one delivery that was given up, and one that waits."""
    monkeypatch.setenv("THREADHOUSE_HOME", str(tmp_path))
    monkeypatch.delenv("THREADHOUSE_DATABASE_URL", raising=False)
    shutil.copy(empty_database, tmp_path / "threadhouse.sqlite3")
    (tmp_path / "config.toml").write_text(HOOK)
    config = load(tmp_path, {})
    store = Store(config.database_url, config.listeners)
    for event in ("turn.failed", "feedback.processed"):
        with store.database.write() as connection:
            store.outbox.add(connection, event, {"turnId": "t"})
    first = store.outbox.claim(lease_ms=1000, at_once=1)
    assert first is not None
    store.outbox.settle(first, "HTTP 500")
    yield store
    store.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["webhooks", *arguments])


def test_list_shows_dead_deliveries_with_their_error(store: Store) -> None:
    (line,) = run("list").stdout.splitlines()
    assert "dead  turn.failed  https://hooks.example/in  1 attempt: HTTP 500" in line
    assert len(run("list", "--state", "all").stdout.splitlines()) == 2
    assert run("list", "--state", "delivered").stdout == ""
    (found,) = [json.loads(one) for one in run("list", "--state", "pending", "--json").stdout.splitlines()]
    assert (found["event"], found["data"], found["attempts"]) == ("feedback.processed", {"turnId": "t"}, 0)


def test_replay_keeps_the_id_and_makes_the_delivery_due(store: Store) -> None:
    (dead,) = store.outbox.list_webhooks(["dead"], 10)

    result = run("replay", dead.id)

    assert result.stdout == f"{dead.id} is queued again\n"
    due = [store.outbox.claim(lease_ms=1000, at_once=9) for _ in range(2)]
    assert (dead.id, 1) in [(one.id, one.attempts) for one in due if one]


def test_replay_fails_for_unknown_ids_and_removed_webhooks(store: Store, tmp_path: Path) -> None:
    (dead,) = store.outbox.list_webhooks(["dead"], 10)

    unknown = run("replay", "nope")
    (tmp_path / "config.toml").write_text(HOOK.replace("hooks.", "other."))
    gone = run("replay", dead.id)

    assert (unknown.exit_code, gone.exit_code) == (1, 1)
    assert "no delivery to a webhook of config.toml has this id" in unknown.stderr
    assert [one.id for one in store.outbox.list_webhooks(["dead"], 10)] == [dead.id]
