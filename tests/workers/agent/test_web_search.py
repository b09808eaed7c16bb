"""Searches of the web in turns: by the provider's own tool, by the server's tool, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.config.web_search import Tools, WebSearchEndpoint, WebSearchTool
from shared.rollout import read, write
from tests.support import order
from tests.support.wait import until
from tests.support.web import Web
from tests.workers.agent.test_stop_requests import interrupt
from tests.workers.builders import Bench
from workers.web.access import count

SEARCH = {"type": "search", "query": "weather berlin", "queries": ["weather berlin", "wetter"]}
DEFAULT = {"type": "web_search", "external_web_access": False, "search_content_types": ["text", "image"]}


def raw(kind: str, item: dict[str, Any]) -> str:
    return f"[[raw {json.dumps({'type': f'response.output_item.{kind}', 'item': item})}]]"


def search_call(item_id: str, **members: Any) -> dict[str, Any]:
    return {"type": "web_search_call", "id": item_id, "status": "completed", **members}


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def offered(bench: Bench) -> list[dict[str, Any]]:
    """The tools of the last request whose name or type is web_search."""
    tools = bench.model.requests[-1].body.get("tools", [])
    names = [(tool, tool.get("function", tool).get("name", tool["type"])) for tool in tools]
    return [tool for tool, name in names if name == "web_search"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, DEFAULT),
        ({"webSearch": {"mode": "cached"}}, DEFAULT),
        ({"sandboxPolicy": {"type": "dangerFullAccess"}}, {**DEFAULT, "external_web_access": True}),
        ({"webSearch": {"mode": "live"}}, {**DEFAULT, "external_web_access": True}),
        (
            {"webSearch": {"mode": "indexed"}},
            {**DEFAULT, "external_web_access": True, "indexed_web_access": True},
        ),
        ({"webSearch": {"mode": "disabled"}}, None),
        (
            {"webSearch": {"contextSize": "high", "allowedDomains": ["e.example"], "location": {"country": "DE"}}},
            {
                **DEFAULT,
                "filters": {"allowed_domains": ["e.example"]},
                "user_location": {"type": "approximate", "country": "DE"},
                "search_context_size": "high",
            },
        ),
    ],
)
def test_a_provider_that_can_search_is_sent_its_tool_as_recorded(
    open_bench: Callable[..., Bench], settings: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    bench = open_bench(provider_searches=True)

    bench.run_turn(bench.thread(**settings), "hello")

    assert offered(bench) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("tool", "settings", "expected"),
    [
        (WebSearchTool(is_on=False), {}, []),
        (WebSearchTool(is_on=False), {"webSearch": {"mode": "cached"}}, [DEFAULT]),
        (WebSearchTool(context_size="low"), {}, [{**DEFAULT, "search_context_size": "low"}]),
        (
            WebSearchTool(context_size="low"),
            {"webSearch": {"contextSize": "high"}},
            [{**DEFAULT, "search_context_size": "high"}],
        ),
    ],
)
def test_the_operators_options_hold_where_a_thread_has_none(
    open_bench: Callable[..., Bench], tool: WebSearchTool, settings: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    bench = open_bench(provider_searches=True, tools=Tools(tool))

    bench.run_turn(bench.thread(**settings), "hello")

    assert offered(bench) == expected


def test_searches_of_the_provider_are_items_and_go_back_unchanged(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(provider_searches=True)
    thread = bench.thread()
    opened = search_call("ws_1", action=SEARCH)
    others = [
        search_call("ws_2", action={"type": "open_page", "url": "https://example.com/a"}),
        search_call("ws_3", action={"type": "find_in_page", "url": "https://example.com/a", "pattern": "rain"}),
        search_call("ws_4"),
        search_call("ws_5", action={"type": "search", "query": 5, "queries": "all"}),
    ]
    script = raw("added", {**search_call("ws_1"), "status": "in_progress"}) + raw("done", opened)

    bench.run_turn(thread, script + "".join(raw("done", one) for one in others) + "[[say Sunny.]]")
    bench.run_turn(thread, "next")

    order.check(bench.events(thread))
    started = [p["item"] for m, p in bench.events(thread) if m == "item/started" and p["item"]["type"] == "webSearch"]
    ended = [p["item"] for m, p in bench.events(thread) if m == "item/completed" and p["item"]["type"] == "webSearch"]
    assert [(one["query"], one["action"]) for one in ended] == [
        ("weather berlin", SEARCH),
        ("https://example.com/a", {"type": "openPage", "url": "https://example.com/a"}),
        ("'rain' in https://example.com/a", {"type": "findInPage", "url": "https://example.com/a", "pattern": "rain"}),
        ("", {"type": "other"}),
        ("", {"type": "search", "query": None, "queries": None}),
    ]
    assert (started[0]["query"], started[0]["action"]) == ("", {"type": "other"})
    assert [one["action"] for one in started[1:]] == [one["action"] for one in ended[1:]]
    assert {one["results"] for one in ended} == {None}
    sent = [item for item in bench.model.requests[-1].body["input"] if item["type"] == "web_search_call"]
    assert sent == [opened, *others]


def test_a_search_that_never_ends_leaves_no_item(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(provider_searches=True)
    thread = bench.thread()

    bench.run_turn(thread, raw("added", search_call("ws_1")) + "[[say Done.]]")

    assert [item["type"] for item in bench.shown(thread)] == ["userMessage", "agentMessage"]
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_searches_in_the_history_go_to_no_provider_that_does_not_know_them(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(provider_searches=True)
    thread = bench.thread()
    bench.run_turn(thread, raw("done", search_call("ws_1", action=SEARCH)) + "[[say Sunny.]]")
    store = bench.workers[0].store

    turn = bench.run_turn(thread, "next", settings={"webSearch": {"mode": "disabled"}})

    assert turn.status == "completed"
    assert "web_search_call" not in {item["type"] for item in bench.model.requests[-1].body["input"]}
    assert "webSearch" in {item.kind for item in store.items.of_turn(bench.items(thread)[0].turn_id)}


def test_searches_survive_the_file_of_a_thread(open_bench: Callable[..., Bench], web: Web) -> None:
    bench = open_bench(provider_searches=True)
    thread = bench.thread()
    turn = bench.run_turn(thread, raw("done", search_call("ws_1", action=SEARCH)) + "[[say Sunny.]]")
    stored = bench.workers[0].store.threads.get(thread.id, thread.owner)

    lines = list(write(stored, [bench.turn(turn)], bench.workers[0].store.items.of_turn))
    found = [row for row in read(lines, thread.owner).items if row.kind == "webSearch"]

    assert [(row.item, row.model_items) for row in found] == [
        (
            {"query": "weather berlin", "action": SEARCH, "results": None},
            [search_call("ws_1", action=SEARCH)],
        )
    ]


@pytest.mark.parametrize("wire_api", ["responses", "chat"])
def test_other_providers_get_the_tool_of_the_server(open_bench: Callable[..., Bench], web: Web, wire_api: str) -> None:
    web.results = {"results": [{"title": "Rain", "url": "https://e.example/rain", "content": "Wet."}]}
    bench = open_bench(wire_api=wire_api, web_search_endpoint=WebSearchEndpoint(web.url))
    thread = bench.thread()

    bench.run_turn(thread, '[[tool web_search {"query": "will it rain?"}]][[say Yes.]]')

    order.check(bench.events(thread))
    _, item, message = bench.shown(thread)
    assert message["text"] == "Yes."
    action = {"type": "search", "query": "will it rain?", "queries": ["will it rain?"]}
    assert (item["type"], item["query"], item["action"]) == ("webSearch", "will it rain?", action)
    assert web.searches() == ["will it rain?"]
    assert "https://e.example/rain" in json.dumps(bench.model.requests[-1].body)


@pytest.mark.parametrize(
    ("settings", "properties"),
    [
        ({}, {"query"}),
        ({"webSearch": {"mode": "indexed"}}, {"query"}),
        ({"webSearch": {"mode": "live"}}, {"query", "url", "pattern"}),
        ({"webSearch": {"mode": "disabled"}}, None),
        ({"dynamicTools": [{"type": "function", "name": "web_search", "description": "", "inputSchema": {}}]}, set()),
    ],
)
def test_pages_are_opened_only_where_the_web_is_live(
    open_bench: Callable[..., Bench], web: Web, settings: dict[str, Any], properties: set[str] | None
) -> None:
    bench = open_bench(web_search_endpoint=WebSearchEndpoint(web.url))

    bench.run_turn(bench.thread(**settings), "hello")

    assert [set(tool["parameters"].get("properties", {})) for tool in offered(bench)] == (
        [] if properties is None else [properties]
    )


def test_without_configuration_there_is_no_search_and_a_call_of_it_fails(bench: Bench) -> None:
    thread = bench.thread(webSearch={"mode": "live"})

    bench.run_turn(thread, '[[tool web_search {"query": "x"}]]')

    assert offered(bench) == []
    assert "does not search the web" in json.dumps(bench.model.requests[-1].body["input"])


def test_searches_of_each_user_are_counted_in_all_workers(open_bench: Callable[..., Bench], web: Web) -> None:
    bench = open_bench(web_search_endpoint=WebSearchEndpoint(web.url, searches_per_minute=2))

    for services in (bench.workers[0], bench.worker(), bench.worker()):
        bench.begin(bench.thread(), '[[tool web_search {"query": "x"}]]')
        bench.run(services)

    refused = ["more than 2 searches" in json.dumps(one.body["input"]) for one in bench.model.requests]
    assert (sum(refused), len(web.searches())) == (1, 2)
    assert count(bench.workers[0].redis, "somebody else", 2)


def test_an_interrupt_cuts_a_search_that_hangs(open_bench: Callable[..., Bench], web: Web) -> None:
    url = web.page("/hangs", web.drip(b"x"))
    endpoint = WebSearchEndpoint(web.url, private_hosts=("localhost",), timeout_seconds=600)
    bench = open_bench(web_search_endpoint=endpoint)
    thread = bench.thread(webSearch={"mode": "live"})
    turn = bench.begin(thread, f"[[tool web_search {json.dumps({'url': url})}]]")
    running = bench.start_run()
    until(web.paths)

    interrupt(bench, thread)
    running.join()

    assert bench.turn(turn).status == "interrupted"
