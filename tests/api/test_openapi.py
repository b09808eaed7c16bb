"""GET /openapi.json and GET /docs: generated from the table of methods."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import make_app
from api.examples import EXAMPLES
from api.methods import TABLE
from api.methods.without_effect import EMPTY
from api.params import load
from tests.builders import House
from tests.support.contract import Contract


@pytest.fixture
def browser(house: House) -> FlaskClient:
    return make_app(house.services).test_client()


@pytest.fixture
def document(browser: FlaskClient) -> dict[str, Any]:
    answer = browser.get("/openapi.json")
    assert answer.status_code == 200
    told: dict[str, Any] = answer.get_json()
    return told


def test_every_method_that_answers_has_a_path(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {f"/v2/{name}" for name in [*TABLE, *EMPTY]}


def test_params_are_described_with_the_names_of_the_wire(document: dict[str, Any]) -> None:
    body = document["paths"]["/v2/turn/start"]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][body["schema"]["$ref"].rsplit("/", 1)[1]]

    assert {"threadId", "input", "clientUserMessageId"} <= schema["properties"].keys()
    assert sorted(schema["required"]) == ["input", "threadId"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert names <= document["components"]["schemas"].keys()
    assert "Problem" in names


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_example_of_a_method_is_valid(contract: Contract | None, method: str) -> None:
    example = EXAMPLES.get(method, {})

    load(TABLE[method].Params(), example)
    if contract is not None and method in contract.methods:
        null_params = contract.methods[method]["properties"]["params"].get("type") == "null"
        assert contract.request_violations(method, None if null_params else example) == []


def test_no_example_is_of_a_method_that_is_not_there() -> None:
    assert EXAMPLES.keys() <= TABLE.keys()


def test_the_page_needs_nothing_from_elsewhere_and_shows_how_to_ask(browser: FlaskClient) -> None:
    text = browser.get("/docs").get_data(as_text=True)

    assert not re.search(r"(src|href)=.?https?:|<script|@import", text)
    assert all(f"{name}</h2>" in text for name in TABLE)
    assert "/v2/thread/start" in text


def test_a_foreign_page_does_not_read_it(browser: FlaskClient) -> None:
    assert browser.get("/openapi.json", headers={"Origin": "http://evil.example"}).status_code == 403
