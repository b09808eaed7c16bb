"""config/value/write, config/batchWrite and config/read: a layer of each user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from shared.config import Provider
from tests.builders import House


def write(key: str, value: Any, **params: Any) -> dict[str, Any]:
    return {"keyPath": key, "value": value, "mergeStrategy": "replace", **params}


def test_what_a_user_wrote_is_shown_with_its_layer_and_holds_for_new_threads(house: House) -> None:
    client = house.connect()

    written = client.call("config/value/write", write("model_reasoning_effort", "high"))
    batch = {"edits": [write("model", "mine"), write("sandbox_mode", "read-only")], "expectedVersion": "1"}
    again = client.call("config/batchWrite", batch)

    assert (written["status"], written["version"], again["version"]) == ("ok", "1", "2")
    shown = client.call("config/read", {"includeLayers": True})
    assert (shown["config"]["model"], shown["config"]["sandbox_mode"]) == ("mine", "read-only")
    assert shown["origins"]["model"]["name"]["type"] == "user"
    assert shown["origins"]["model_provider"]["name"]["type"] == "enterpriseManaged"
    assert shown["layers"][0]["config"] == {
        "model": "mine",
        "model_reasoning_effort": "high",
        "sandbox_mode": "read-only",
    }
    started = client.call("thread/start")
    assert (started["model"], started["reasoningEffort"], started["sandbox"]["type"]) == ("mine", "high", "readOnly")
    assert client.call("thread/start", {"model": "asked"})["model"] == "asked"


def test_null_takes_a_key_back(house: House) -> None:
    client = house.connect()
    client.call("config/value/write", write("model", "mine"))

    client.call("config/value/write", write("model", None))

    assert client.call("config/read")["config"]["model"] == house.config.model


def test_keys_of_web_tools_are_kept_and_shown_and_hinder_no_thread(house: House) -> None:
    client = house.connect()
    tools = {"web_search": {"context_size": "low", "location": None}, "view_image": False}
    domains = {"web_search": {"allowed_domains": ["example.org"]}}

    client.call("config/value/write", write("web_search", "live"))
    client.call("config/batchWrite", {"edits": [write("tools", tools), write("tools.view_image", None)]})
    client.call("config/value/write", {**write("tools", domains), "mergeStrategy": "upsert"})

    shown = client.call("config/read")["config"]
    kept = {"web_search": {"context_size": "low", "allowed_domains": ["example.org"]}}
    assert (shown["web_search"], shown["tools"]) == ("live", kept)
    client.call("thread/start", {"config": {"web_search": "live", "tools.view_image": False}})
    client.call("config/value/write", write("tools.web_search", None))
    assert client.call("config/read")["config"]["tools"] is None


def test_one_users_layer_is_not_another_ones(house: House) -> None:
    house.connect("ann").call("config/value/write", write("model", "anns"))

    assert house.connect("bob").call("config/read")["config"]["model"] == house.config.model


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("notify", ["sh", "-c", "true"]),
        ("model_providers.mine.base_url", "http://127.0.0.1"),
        ("mcp_servers.x.command", "sh"),
        ("otel.exporter", "none"),
        ("limits.queued_turns", 9),
        ("server.titles", True),
        ("shell_environment_policy.set.PATH", "/tmp"),
        ("projects./x.trust_level", "trusted"),
        ("sandbox_mode", "bogus"),
        ("model", 5),
        ("model.name", "mine"),
        ("web_search", "sometimes"),
        ("tools", "all"),
        ("tools.web_search", True),
        ("tools.web_search.allowed_domains", ["x" * 20_000]),
        ("tools.mine.command", "sh"),
        ("tools" + ".x" * 5_000, "deep"),
        ("tools", orjson.loads('{"x":' * 500 + "1" + "}" * 500)),
        ("approval_policy", "always"),
        ("developer_instructions", "x" * 20_001),
    ],
)
def test_a_key_or_value_that_clients_may_not_set_is_refused_and_nothing_of_the_batch_is_kept(
    house: House, key: str, value: Any
) -> None:
    client = house.connect()

    error = client.error("config/batchWrite", {"edits": [write("model", "mine"), write(key, value)]})

    assert error["code"] == -32602
    assert client.call("config/read")["config"]["model"] == house.config.model


def test_full_access_by_way_of_the_layer_is_refused_where_a_request_for_it_is(house: House) -> None:
    client = house.connect("ann")

    assert client.error("config/value/write", write("sandbox_mode", "danger-full-access"))["code"] == -32602
    profiles = {row["id"]: row["allowed"] for row in client.call("permissionProfile/list")["data"]}
    assert profiles == {":read-only": True, ":workspace": True, ":danger-full-access": False}


def test_a_value_that_the_server_does_not_allow_any_more_hinders_no_thread(house: House) -> None:
    house.store.user_configs.change("ann", lambda _: {"sandbox_mode": "danger-full-access", "model": "mine"}, None)

    started = house.connect("ann").call("thread/start")

    assert (started["model"], started["sandbox"]["type"]) == ("mine", "workspaceWrite")


@pytest.mark.parametrize("params", [{"expectedVersion": "7"}, {"expectedVersion": "x"}, {"filePath": "/etc/passwd"}])
def test_another_version_or_file_than_ours_is_refused(house: House, params: dict[str, Any]) -> None:
    client = house.connect()

    assert client.error("config/value/write", write("model", "mine", **params))["code"] in (-32600, -32602)
    assert client.call("config/read")["config"]["model"] == house.config.model


def test_no_address_header_or_key_of_a_provider_is_shown(open_house: Callable[..., House]) -> None:
    provider = Provider(
        name="Mine", base_url="http://secret.example/v1", env_key="SECRET_KEY", http_headers={"x": "SECRET"}
    )
    house = open_house(model="m", model_provider="mine", model_providers={"mine": provider})
    client = house.connect()

    shown = [client.call("config/read", {"includeLayers": True}), client.call("modelProvider/list")]

    assert "secret" not in str(shown).lower()
    assert shown[1]["data"][0]["id"] == shown[1]["defaultProviderId"] == "mine"
