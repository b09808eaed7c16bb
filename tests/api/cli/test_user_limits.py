"""threadhouse users limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.user_limits import LIMITS
from api.cli.users import users
from shared.config import Limits
from shared.store.tables import user_limits
from tests.builders import Backend


@pytest.fixture
def limits(backend: Backend) -> Callable[..., Result]:
    """A function that runs `threadhouse users limits` in a home with the user ann."""
    backend.store.users.add("ann")

    def run(*arguments: str) -> Result:
        environ = {
            "THREADHOUSE_HOME": str(backend.config.home),
            "THREADHOUSE_DATABASE_URL": backend.config.database_url,
        }
        return CliRunner().invoke(users, ["limits", *arguments], env=environ)

    return run


def test_limits_are_shown_changed_and_reset(limits: Callable[..., Result], backend: Backend) -> None:
    ann = backend.store.users.get("ann").id

    shown = limits("ann").output.splitlines()
    assert shown[2].split() == ["queued_turns", "1000", "(default)"]
    changed = limits("ann", "--queued-turns", "7", "--tokens-per-day", "1000000", "--weight", "3").output.splitlines()
    assert changed[0].split() == ["weight", "3"]
    assert changed[2].split() == ["queued_turns", "7"]
    assert backend.store.limits.of(ann, Limits()).tokens_per_day == 1_000_000
    limits("ann", "--queued-turns", "default", "--weight", "default", "--tokens-per-day", "0")

    assert backend.store.limits.all_users_own() == {ann: {"tokens_per_day": 0}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bob",), "no user 'bob'"),
        (("ann", "--threads", "many"), "expected an integer of 0 or more, or default"),
        (("ann", "--threads", "-1"), "expected an integer of 0 or more"),
        (("ann", "--weight", "0"), "expected an integer of 1 or more"),
    ],
)
def test_invalid_limits_and_unknown_users_are_refused(
    limits: Callable[..., Result], arguments: Any, message: str
) -> None:
    result = limits(*arguments)

    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"


def test_every_column_of_the_table_has_an_option() -> None:
    assert list(LIMITS) == [column.name for column in user_limits.c if column.name != "owner"]
