"""The Codex TUI and MCP servers: /mcp, and the questions before a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import mcp_program, originals
from tests.support.deployment import Deployment
from tests.support.tui import Tui

QUESTION = r'Allow the demo MCP server to run tool "write"\?'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server"), settings={"approval_policy": "on-request"}) as deployment:
        table = {"command": mcp_program.INTERPRETER, "args": mcp_program.arguments(), "required": True}
        edit = {"keyPath": "mcp_servers.demo", "value": table, "mergeStrategy": "replace"}
        deployment.connect().request("config/value/write", edit)
        yield deployment


@pytest.fixture(params=originals.VERSIONS)
def tui(request: pytest.FixtureRequest, server: Deployment, tmp_path: Path) -> Iterator[Tui]:
    program = originals.VERSIONS[request.param]
    originals.require(program, "node", "tmux")
    url = server.urls[0].replace("http", "ws", 1)
    with Tui(program, tmp_path, "--sandbox", "workspace-write", "--remote", url) as started:
        started.wait_until_ready()
        yield started


def test_servers_are_listed_and_a_call_runs_once_it_is_allowed(tui: Tui) -> None:
    tui.submit("/mcp")
    tui.wait_for(r"demo: connected \(\d+ tools\)")

    tui.submit('[[tool mcp__demo::write {"text": "a"}]] [[say Thanks.]]')
    tui.wait_for(QUESTION)
    tui.press("Enter")

    tui.wait_for(r"Thanks\.")
    tui.wait_for(r"Called demo\.write")
