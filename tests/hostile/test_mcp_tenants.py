"""MCP servers of two users, on Postgres and two API nodes: no secret reaches the other, and a hostile one is held."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Tenant
from tests.support import mcp_program
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import RpcError
from tests.support.turns import start_turn, stored_turn, wait_for_end

PYTHON = "/usr/bin/python3"
COMMAND = f"{PYTHON} -IS server.py says=KEY"
pytestmark = pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"no {PYTHON}, which a sandbox shows")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenant, Tenant]]:
    home = tmp_path_factory.mktemp("mcp")
    server = STEADY | {"user_mcp_commands": [COMMAND]}
    with Deployment(home, "postgres", api=2, server=server) as deployment, logs_shown_on_failure(deployment):
        found = []
        for api, name in enumerate(("eve", "ada")):
            user_id, key = deployment.add_user(name)
            found.append(Tenant(deployment, user_id, key, deployment.connect(api, token=key)))
        yield found[0], found[1]


def table(user: Tenant, **settings: Any) -> dict[str, Any]:
    command, *args = COMMAND.split()
    modes = {"default_tools_approval_mode": "approve", "required": True, "startup_timeout_sec": 60}
    return {"command": command, "args": args, "env": {"KEY": user.canary}, "cwd": ".", **modes, **settings}


def start(user: Tenant) -> tuple[str, Path]:
    """Start a thread whose workspace has the server's program. Return its id and its folder."""
    thread = user.client.request("thread/start", {"config": {"mcp_servers": {"own": table(user)}}})["thread"]
    user.run("true", thread["cwd"])
    folder = user.folder / thread["id"]
    shutil.copy(mcp_program.__file__, folder / "server.py")
    return thread["id"], folder


def begin(user: Tenant, thread_id: str, *calls: tuple[str, dict[str, Any]]) -> str:
    script = "".join(f"[[tool mcp__own::{tool} {json.dumps(arguments)}]]" for tool, arguments in calls)
    return start_turn(user.client, thread_id, script + "[[say Done.]]")


def results(user: Tenant, thread_id: str, turn_id: str) -> list[str]:
    ended = wait_for_end(user.client, turn_id)
    assert ended["status"] == "completed", ended["error"]
    items = stored_turn(user.client, thread_id, turn_id)["items"]
    return [json.dumps(one["result"]) for one in items if one["type"] == "mcpToolCall"]


def test_two_users_with_the_same_server_keep_their_secrets_apart(users: tuple[Tenant, Tenant]) -> None:
    threads = {user.user_id: start(user)[0] for user in users}
    begun = [begin(user, threads[user.user_id], *[("echo", {"text": "a"})] * 3) for user in users]

    found = [results(user, threads[user.user_id], turn) for user, turn in zip(users, begun, strict=True)]

    for user, other, own in zip(users, users[::-1], found, strict=True):
        assert all(user.canary in result for result in own)
        assert other.canary not in str(own) + str(user.client.received)
        refused = {"threadId": threads[other.user_id], "server": "own", "tool": "echo", "arguments": {"text": "a"}}
        for method in ("mcpServer/tool/call", "mcpServerStatus/list"):
            with pytest.raises(RpcError, match="thread not found"):
                user.client.request(method, refused)
    deployment = users[0].deployment
    for process in (*deployment.api, *deployment.workers):
        assert not any(process.has_logged(user.canary) for user in users)
    started = [frame for frame in users[0].client.received if "mcpToolCall" not in str(frame)]
    assert users[0].canary not in str(started)


def test_a_hostile_server_sees_its_own_workspace_alone(users: tuple[Tenant, Tenant]) -> None:
    eve, ada = users
    _, folder = start(ada)
    (folder / "secret.txt").write_text(ada.canary)
    home = eve.deployment.home
    paths = [folder / "secret.txt", home / "config.toml", home / "threadhouse.sqlite3", "/proc/1/environ", "server.py"]
    thread_id, _ = start(eve)

    turn_id = begin(
        eve, thread_id, *[("see", {"file": str(path)}) for path in paths], ("see", {"file": "/proc/self/environ"})
    )

    *refused, program, environ = results(eve, thread_id, turn_id)
    assert all("refused: " in one for one in refused[:3])
    assert "THREADHOUSE" not in refused[3]
    assert "A scripted MCP server" in program
    assert eve.canary in environ
    assert "THREADHOUSE" not in environ
    assert ada.canary not in str(refused)


@pytest.mark.parametrize(
    "change",
    [
        {"command": "/bin/sh", "args": ["-c", "cat"]},
        {"args": ["-IS", "server.py"]},
        {"env_vars": ["THREADHOUSE_DATABASE_URL"]},
        {"command": None, "args": None, "env": None, "url": "http://127.0.0.1:1/mcp"},
        {"command": None, "args": None, "env": None, "url": "http://169.254.169.254/mcp", "allow_private": True},
    ],
)
def test_a_server_that_is_not_allowed_is_never_started(users: tuple[Tenant, Tenant], change: dict[str, Any]) -> None:
    eve = users[0]
    wanted = {key: value for key, value in (table(eve) | change).items() if value is not None}

    start_at = len(eve.client.received)
    thread = eve.client.request("thread/start", {"config": {"mcp_servers.own": wanted}})["thread"]
    turn_id = start_turn(eve.client, thread["id"], "[[say Done.]]")

    assert wait_for_end(eve.client, turn_id)["status"] == "completed"
    frames = eve.client.received[start_at:]
    assert any("mcp_servers.own" in frame["params"]["message"] for frame in frames if frame.get("method") == "warning")
    assert not any(frame.get("method") == "mcpServer/startupStatus/updated" for frame in frames)
    edit = {"keyPath": "mcp_servers.own", "value": wanted, "mergeStrategy": "replace"}
    with pytest.raises(RpcError):
        eve.client.request("config/value/write", edit)
