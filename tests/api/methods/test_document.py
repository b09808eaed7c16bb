"""The page of methods, the tables and the schema tell of the same methods, and every one of them is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.methods import TABLE
from api.methods.document import document
from api.methods.without_effect import EMPTY, REFUSED
from tests.builders import House
from tests.support.contract import OWN, Contract

PAGE = Path(__file__).parents[3] / "docs" / "METHODS.md"
OLDER = {"getAuthStatus", "gitDiffToRemote", "thread/rollback"}  # older clients ask them


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == document(), "python -m api.methods.document > docs/METHODS.md"


def test_a_method_stands_in_one_table_only() -> None:
    names = [*TABLE, *EMPTY, *REFUSED]

    assert len(names) == len(set(names))


def test_every_method_of_the_schema_has_a_row(contract: Contract | None) -> None:
    if contract is None:
        pytest.skip("no schemas")
    assert {*TABLE, *EMPTY, *REFUSED} - OLDER - OWN == contract.methods.keys()


@pytest.mark.parametrize("method", sorted(EMPTY))
def test_an_empty_answer_is_as_the_schema_says(house: House, method: str) -> None:
    assert house.connect().call(method) == EMPTY[method]  # the contract is checked at the end


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_a_refusal_says_why(house: House, method: str) -> None:
    error = house.connect().error(method)

    assert error["code"] == -32601
    assert REFUSED[method] in error["message"]


HOSTILE: list[Any] = [None, {}, [], "text", 7, {"threadId": 5}, {"threadId": "x"}, {"threadId": "0" * 40, "input": {}}]


@pytest.mark.parametrize("method", sorted(set(TABLE) - {"initialize"}))
def test_no_params_at_all_make_an_internal_error(house: House, method: str) -> None:
    client = house.connect()

    codes = {client.reply(method, params).get("error", {}).get("code") for params in HOSTILE}

    assert codes <= {None, -32600, -32602, -32601, -32001}
