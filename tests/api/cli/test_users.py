"""threadhouse users, keys and audit, as an operator runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from api.cli.host import database_name
from shared.errors import ConfigError
from shared.store import Store
from tests.builders import make_config, make_thread, make_turn


def run(home: Path, *words: str) -> Result:
    return CliRunner(env={"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": None}).invoke(commands, words)


def rows(home: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(home, *words, "--json").output.splitlines()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store of a home whose database the first command creates."""
    assert run(tmp_path, "users", "add", "ada", "--role", "admin").exit_code == 0
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


def test_a_key_is_created_listed_without_its_secret_and_revoked(tmp_path: Path, store: Store) -> None:
    key = run(tmp_path, "keys", "create", "ada", "--label", "ci", "--expires", "90d").output.split()[-1]
    listed = run(tmp_path, "keys", "list").output
    row = rows(tmp_path, "keys", "list", "ada")[0]

    assert store.users.find_by_key(key) is not None
    assert "ci" in listed
    assert key not in listed
    assert row["expires_at_ms"] - row["created_at_ms"] == pytest.approx(90 * 86_400_000, abs=5_000)
    assert run(tmp_path, "keys", "revoke", row["id"]).exit_code == 0
    assert store.users.find_by_key(key) is None
    assert run(tmp_path, "keys", "create", "ada", "--expires", "soon").exit_code == 2


def test_disable_revokes_access_and_with_stop_interrupts_turns(tmp_path: Path, store: Store) -> None:
    key = run(tmp_path, "keys", "create", "ada").output.split()[-1]
    ada = store.users.get("ada").id
    turn = make_turn(store, make_thread(store, make_config(tmp_path), ada))

    assert run(tmp_path, "users", "disable", "ada", "--stop").output.splitlines()[0] == "interrupted 1 turns"

    assert store.users.find_by_key(key) is None
    assert store.turns.get(turn.id, ada).status == "interrupted"
    assert rows(tmp_path, "users", "list")[0]["disabled_at_ms"] is not None
    run(tmp_path, "users", "enable", "ada")
    assert store.users.find_by_key(key) is not None


def test_disable_with_stop_enqueues_webhook_deliveries(tmp_path: Path, store: Store) -> None:
    hook = '[[webhooks]]\nurl = "https://hooks.example/in"\nsecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"\n'
    (tmp_path / "config.toml").write_text(hook)
    ada = store.users.get("ada").id
    make_turn(store, make_thread(store, make_config(tmp_path), ada))

    run(tmp_path, "users", "disable", "ada", "--stop")

    assert [delivery.event for delivery in store.outbox.list_webhooks(["pending"], 10)] == ["turn.interrupted"]


def test_audit_lists_and_filters_the_actions_of_operators(tmp_path: Path, store: Store) -> None:
    run(tmp_path, "keys", "create", "ada")
    run(tmp_path, "users", "disable", "ada")

    assert [row["action"] for row in rows(tmp_path, "audit")] == ["users add", "keys create", "users disable"]
    assert {row["owner"] for row in rows(tmp_path, "audit", "--since", "1h")} == {"operator"}
    assert len(rows(tmp_path, "audit", "--action", "keys create", "--user", "operator")) == 1
    assert rows(tmp_path, "audit", "--user", "ada") == []
    assert run(tmp_path, "audit", "--user", "nobody").exit_code == 1


@pytest.mark.parametrize("given", [True, False])
def test_the_suggested_command_names_the_home_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    monkeypatch.setenv("THREADHOUSE_HOME", str(tmp_path))
    home = ["--home", str(tmp_path)] if given else []

    added = CliRunner().invoke(commands, ["users", "add", *home, "ann"])

    assert added.exit_code == 0, added.output
    assert f"threadhouse keys create{' --home ' + str(tmp_path) if given else ''} ann\n" in added.output


@pytest.mark.parametrize("name", ["", "a b", "-x", "ädä", "a" * 65, "a/b", "a\n"])
def test_a_name_outside_the_alphabet_is_refused(tmp_path: Path, store: Store, name: str) -> None:
    assert run(tmp_path, "users", "add", "--", name).exit_code == 2
    assert [account.user.name for account in store.users.accounts()] == ["ada"]


def test_without_a_home_no_second_home_is_made_and_the_database_is_named(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "THREADHOUSE_HOME": None, "THREADHOUSE_DATABASE_URL": None}
    refused = CliRunner(env=environ).invoke(commands, ["users", "add", "ada"])
    assert isinstance(refused.exception, ConfigError)
    assert "--home DIR" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []

    migrated = CliRunner(env=environ).invoke(commands, ["migrate"]).output
    assert migrated.startswith(f"created sqlite:///{tmp_path}/.threadhouse/threadhouse.sqlite3 with schema 0")
    assert "already" in CliRunner(env=environ).invoke(commands, ["migrate"]).output
    added = CliRunner(env=environ).invoke(commands, ["users", "add", "ada"]).output
    assert f"added ada to sqlite:///{tmp_path}/.threadhouse/threadhouse.sqlite3" in added


def test_the_password_of_a_database_is_not_printed(tmp_path: Path) -> None:
    config = make_config(tmp_path, database_url="postgresql+psycopg://ada:secret@db/threads?sslkey=x")
    assert database_name(config) == "postgresql+psycopg://ada:***@db/threads"
