"""threadhouse users, keys and audit, as an operator calls them on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from shared.store import Store
from tests.builders import make_config, make_thread, make_turn


def run(home: Path, *words: str) -> Result:
    return CliRunner(env={"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": None}).invoke(commands, words)


def rows(home: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(home, *words, "--json").output.splitlines()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Of a home whose database the first command makes."""
    assert run(tmp_path, "users", "add", "ada", "--role", "admin").exit_code == 0
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


def test_keys_are_shown_once_listed_without_their_secret_and_revoked(tmp_path: Path, store: Store) -> None:
    key = run(tmp_path, "keys", "create", "ada", "--label", "ci", "--expires", "90d").output.split()[-1]
    listed = run(tmp_path, "keys", "list").output
    row = rows(tmp_path, "keys", "list", "ada")[0]

    assert store.users.by_key(key) is not None
    assert "ci" in listed
    assert key not in listed
    assert row["expires_at_ms"] - row["created_at_ms"] == pytest.approx(90 * 86_400_000, abs=5_000)
    assert run(tmp_path, "keys", "revoke", row["id"]).exit_code == 0
    assert store.users.by_key(key) is None
    assert run(tmp_path, "keys", "create", "ada", "--expires", "soon").exit_code == 2


def test_a_disabled_user_is_locked_out_and_stopped_when_asked(tmp_path: Path, store: Store) -> None:
    key = run(tmp_path, "keys", "create", "ada").output.split()[-1]
    ada = store.users.by_name("ada").id
    turn = make_turn(store, make_thread(store, make_config(tmp_path), ada))

    assert run(tmp_path, "users", "disable", "ada", "--stop").output.splitlines()[0] == "interrupted 1 turns"

    assert store.users.by_key(key) is None
    assert store.turns.get(turn.id, ada).status == "interrupted"
    assert rows(tmp_path, "users", "list")[0]["disabled_at_ms"] is not None
    run(tmp_path, "users", "enable", "ada")
    assert store.users.by_key(key) is not None


def test_the_audit_log_tells_what_operators_did(tmp_path: Path, store: Store) -> None:
    run(tmp_path, "keys", "create", "ada")
    run(tmp_path, "users", "disable", "ada")

    assert [row["action"] for row in rows(tmp_path, "audit")] == ["users add", "keys create", "users disable"]
    assert {row["owner"] for row in rows(tmp_path, "audit", "--since", "1h")} == {"operator"}
    assert len(rows(tmp_path, "audit", "--action", "keys create", "--user", "operator")) == 1
    assert rows(tmp_path, "audit", "--user", "ada") == []
    assert run(tmp_path, "audit", "--user", "nobody").exit_code == 1
