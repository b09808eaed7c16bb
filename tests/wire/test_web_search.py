"""Searches of the web over the wire: those of a provider as recorded from the original, and those of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import check_order, of_thread, run_turn, start_thread, stored_turn
from tests.support.web import Web

CALLS: list[dict[str, Any]] = [
    {"action": {"type": "search", "query": "weather berlin", "queries": ["weather berlin", "wetter"]}},
    {"action": {"type": "open_page", "url": "https://example.com/a"}},
    {"action": {"type": "find_in_page", "url": "https://example.com/a", "pattern": "rain"}},
    {},
]
# What the original sent of these calls (0.171): without ids and times.
RECORDED = [
    ("item/started", "", {"type": "other"}),
    ("item/completed", "weather berlin", CALLS[0]["action"]),
    ("item/started", "https://example.com/a", {"type": "openPage", "url": "https://example.com/a"}),
    ("item/completed", "https://example.com/a", {"type": "openPage", "url": "https://example.com/a"}),
    (
        "item/started",
        "'rain' in https://example.com/a",
        {"type": "findInPage", "url": "https://example.com/a", "pattern": "rain"},
    ),
    (
        "item/completed",
        "'rain' in https://example.com/a",
        {"type": "findInPage", "url": "https://example.com/a", "pattern": "rain"},
    ),
    ("item/started", "", {"type": "other"}),
    ("item/completed", "", {"type": "other"}),
]
RECORDED_TOOL = {"type": "web_search", "external_web_access": True, "search_content_types": ["text", "image"]}
MEMBERS = {"type", "id", "query", "action", "results", "startedAtMs", "completedAtMs"}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, web: Web, model: ModelServer) -> Iterator[Deployment]:
    endpoint = {"url": web.url, "private_hosts": ["localhost"], "env_http_headers": {"X-Key": "SEARCH_KEY"}}
    settings: dict[str, object] = {
        "model_providers.searching": {"base_url": model.base_url, "web_search": True},
        "web_search_endpoint": endpoint,
    }
    with Deployment(
        tmp_path_factory.mktemp("home"),
        server=STEADY,
        settings=settings,
        model_url=model.base_url,
        environ={"SEARCH_KEY": "secret-of-the-operator"},
    ) as deployment:
        yield deployment


@pytest.fixture
def client(running: Deployment) -> Iterator[ProtocolClient]:
    with logs_shown_on_failure(running):
        yield running.connect()


def raw(kind: str, item: dict[str, Any]) -> str:
    return f"[[raw {json.dumps({'type': f'response.output_item.{kind}', 'item': item})}]]"


def test_searches_of_a_provider_are_as_recorded(client: ProtocolClient, model: ModelServer) -> None:
    calls = [
        {"type": "web_search_call", "id": f"ws_{n}", "status": "completed", **one} for n, one in enumerate(CALLS, 1)
    ]
    begun = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    thread_id = start_thread(client, modelProvider="searching", config={"web_search": "live"})

    turn = run_turn(client, thread_id, raw("added", begun) + "".join(raw("done", one) for one in calls) + "[[say Sun]]")
    run_turn(client, thread_id, "next")

    frames = of_thread(client.received, thread_id)
    check_order(frames)
    items = [
        (frame["method"], frame["params"]["item"])
        for frame in frames
        if frame["method"] in ("item/started", "item/completed") and frame["params"]["item"]["type"] == "webSearch"
    ]
    assert [(method, item["query"], item["action"]) for method, item in items] == RECORDED
    assert all(item.keys() == MEMBERS and item["results"] is None for _, item in items)
    stored = stored_turn(client, thread_id, turn["id"])["items"]
    assert [one for one in stored if one["type"] == "webSearch"] == [
        item for method, item in items if method == "item/completed"
    ]
    body = model.requests[-1].body
    assert [one for one in body["input"] if one["type"] == "web_search_call"] == calls
    assert [tool for tool in body["tools"] if tool["type"] == "web_search"] == [RECORDED_TOOL]


def test_an_agent_searches_and_reads_a_page_with_the_servers_tool(client: ProtocolClient, web: Web) -> None:
    url = web.page("/rain", "<h1>Rain</h1><p>On Monday.</p>")
    web.redirect("/moved", "http://169.254.169.254/latest/")
    web.results = {"results": [{"title": "Rain", "url": url, "content": "When it rains"}]}
    thread_id = start_thread(client, config={"web_search": "live"})
    steps = [{"query": "rain"}, {"url": url}, {"url": f"{web.pages_url}/moved"}]
    script = "[[say Look.]]" + "".join(f"[[tool web_search {json.dumps(step)}]]" for step in steps)

    turn = run_turn(client, thread_id, script)

    check_order(of_thread(client.received, thread_id))
    searches = [one for one in stored_turn(client, thread_id, turn["id"])["items"] if one["type"] == "webSearch"]
    assert [(one["query"], one["action"]["type"]) for one in searches] == [
        ("rain", "search"),
        (url, "openPage"),
        (f"{web.pages_url}/moved", "openPage"),
    ]
    assert turn["status"] == "completed"
    assert web.asked[-3].headers["x-key"] == "secret-of-the-operator"
    assert "secret-of-the-operator" not in json.dumps(client.received)


def test_an_unknown_mode_is_refused_with_the_words_of_the_original(client: ProtocolClient) -> None:
    with pytest.raises(RpcError) as refused:
        start_thread(client, config={"web_search": "bogus"})

    assert (refused.value.code, refused.value.message) == (
        -32600,
        "failed to load configuration: unknown variant `bogus`, expected one of `disabled`, `cached`, `indexed`, "
        "`live`\nin `web_search`\n",
    )
