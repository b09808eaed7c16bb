"""What hostile MCP servers and models ask a user, in a real browser against a server that asks nobody to sign in."""

from __future__ import annotations

from pathlib import Path

from tests.console import browser
from tests.support import mcp_program
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure


def test_what_is_asked_is_seen_before_it_is_answered(tmp_path: Path) -> None:
    program = {"command": mcp_program.INTERPRETER, "args": mcp_program.arguments(), "required": True}
    with Deployment(tmp_path, server=STEADY) as deployment, logs_shown_on_failure(deployment):
        browser.tell("requests", {"url": deployment.urls[0], "config": {"mcp_servers": {"demo": program}}}, {})
