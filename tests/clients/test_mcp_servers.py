"""Servers that others wrote, over stdio and HTTP: the reference servers of the protocol's project."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import run_turn, start_thread, stored_turn
from tests.support.wait import until

PACKAGES = Path(__file__).parents[2] / "node_modules" / "@modelcontextprotocol"
EVERYTHING = PACKAGES / "server-everything" / "dist" / "index.js"
FILES = PACKAGES / "server-filesystem" / "dist" / "index.js"
NODE = shutil.which("node")
# A sandbox has a /tmp of its own, in which it does not find the servers of a checkout that is in /tmp.
SANDBOX = "danger-full-access" if PACKAGES.resolve().is_relative_to("/tmp") else "workspace-write"
pytestmark = pytest.mark.skipif(NODE is None or not FILES.exists(), reason="no reference servers (npm install)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server"), server=STEADY) as deployment:
        yield deployment


@pytest.fixture
def client(server: Deployment) -> Iterator[ProtocolClient]:
    with logs_shown_on_failure(server):
        yield server.connect()


def call(server: str, tool: str, **arguments: Any) -> str:
    return f"[[tool mcp__{server}::{tool} {json.dumps(arguments)}]]"


def run(client: ProtocolClient, table: dict[str, Any], script: str, **params: Any) -> list[dict[str, Any]]:
    """Run a turn of a thread with one server, `x`. Return its items of calls."""
    settings = {"required": True, "startup_timeout_sec": 60, "default_tools_approval_mode": "approve"}
    thread_id = start_thread(
        client, config={"mcp_servers": {"x": {**settings, **table}}}, **{"sandbox": SANDBOX, **params}
    )
    turn = run_turn(client, thread_id, script + "[[say Done.]]")
    assert turn["status"] == "completed", turn["error"]
    return [item for item in stored_turn(client, thread_id, turn["id"])["items"] if item["type"] == "mcpToolCall"]


def text(item: dict[str, Any]) -> str:
    assert item["status"] == "completed", item
    return str(item["result"]["content"][0]["text"])


def test_the_server_of_everything_answers(client: ProtocolClient) -> None:
    script = call("x", "echo", message="hello") + call("x", "get_sum", a=2, b=3) + call("x", "get_tiny_image")

    echo, added, image = run(client, {"command": NODE, "args": [str(EVERYTHING)]}, script)

    assert text(echo) == "Echo: hello"
    assert "5" in text(added)
    assert "image" in [one["type"] for one in image["result"]["content"]]


def test_the_server_of_everything_answers_over_http(client: ProtocolClient, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = subprocess.Popen(
        [str(NODE), str(EVERYTHING), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        table = {"url": f"http://127.0.0.1:{port}/mcp", "allow_private": True}
        (echo,) = run(client, table, call("x", "echo", message="hello"))
    finally:
        started.kill()
        started.wait()

    assert text(echo) == "Echo: hello"


def test_the_server_of_files_is_held_by_the_sandbox(client: ProtocolClient, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "note.txt").write_text("remember")
    script = call("x", "read_text_file", path=str(folder / "note.txt")) + call(
        "x", "write_file", path=str(folder / "new.txt"), content="made"
    )
    table = {"command": NODE, "args": [str(FILES), str(folder)]}

    read, written = run(client, table, script, cwd=str(folder))
    assert text(read) == "remember"
    assert written["status"] == "completed"
    assert (folder / "new.txt").read_text() == "made"
    if SANDBOX == "danger-full-access":
        pytest.skip("the checkout is in /tmp, where no sandbox finds the server")
    read_only = run(client, table, script.replace("new.txt", "other.txt"), cwd=str(folder), sandbox="read-only")

    assert [one["status"] for one in read_only] == ["completed", "failed"]
    assert not (folder / "other.txt").exists()


def test_servers_in_python_answer(client: ProtocolClient, tmp_path: Path) -> None:
    pytest.importorskip("mcp_server_time")
    pytest.importorskip("mcp_server_git")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "new").touch()
    time_table = {"command": sys.executable, "args": ["-m", "mcp_server_time"]}
    git_table = {"command": sys.executable, "args": ["-m", "mcp_server_git"]}

    (time,) = run(client, time_table, call("x", "get_current_time", timezone="UTC"))
    (status,) = run(client, git_table, call("x", "git_status", repo_path=str(tmp_path)), cwd=str(tmp_path))

    assert json.loads(text(time))["timezone"] == "UTC"
    assert "new" in text(status)
