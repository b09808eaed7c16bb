"""thread/start: the settings of a new thread, and what is refused. Events: tests/api/transport/test_dispatch.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Unavailable
from tests.api.methods.test_thread_fork import make_answered
from tests.builders import Backend

TOOL = {"type": "function", "name": "lookup", "description": "Look it up.", "inputSchema": {"type": "object"}}


def test_without_params_a_thread_gets_the_servers_settings_and_a_workspace_of_its_own(backend: Backend) -> None:
    result = backend.connect().call("thread/start")

    config, thread = backend.config, result["thread"]
    assert (result["model"], result["modelProvider"]) == (config.model, config.model_provider)
    assert result["approvalPolicy"] == config.approval_policy
    assert result["cwd"] == str(config.server.workspaces_dir / "local" / thread["id"])
    assert (thread["ephemeral"], thread["historyMode"], thread["turns"]) == (False, "legacy", [])
    assert thread["originator"] == "test"


def test_params_win_over_the_users_configuration_which_wins_over_the_servers(backend: Backend) -> None:
    client = backend.connect()
    edits = [{"keyPath": key, "value": "high", "mergeStrategy": "replace"} for key in ("model_reasoning_effort",)]
    edits.append({"keyPath": "model", "value": "mine", "mergeStrategy": "replace"})
    client.call("config/batchWrite", {"edits": edits})

    result = client.call("thread/start", {"model": "asked"})

    assert (result["model"], result["reasoningEffort"]) == ("asked", "high")


def test_the_variables_of_commands_come_from_the_user_and_the_thread(backend: Backend) -> None:
    client = backend.connect()
    edits = [("shell_environment_policy.set.A", "user"), ("shell_environment_policy.set.B", "user")]
    edits += [("shell_environment_policy.inherit", "none"), ("allow_login_shell", False)]
    values = [{"keyPath": key, "value": value, "mergeStrategy": "replace"} for key, value in edits]
    client.call("config/batchWrite", {"edits": values})
    config = {"shell_environment_policy.set.B": "thread", "shell_environment_policy": {"exclude": ["C"]}}

    thread = client.call("thread/start", {"config": config})["thread"]

    settings = backend.store.threads.get(thread["id"], "local").settings
    assert settings["shellEnvironmentPolicy"] == {
        "inherit": "none",
        "exclude": ["C"],
        "set": {"A": "user", "B": "thread"},
    }
    assert settings["allowLoginShell"] is False
    assert client.call("config/read")["config"]["shell_environment_policy"]["set"] == {"A": "user", "B": "user"}


def test_labels_and_tools_of_the_client_are_stored_and_returned(backend: Backend) -> None:
    params = {"ephemeral": True, "historyMode": "paginated", "threadSource": "a label", "dynamicTools": [TOOL]}
    thread = backend.connect().call("thread/start", params)["thread"]

    assert (thread["ephemeral"], thread["historyMode"], thread["threadSource"]) == (True, "paginated", "a label")
    assert backend.store.threads.get(thread["id"], "local").settings["dynamicTools"] == [TOOL]


def test_the_thread_is_followed_by_the_connection_that_started_it(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect()

    thread_id = client.call("thread/start")["thread"]["id"]

    assert client.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}
    assert other.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "notSubscribed"}


def test_ignored_keys_of_config_are_said_once_to_the_client_and_in_the_log_of_the_thread(backend: Backend) -> None:
    client = backend.connect()

    thread_id = client.call("thread/start", {"config": {"no_such_key": 1, "features.nope": True}})["thread"]["id"]

    summary = client.wait_for_method("configWarning")["params"]["summary"]
    assert summary.splitlines()[1:] == ["  session-flags: `no_such_key` is ignored."]
    assert client.wait_for_method("warning")["params"] == {"threadId": thread_id, "message": summary}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sandbox": "none"}, "unknown variant `none`"),
        ({"sandboxPolicy": ["readOnly"]}, "invalid type: sequence, expected a map"),
        ({"approvalPolicy": "sometimes"}, "unknown variant `sometimes`"),
        ({"permissions": ":workspace", "sandbox": "read-only"}, "permissions cannot be combined with a sandbox"),
        ({"modelProvider": "nobody"}, "Model provider `nobody` not found"),
        ({"config": {"notify": ["x"]}}, "config.notify: only the operator of this server sets this key"),
        ({"config": {"shell_environment_policy": {"inherit": "x"}}}, "unknown variant `x`, expected one of `all`"),
        ({"config": {"shell_environment_policy.set.A": 1}}, "invalid type"),
        ({"config": {"allow_login_shell": 1}}, "config.allow_login_shell: expected true or false"),
        ({"config": {"workspace": {}}}, "config.workspace: expected gitUrl"),
        ({"dynamicTools": [TOOL, TOOL]}, "two tools have the same name"),
        ({"dynamicTools": [{**TOOL, "name": "exec_command"}]}, "is a tool of the server"),
        ({"historyMode": "short"}, "unknown variant `short`"),
    ],
)
def test_wrong_params_are_refused_and_make_no_thread(backend: Backend, params: dict[str, Any], message: str) -> None:
    client = backend.connect()

    error = client.error("thread/start", params)

    assert error["code"] == -32602
    assert message in error["message"]
    assert client.call("thread/loaded/list")["data"] == []


def test_too_many_threads_are_refused(open_backend: Callable[..., Backend]) -> None:
    from shared.config import Limits

    client = open_backend(limits=Limits(threads=1)).connect()
    client.call("thread/start")

    error = client.error("thread/start", {})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"


def test_without_redis_nothing_is_made_so_that_the_request_may_be_repeated(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = make_answered(backend, "one")
    client = backend.connect()
    before = client.call("thread/loaded/list")["data"]

    def be_away(*_: object) -> object:
        raise Unavailable("Redis does not answer; try again")

    with monkeypatch.context() as away:
        away.setattr(type(backend.services.relay), "follow", be_away)
        client.error("thread/start", {})
        client.error("thread/fork", {"threadId": answered.id})

    assert client.call("thread/loaded/list")["data"] == before


LONG = "x" * 600_000
LONG_TOOL = {"type": "function", "name": "t", "description": LONG, "inputSchema": {"type": "object"}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("thread/start", {"baseInstructions": LONG}),
        ("thread/start", {"developerInstructions": LONG}),
        ("thread/start", {"dynamicTools": [LONG_TOOL]}),
        ("thread/start", {"model": "m" * 1001}),
        ("thread/start", {"threadSource": "s" * 1001}),
        ("thread/start", {"config": {"personality": "p" * 1001}}),
        ("thread/settings/update", {"developerInstructions": LONG}),
        ("turn/start", {"input": [{"type": "text", "text": "hi"}], "model": "m" * 1001}),
        ("thread/name/set", {"name": "n" * 4001}),
        ("thread/metadata/update", {"gitInfo": {"sha": "s" * 4001}}),
    ],
)
def test_what_lists_and_every_step_read_of_a_thread_has_a_limit(
    backend: Backend, method: str, params: dict[str, Any]
) -> None:
    client = backend.connect()
    thread_id = client.call("thread/start", {})["thread"]["id"]
    before = client.call("thread/read", {"threadId": thread_id})

    error = client.error(method, params if method == "thread/start" else {"threadId": thread_id, **params})

    assert error["code"] == -32602
    assert client.call("thread/read", {"threadId": thread_id}) == before
