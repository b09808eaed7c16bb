"""config/value/write, config/batchWrite and config/read: the configuration layer of each user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from shared.config import Provider
from tests.builders import Backend


def write(key: str, value: Any, **params: Any) -> dict[str, Any]:
    return {"keyPath": key, "value": value, "mergeStrategy": "replace", **params}


def test_a_written_key_is_shown_with_its_layer_and_applies_to_new_threads(backend: Backend) -> None:
    client = backend.connect()

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


def test_the_trust_in_a_folder_is_shown_to_its_user_alone(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect("other")

    client.call("config/batchWrite", {"edits": [write('projects."/work/a.b".trust_level', "trusted")]})

    assert client.call("config/read")["config"]["projects"] == {"/work/a.b": {"trust_level": "trusted"}}
    assert "projects" not in other.call("config/read")["config"]


def test_null_removes_a_key(backend: Backend) -> None:
    client = backend.connect()
    client.call("config/value/write", write("model", "mine"))

    client.call("config/value/write", write("model", None))

    assert client.call("config/read")["config"]["model"] == backend.config.model


def test_keys_of_web_tools_are_stored_and_shown_and_do_not_affect_threads(backend: Backend) -> None:
    client = backend.connect()
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


def test_each_user_has_a_layer_of_their_own(backend: Backend) -> None:
    backend.connect("ann").call("config/value/write", write("model", "anns"))

    assert backend.connect("bob").call("config/read")["config"]["model"] == backend.config.model


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("notify", ["sh", "-c", "true"]),
        ("model_providers.mine.base_url", "http://127.0.0.1"),
        ("mcp_servers.x.comand", "sh"),
        ("mcp_servers.x", "sh"),
        ("otel.exporter", "none"),
        ("limits.queued_turns", 9),
        ("server.titles", True),
        ("shell_environment_policy.set.PATH", 1),
        ("shell_environment_policy.set.UID", "0"),
        ("shell_environment_policy.set", {f"A{number}": "x" for number in range(201)}),
        ("shell_environment_policy.inherit", "some"),
        ("shell_environment_policy.exclude", ["x" * 201]),
        ("shell_environment_policy.no_such_key", 1),
        ("shell_environment_policy", "none"),
        ("allow_login_shell", "no"),
        ('projects."/x".trust_level', "sometimes"),
        ('projects."/x', "trusted"),
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
def test_a_batch_with_a_forbidden_key_or_value_is_refused_as_a_whole(backend: Backend, key: str, value: Any) -> None:
    client = backend.connect()

    error = client.error("config/batchWrite", {"edits": [write("model", "mine"), write(key, value)]})

    assert (error["code"], error["data"]) == (-32600, {"config_write_error_code": "configValidationError"})
    assert client.call("config/read")["config"]["model"] == backend.config.model


def test_full_access_is_refused_in_the_configuration_as_in_a_request(backend: Backend) -> None:
    client = backend.connect("ann")

    assert client.error("config/value/write", write("sandbox_mode", "danger-full-access"))["code"] == -32600
    profiles = {row["id"]: row["allowed"] for row in client.call("permissionProfile/list")["data"]}
    assert profiles == {":read-only": True, ":workspace": True, ":danger-full-access": False}


def test_a_value_that_is_no_longer_allowed_is_ignored_by_new_threads(backend: Backend) -> None:
    backend.store.user_configs.change("ann", lambda _: {"sandbox_mode": "danger-full-access", "model": "mine"}, None)

    started = backend.connect("ann").call("thread/start")

    assert (started["model"], started["sandbox"]["type"]) == ("mine", "workspaceWrite")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"expectedVersion": "7"}, "configVersionConflict"),
        ({"expectedVersion": "x"}, "configValidationError"),
        ({"filePath": "/etc/passwd"}, "configLayerReadonly"),
    ],
)
def test_an_unexpected_version_or_another_file_is_refused(
    backend: Backend, params: dict[str, Any], reason: str
) -> None:
    client = backend.connect()

    error = client.error("config/value/write", write("model", "mine", **params))

    assert (error["code"], error["data"]) == (-32600, {"config_write_error_code": reason})
    assert client.call("config/read")["config"]["model"] == backend.config.model


def test_config_read_shows_no_address_header_or_key_of_a_provider(open_backend: Callable[..., Backend]) -> None:
    provider = Provider(
        name="Mine", base_url="http://secret.example/v1", env_key="SECRET_KEY", http_headers={"x": "SECRET"}
    )
    backend = open_backend(model="m", model_provider="mine", model_providers={"mine": provider})
    client = backend.connect()

    shown = [client.call("config/read", {"includeLayers": True}), client.call("modelProvider/list")]

    assert "secret" not in str(shown).lower()
    assert shown[1]["data"][0]["id"] == shown[1]["defaultProviderId"] == "mine"


def test_a_user_chooses_the_provider_of_their_new_threads(open_backend: Callable[..., Backend]) -> None:
    providers = {name: Provider(name=name, base_url="http://127.0.0.1/v1") for name in ("one", "two")}
    backend = open_backend(model="m", model_provider="one", model_providers=providers)
    client = backend.connect()

    assert client.call("modelProvider/default/set", {"providerId": "two"})["status"] == "ok"

    listed = client.call("modelProvider/list")
    assert (listed["defaultProviderId"], listed["canChangeDefault"]) == ("two", True)
    assert client.call("config/read")["config"]["model_provider"] == "two"
    assert client.call("thread/start")["modelProvider"] == "two"
    assert client.error("modelProvider/default/set", {"providerId": "three"})["code"] == -32600
    assert backend.connect("bob").call("modelProvider/list")["defaultProviderId"] == "one"
