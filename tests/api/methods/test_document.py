"""docs/METHODS.md, the method tables and the schema name the same methods, and each of them answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.methods import TABLE
from api.methods.document import document
from api.methods.without_effect import EMPTY, REFUSED
from tests.builders import Backend
from tests.support.contract import Contract

PAGE = Path(__file__).parents[3] / "docs" / "METHODS.md"


def test_the_page_in_docs_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), "python -m api.methods.document > docs/METHODS.md"


def test_a_method_is_in_one_table_only() -> None:
    names = [*TABLE, *EMPTY, *REFUSED]

    assert len(names) == len(set(names))


def test_every_method_of_the_schema_has_a_row(contract: Contract | None) -> None:
    if contract is None:
        pytest.skip("no schemas")
    assert contract.methods.keys() - {*TABLE, *EMPTY, *REFUSED} == set()


@pytest.mark.parametrize("method", sorted(EMPTY))
def test_an_empty_result_has_the_shape_of_the_schema(backend: Backend, method: str) -> None:
    assert backend.connect().call(method) == EMPTY[method]  # a fixture compares it with the schema


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_a_refused_method_answers_with_its_reason(backend: Backend, method: str) -> None:
    error = backend.connect().error(method)

    assert error["code"] == -32601
    assert REFUSED[method] in error["message"]


HOSTILE: list[Any] = [None, {}, [], "text", 7, {"threadId": 5}, {"threadId": "x"}, {"threadId": "0" * 40, "input": {}}]


@pytest.mark.parametrize("method", sorted(set(TABLE) - {"initialize"}))
def test_malformed_params_never_cause_an_internal_error(backend: Backend, method: str) -> None:
    client = backend.connect()

    codes = {client.reply(method, params).get("error", {}).get("code") for params in HOSTILE}

    assert codes <= {None, -32600, -32602, -32601, -32001}
