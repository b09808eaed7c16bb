"""The first turn of a fresh server: over its HTTP API, with a real command, printed while it streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.cli.client import Client
from shared.errors import Unavailable

PROMPT = '$ uname -sr && echo "a real command, in the sandbox"'


def run(client: Client, write: Callable[[str], None]) -> None:
    """Run the turn, and pass text to `write` as it arrives.

    Errors: Unavailable (the turn or its command failed); those of Client
    """
    thread_id = client.call("thread/start", {"approvalPolicy": "never"})["thread"]["id"]
    write(f"first turn, on thread {thread_id}\n> {PROMPT}\n")
    completed_commands: list[str] = []
    for event in client.stream("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": PROMPT}]}):
        params: Any = event.data.get("params", {})
        match event.name:
            case "item/commandExecution/outputDelta" | "item/agentMessage/delta":
                write(params["delta"])
            case "item/completed" if params["item"]["type"] == "agentMessage":
                write("\n")
            case "item/completed" if params["item"]["type"] == "commandExecution":
                if params["item"]["status"] != "completed":
                    raise Unavailable(f"the first turn's command failed: {params['item']['aggregatedOutput']}")
                completed_commands.append(params["item"]["command"])
            case "turn/completed":
                if params["turn"]["status"] != "completed":
                    raise Unavailable(f"the first turn ended {params['turn']['status']}: {params['turn']['error']}")
                if not completed_commands:
                    raise Unavailable("the first turn ran no command: the model called no tool")
                return
    raise Unavailable("the first turn's stream ended before the turn did")
