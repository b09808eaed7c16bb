"""The third-party SDK over WebSocket. It runs in another Python, because it needs 3.12 or newer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, clean_environ, logs_shown_on_failure

PYTHON = Path(__file__).parents[2] / ".venv" / "third-party" / "bin" / "python"
SCENARIO = Path(__file__).with_name("third_party_scenario.py")


def test_the_third_party_sdk_completes_its_scenario(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("codex-app-server-sdk is not installed (`make clients` does it where there is a Python 3.12)")
    with Deployment(tmp_path) as server, logs_shown_on_failure(server):
        command = [str(PYTHON), str(SCENARIO), server.urls[0].replace("http", "ws", 1)]
        done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "run": ["Hello there.", "item_completed"],
        "second turn": "You said: And again?",
        "steps": ["userMessage", "commandExecution", "agentMessage"],
        "fork": [True, "You said: a branch"],
        "steer": "Right.",
        "interrupt": [True, False],
        "schema": {"answer": "forty-two"},
        "declined": ["declined"],
        "accepted": ["completed"],
        "list": [["the blue one", "[[say Hello there.]]"]],
        "models": True,
        "resume": "Still here.",
        "turns": 5,
        "rollback": 4,
    }
    texts = [item["content"][0]["text"] for item in server.model.requests[1].body["input"] if item.get("content")]
    assert "[[say Hello there.]]" in texts
