"""`web_search` and `tools.web_search` of a request, a user and a project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.requests.web_search import web_search
from shared.config.web_search import WebSearchEndpoint
from shared.errors import InvalidParams, InvalidRequest
from tests.builders import Backend

TOOL = {"context_size": "high", "allowed_domains": ["example.com"], "location": {"country": "DE"}}
OPTIONS = {"contextSize": "high", "allowedDomains": ["example.com"], "location": {"country": "DE"}}


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        ({}, None),
        ({"tools": {"view_image": True}, "tools.update_plan.enabled": 0}, None),
        ({"web_search": "live"}, {"mode": "live"}),
        ({"tools": {"web_search": True}}, {}),
        ({"tools.web_search": False}, {"mode": "disabled"}),
        ({"tools.web_search": False, "web_search": "cached"}, {"mode": "cached"}),
        ({"tools.web_search": TOOL}, OPTIONS),
        ({"tools.web_search.context_size": "low", "web_search": "live"}, {"mode": "live", "contextSize": "low"}),
        ({"features.web_search_request": True}, {"mode": "live"}),
        ({"features.web_search_request": False}, None),
    ],
)
def test_keys_of_config_choose_how_the_web_is_searched(config: dict[str, Any], chosen: dict[str, Any] | None) -> None:
    assert web_search(config) == chosen


def test_an_unknown_mode_is_refused_as_by_the_original() -> None:
    with pytest.raises(InvalidRequest) as refused:
        web_search({"web_search": "bogus"})

    assert str(refused.value) == (
        "failed to load configuration: unknown variant `bogus`, expected one of `disabled`, `cached`, `indexed`, "
        "`live`\nin `web_search`\n"
    )


@pytest.mark.parametrize(
    "tool", ["yes", {"context_size": "huge"}, {"allowed_domains": ["x"] * 101}, {"location": {"planet": "x"}}]
)
def test_wrong_options_are_refused(tool: Any) -> None:
    with pytest.raises(InvalidParams):
        web_search({"tools.web_search": tool})


def test_a_thread_keeps_the_choice_of_its_request_over_that_of_its_user(backend: Backend) -> None:
    client = backend.connect()
    edits = [("web_search", "cached"), ("tools.web_search", {"allowed_domains": ["example.com"]})]
    for key, value in edits:
        client.call("config/value/write", {"keyPath": key, "value": value, "mergeStrategy": "replace"})

    plain = client.call("thread/start", {})["thread"]["id"]
    live = client.call("thread/start", {"config": {"web_search": "live"}})["thread"]["id"]
    forked = client.call("thread/fork", {"threadId": live})["thread"]["id"]

    def chosen(thread_id: str) -> Any:
        return backend.store.threads.get(thread_id, "local").settings.get("webSearch")

    assert chosen(plain) == {"mode": "cached", "allowedDomains": ["example.com"]}
    assert chosen(live) == chosen(forked) == {"mode": "live", "allowedDomains": ["example.com"]}


def test_the_capabilities_say_whether_the_web_can_be_searched(open_backend: Callable[..., Backend]) -> None:
    def searches(**settings: Any) -> bool:
        backend = open_backend(**settings)
        found: bool = backend.connect().call("modelProvider/capabilities/read")["webSearch"]
        return found

    assert [searches(), searches(web_search_endpoint=WebSearchEndpoint("http://s.example"))] == [False, True]


def test_an_older_name_is_taken_with_a_notice(backend: Backend) -> None:
    client = backend.connect()

    client.call("thread/start", {"config": {"features.web_search_request": True}})

    notice = client.wait_for_method("deprecationNotice")["params"]
    assert notice["summary"] == (
        "`[features].web_search_request` is deprecated because web search is enabled by default."
    )
    assert notice["details"].startswith('Set `web_search` to `"live"`')


@pytest.mark.parametrize("key", ["web_search_endpoint", "web_search_endpoint.url", "model_providers.x.web_search"])
def test_no_client_sets_where_searches_go(backend: Backend, key: str) -> None:
    client = backend.connect("ann")

    assert "only the operator" in client.error("thread/start", {"config": {key: "http://127.0.0.1"}})["message"]
    write = {"keyPath": key, "value": "http://127.0.0.1", "mergeStrategy": "replace"}
    assert client.error("config/value/write", write)["code"] == -32600
