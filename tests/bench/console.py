"""How the web console holds while models write: frame times, and the memory of its pages.

    make console-load                                           # ten threads, 50 deltas/s each, ten minutes
    .venv/bin/python -m tests.bench.console --seconds 60 --threads 1

Each thread is open in a page of its own (Chromium, a context each), and its turns follow one another. A frame's time is
the distance of two animation frames; memory is the JavaScript heap after a collection.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.console import browser
from tests.support import postgres
from tests.support.deployment import STEADY, Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import run_turn, start_thread

TURN_SECONDS = 10
LONGEST_FRAME_MS = 50  # at p95
WARM_UP = 2  # samples, 40 s: until the browser has compiled what the page needs
GROWTH = 1.25  # of a page's heap from then on: its turns are there, and nothing else


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=10)
    parser.add_argument("--deltas", type=int, default=50, help="a second, in each thread")
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    if missing := browser.missing():
        print(missing)
        return 1
    run = postgres.Run()
    postgres.join_run(run.folder)
    try:
        with (
            tempfile.TemporaryDirectory() as home,
            Deployment(Path(home), "postgres", workers=2, server=STEADY) as server,
        ):
            measured = measure(server, options.threads, options.deltas, options.seconds)
    finally:
        run.end()
    return report(measured)


def measure(server: Deployment, threads: int, deltas: int, seconds: int) -> dict[str, Any]:
    """Return {"heaps": [[MiB of each page]], "frames": [[ms]], "items": [of each page]}, a sample every 20 s."""
    _, key = server.add_user("ada")
    # What the driver does not read costs the machine nothing.
    quiet = {"optOutNotificationMethods": ["item/agentMessage/delta"]}
    clients = [server.connect(token=key, **quiet) for _ in range(threads)]
    opened = [(client, start_thread(client)) for client in clients]
    stopped = threading.Event()
    script = f"[[say n={deltas * TURN_SECONDS} delay_ms={1000 // deltas}]]"

    def run_turns(client: ProtocolClient, thread_id: str) -> None:
        while not stopped.is_set():
            run_turn(client, thread_id, script)

    writers = [threading.Thread(target=run_turns, args=one, daemon=True) for one in opened]

    def begin() -> None:
        for writer in writers:
            writer.start()

    ids = [thread_id for _, thread_id in opened]
    given = {"url": server.urls[0], "keys": {"ada": key}, "threads": ids, "seconds": seconds}
    try:
        return browser.tell("load", given, {"begin": begin})
    finally:
        stopped.set()
        for writer in writers:
            writer.join(timeout=3 * TURN_SECONDS)


def report(measured: dict[str, Any]) -> int:
    """Print what was measured. Return 0 if it is within the limits."""
    heaps = measured["heaps"]
    for number, (heap, frames) in enumerate(zip(heaps, measured["frames"], strict=True)):
        print(f"sample {number:3}: heap a page {statistics.median(heap):5.1f} MiB, {percentiles(frames)}")
    every = [frame for frames in measured["frames"] for frame in frames]
    warm = heaps[min(WARM_UP, len(heaps) - 1)]
    growth = max(last / first for first, last in zip(warm, heaps[-1], strict=True))
    grown = f"heap of a page grew by at most {growth:.2f} since it was warm"
    print(f"all: {percentiles(every)}; {grown}; items {min(measured['items'])}")
    held = percentile(every, 95) <= LONGEST_FRAME_MS and growth <= GROWTH
    print("the limits hold" if held else f"limits: frames {LONGEST_FRAME_MS} ms at p95, growth {GROWTH}")
    return 0 if held else 1


def percentiles(frames: list[float]) -> str:
    return f"{len(frames)} frames, p50 {percentile(frames, 50):.0f}, p95 {percentile(frames, 95):.0f} ms"


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


if __name__ == "__main__":
    sys.exit(main())
