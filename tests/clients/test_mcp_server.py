"""The original as an MCP client of `threadhouse mcp-server`: its agent gives work to a thread of ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment
from tests.support.original_server import run_turn
from tests.support.protocol_client import ProtocolClient


def escaped(script: str) -> str:
    """Return a script for our model that the original's model does not take for its own: JSON escapes its brackets."""
    return script.replace("[", "\\u005b").replace("]", "\\u005d")


def test_the_originals_agent_runs_a_thread_of_ours_and_its_user_approves_the_command(
    server: Deployment, original: ProtocolClient, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["params"])
        return {"action": "accept", "content": {}, "_meta": None}

    original.answer = answer
    table = {
        "command": sys.executable,
        "args": ["-P", "-m", "api.cli", "mcp-server"],
        "env": {**server.environ, "THREADHOUSE_URL": server.urls[0]},
    }
    started = original.request("thread/start", {"config": {"mcp_servers": {"threadhouse": table}}})
    original.wait_for(
        lambda frame: frame.get("method") == "mcpServer/startupStatus/updated" and frame["params"]["status"] == "ready"
    )
    given = {"prompt": "@", "cwd": str(tmp_path), "approval-policy": "untrusted"}
    arguments = json.dumps(given).replace("@", escaped("[[run touch made]] [[say Made it.]]"))

    events = run_turn(original, started["thread"]["id"], f"[[tool mcp__threadhouse::codex {arguments}]] [[say Done.]]")

    calls = [
        event["params"]["item"]
        for event in events
        if event["method"] == "item/completed" and event["params"]["item"]["type"] == "mcpToolCall"
    ]
    assert [call["status"] for call in calls] == ["completed"]
    assert calls[0]["result"]["structuredContent"]["content"] == "Made it."
    assert (tmp_path / "made").exists()
    assert 'run tool "codex"' in asked[0]["message"]
    assert asked[1]["message"].endswith("touch made'")
    assert list(asked[1]["requestedSchema"]["properties"]) == ["decision"]
