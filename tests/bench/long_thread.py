"""How the web console shows a thread of 10 000 items: opening it, scrolling up to its beginning, and back to its end.

    make console-long                                                    # in one turn, in 20 and in 500
    .venv/bin/python -m tests.bench.long_thread --items 1000 --turns 20

A frame's time is the distance of two animation frames; memory is the JavaScript heap after a collection, when all items
are loaded. A jump is a move of what is on the screen that nobody has scrolled, as Chromium counts it (layout shift).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from shared.ids import new_id
from shared.store.items import Item
from shared.store.items import append as append_items
from shared.store.tables import turns
from tests.bench.console import LONGEST_FRAME_MS, percentile, percentiles
from tests.console import browser
from tests.support.deployment import Deployment
from tests.support.turns import run_turn, start_thread

OPEN_MS = 2000
MOST_SHIFT = 0.1  # the sum of Chromium's layout shifts that a page may have, as in Core Web Vitals
HEAP_MIB = 60
FIRST_MS = 1_700_000_000_000
PROSE = """\
## What I found, step {n}

The parser **loses a line** when `read_until` gets an empty chunk:

- the buffer is replaced, not extended
- `flush()` is called twice, see [the docs](https://example.com/{n})

```python
def read_until(self, mark: bytes) -> bytes:
    while mark not in self.buffer:
        self.buffer += self.read()
    return self.buffer
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 20, 500])
    options = parser.parse_args()
    if missing := browser.missing():
        print(missing)
        return 1
    with tempfile.TemporaryDirectory() as home, Deployment(Path(home)) as server:
        return max([measure(server, options.items, count) for count in options.turns])


def measure(server: Deployment, items: int, turn_count: int) -> int:
    """Print how the console shows a thread. Return 0 if it is within the limits."""
    user, key = server.add_user(f"ada{turn_count}")
    client = server.connect(token=key)
    thread_id = start_thread(client)
    run_turn(client, thread_id, "[[say The first answer.]]")
    fill(server, thread_id, user, items, turn_count)
    given = {"url": server.urls[0], "keys": {"ada": key}, "thread": thread_id}
    found = browser.tell("long", given | {"pictures": os.environ.get("THREADHOUSE_PICTURES", "")}, {})
    print(f"{items} items in {turn_count} turns: open in {found['openMs']:.0f} ms")
    print(f"  up:   {percentiles(found['up'])}, longest {max(found['up']):.0f} ms")
    print(f"  down: {percentiles(found['down'])}, longest {max(found['down']):.0f} ms, all items loaded")
    print(f"  heap {found['heap']:.0f} MiB, {found['elements']} elements, jumps {found['shift']:.2f}")
    print(f"  to the latest in {found['latestMs']:.0f} ms")
    held = (
        found["openMs"] <= OPEN_MS
        and max(percentile(found[way], 95) for way in ("up", "down")) <= LONGEST_FRAME_MS
        and found["shift"] <= MOST_SHIFT
        and found["heap"] <= HEAP_MIB
    )
    limits = f"{OPEN_MS} ms to open, {LONGEST_FRAME_MS} ms a frame at p95, jumps {MOST_SHIFT}, {HEAP_MIB} MiB"
    print("  the limits hold" if held else f"  limits: {limits}")
    return 0 if held else 1


def fill(server: Deployment, thread_id: str, owner: str, count: int, turn_count: int) -> None:
    """Store so many items of a thread, in so many turns behind its first one."""
    log: list[Item] = []
    rows: list[dict[str, Any]] = []
    for number in range(count):
        at_ms = FIRST_MS + number
        begins = number * turn_count // count >= len(rows)
        if begins:
            times = dict.fromkeys(("created_at_ms", "queued_at_ms", "started_at_ms", "completed_at_ms"), at_ms)
            done = {"phase": "done", "status": "completed", "options": {}, "published_state": 2}
            rows.append({"id": new_id(), "thread_id": thread_id, "owner": owner, **done, **times})
        kind, item = user_message(number) if begins else KINDS[number % len(KINDS)](number)
        log.append(
            Item(
                id=new_id(),
                thread_id=thread_id,
                turn_id=rows[-1]["id"],
                position=1000 + number,
                kind=kind,
                item=item,
                started_at_ms=at_ms,
                completed_at_ms=at_ms,
                published_state=2,
            )
        )
    with server.store.database.write() as connection:
        connection.execute(insert(turns), rows)
        append_items(connection, log)


def user_message(number: int) -> tuple[str, dict[str, Any]]:
    return "userMessage", {"content": [{"type": "text", "text": f"item {number}: go on", "text_elements": []}]}


def agent_message(number: int) -> tuple[str, dict[str, Any]]:
    return "agentMessage", {"text": f"item {number}\n\n{PROSE.replace('{n}', str(number))}", "phase": None}


def command(number: int) -> tuple[str, dict[str, Any]]:
    output = "".join(f"\x1b[32mPASSED\x1b[0m tests/test_{number}.py::test_case_{line}\n" for line in range(number % 40))
    failed = number % 3 == 0  # those are open
    return "commandExecution", {
        "command": f"/bin/sh -c 'pytest -v tests/test_{number}.py'",
        "cwd": "/srv/project",
        "processId": "1",
        "source": "agent",
        "status": "failed" if failed else "completed",
        "commandActions": [],
        "aggregatedOutput": output,
        "exitCode": int(failed),
        "durationMs": 1200,
        "pluginId": None,
        "scriptPath": None,
    }


def patch(number: int) -> tuple[str, dict[str, Any]]:
    lines = "".join(
        f"-    old_{line} = {number}\n+    new_{line} = {number}\n     same\n" for line in range(number % 12 + 1)
    )
    size = 2 * (number % 12 + 1)
    change = {
        "path": f"/srv/project/src/module_{number}.py",
        "kind": {"type": "update", "move_path": None},
        "diff": f"@@ -1,{size} +1,{size} @@\n{lines}",
    }
    return "fileChange", {"changes": [change], "status": "completed"}


KINDS = (agent_message, command, patch)


if __name__ == "__main__":
    sys.exit(main())
