"""threadhouse users delete, and threadhouse erasures."""

from __future__ import annotations

from collections.abc import Callable

import click
import orjson
import pytest
from click.testing import CliRunner, Result

from api.cli.erasures import erasures
from api.cli.users import users
from tests.builders import Backend

Run = Callable[..., Result]


@pytest.fixture
def run(backend: Backend) -> Run:
    """A function that runs a command in a home with the users ann and bob."""
    for name in ("ann", "bob"):
        backend.store.users.add(name)

    def run(command: click.Command, *arguments: str) -> Result:
        environ = {
            "THREADHOUSE_HOME": str(backend.config.home),
            "THREADHOUSE_DATABASE_URL": backend.config.database_url,
        }
        return CliRunner().invoke(command, arguments, env=environ)

    return run


def test_users_delete_leaves_a_receipt(run: Run, backend: Backend) -> None:
    key = backend.store.users.create_key("ann", "laptop")

    deleted = run(users, "delete", "ann", "--yes")

    assert deleted.exit_code == 0
    assert backend.store.users.find_by_key(key) is None
    listed = orjson.loads(run(erasures, "list", "--json").output)
    assert listed["receipt"] == {"users": 1, "api_keys": 1}
    assert listed["done_at_ms"] is None
    assert listed["id"] in deleted.output
    assert orjson.loads(run(erasures, "show", listed["id"]).output) == listed
    assert "1 api_keys, 1 users" in run(erasures, "list").output


def test_users_delete_asks_for_confirmation(run: Run, backend: Backend) -> None:
    assert run(users, "delete", "ann").exit_code == 1

    assert backend.store.users.find("ann") is not None


def test_show_fails_for_an_unknown_erasure(run: Run) -> None:
    shown = run(erasures, "show", "nothing")

    assert shown.exit_code == 1
    assert "no erasure nothing: see `threadhouse erasures list`" in shown.output
