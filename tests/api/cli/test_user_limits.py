"""threadhouse users limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.user_limits import WHAT
from api.cli.users import users
from shared.config import Limits
from shared.store.tables import user_limits
from tests.builders import House


@pytest.fixture
def limits(house: House) -> Callable[..., Result]:
    """Runs `threadhouse users limits` for a home with the user ann."""
    house.store.users.add("ann")

    def run(*arguments: str) -> Result:
        environ = {"THREADHOUSE_HOME": str(house.config.home), "THREADHOUSE_DATABASE_URL": house.config.database_url}
        return CliRunner().invoke(users, ["limits", *arguments], env=environ)

    return run


def test_limits_are_shown_set_and_taken_back(limits: Callable[..., Result], house: House) -> None:
    ann = house.store.users.by_name("ann").id

    shown = limits("ann").output.splitlines()
    assert shown[2].split() == ["queued_turns", "1000", "(default)"]
    changed = limits("ann", "--queued-turns", "7", "--tokens-per-day", "1000000", "--weight", "3").output.splitlines()
    assert changed[0].split() == ["weight", "3"]
    assert changed[2].split() == ["queued_turns", "7"]
    assert house.store.limits.of(ann, Limits()).tokens_per_day == 1_000_000
    limits("ann", "--queued-turns", "default", "--weight", "default", "--tokens-per-day", "0")

    assert house.store.limits.all_users_own() == {ann: {"tokens_per_day": 0}}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("bob",), "no user 'bob'"),
        (("ann", "--threads", "many"), "expected an integer of 0 or more, or default"),
        (("ann", "--threads", "-1"), "expected an integer of 0 or more"),
        (("ann", "--weight", "0"), "expected an integer of 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(limits: Callable[..., Result], arguments: Any, complaint: str) -> None:
    result = limits(*arguments)

    assert result.exit_code != 0
    assert complaint in result.output


def test_every_limit_that_can_be_stored_can_be_set() -> None:
    assert list(WHAT) == [column.name for column in user_limits.c if column.name != "owner"]
