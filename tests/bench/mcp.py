"""Measures what two MCP servers cost a turn: the time to its first text beside that without servers.

    python -m tests.bench.mcp [--rounds 5] [--turns 20]

Four deployments (no servers, servers that are off, programs, addresses) run the same trivial turns alternately. A turn
begins when its servers are warm: the first of each thread is not counted. The exit status is 0 when two servers delay
the first text by at most --limit milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support import mcp_program
from tests.support.deployment import Deployment
from tests.support.mcp_address import McpAddress
from tests.support.turns import run_turn, start_thread, start_turn, wait_for_end

SCRIPT = "[[say Hi.]]"


class Variant:
    """A deployment with its MCP servers. text_ms: times to the first text of a turn, in milliseconds"""

    def __init__(self, name: str, servers: dict[str, dict[str, object]], stack: ExitStack) -> None:
        self.name = name
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="th-bench-")))
        self.deployment = stack.enter_context(Deployment(home, settings={"mcp_servers": servers}))
        self.client = self.deployment.connect()
        self.servers = sum(table.get("enabled", True) for table in servers.values())
        self.text_ms: list[float] = []

    def run_turns(self, count: int) -> None:
        """Run this many turns of a new thread, after one that starts its servers."""
        thread_id = start_thread(self.client)
        assert run_turn(self.client, thread_id, SCRIPT)["status"] == "completed"
        offered = {str(tool.get("name")) for tool in self.deployment.model.requests[-1].body["tools"]}
        assert len({name for name in offered if name.startswith("mcp__")}) == self.servers, offered
        for _ in range(count):
            began, after = time.monotonic(), len(self.client.received)
            turn_id = start_turn(self.client, thread_id, SCRIPT)
            self.client.wait_for_method("item/agentMessage/delta", after=after)
            self.text_ms.append((time.monotonic() - began) * 1000)
            assert wait_for_end(self.client, turn_id)["status"] == "completed"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5, help="Run this many rounds.")
    options.add_argument("--turns", type=int, default=20, help="Run this many turns in a round.")
    options.add_argument("--limit", type=float, default=30, help="Allow this delay, in milliseconds.")
    given = options.parse_args()
    program = {"command": mcp_program.INTERPRETER, "args": [mcp_program.__file__]}
    with ExitStack() as stack:
        addresses = [stack.enter_context(McpAddress()) for _ in range(2)]
        kinds: dict[str, list[dict[str, object]]] = {
            "none": [],
            "off": [{**program, "enabled": False}] * 2,
            "programs": [{**program}] * 2,
            "addresses": [{"url": one.url, "allow_private": True} for one in addresses],
        }
        variants = [
            Variant(name, {f"server{number}": table for number, table in enumerate(tables)}, stack)
            for name, tables in kinds.items()
        ]
        for number in range(given.rounds):
            first = number % len(variants)
            for variant in variants[first:] + variants[:first]:
                variant.run_turns(given.turns)
    medians = {variant.name: statistics.median(variant.text_ms) for variant in variants}
    for name, text_ms in medians.items():
        later = text_ms - medians["none"]
        print(f"{name:10} first text after {text_ms:5.1f} ms, {later:+5.1f} ms, {text_ms / medians['none']:.2f} times")
    late = [name for name, text_ms in medians.items() if text_ms - medians["none"] > given.limit]
    print(f"later than the limit: {', '.join(late)}" if late else "the limit holds")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
