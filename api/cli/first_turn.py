"""The first turn of a fresh server: over its own HTTP door, with a command that really runs, shown as it streams."""

from __future__ import annotations

from collections.abc import Callable

from api.cli.client import Client
from shared.errors import Unavailable

PROMPT = '$ uname -sr && echo "a real command, in the sandbox"'


def run(client: Client, write: Callable[[str], None]) -> None:
    """Run it; `write` gets text as it arrives. Errors: Unavailable, when the turn or its command failed; Client's."""
    thread_id = client.call("thread/start", {"approvalPolicy": "never"})["thread"]["id"]
    write(f"first turn, on thread {thread_id}\n> {PROMPT}\n")
    succeeded: list[str] = []
    for event in client.stream("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": PROMPT}]}):
        params = event.data.get("params", {})
        match event.name:
            case "item/commandExecution/outputDelta" | "item/agentMessage/delta":
                write(params["delta"])
            case "item/completed" if params["item"]["type"] == "agentMessage":
                write("\n")
            case "item/completed" if params["item"]["type"] == "commandExecution":
                if params["item"]["status"] != "completed":
                    raise Unavailable(f"the first turn's command failed: {params['item']['aggregatedOutput']}")
                succeeded.append(params["item"]["command"])
            case "turn/completed":
                if params["turn"]["status"] != "completed":
                    raise Unavailable(f"the first turn ended {params['turn']['status']}: {params['turn']['error']}")
                if not succeeded:
                    raise Unavailable("the first turn ran no command: the model did not ask for one")
                return
    raise Unavailable("the first turn's stream ended before the turn did")
