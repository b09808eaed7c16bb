"""Measures the cost of telemetry: turns without it, with a collector, a dead one and one that never answers.

    python -m tests.bench.telemetry [--rounds 5] [--turns 20] [--way binary]

Four deployments run the same turns alternately: trivial turns one after another, and a burst of 2000 deltas. CPU is
that of API and worker over the whole run, with what they send later; all times are medians. The last columns are ratios
to `off`. The exit status is 1 when turns with a dead or a silent collector take more than --limit times as long as
with one that answers (`on`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench.proctree import cpu_rss, tree
from tests.support.deployment import Deployment
from tests.support.otlp_sink import OtlpSink
from tests.support.turns import run_turn, start_thread

VARIANTS = ("off", "on", "dead", "silent")
BURST = "[[say n=2000]]"


def exporters(sink: OtlpSink, way: str = "binary") -> dict[str, object]:
    """Return the table [otel] of a server that exports logs, traces and metrics to this collector."""

    def exporter(kind: str) -> dict[str, object]:
        if way == "grpc":
            return {"otlp-grpc": {"endpoint": sink.grpc_url}}
        return {"otlp-http": {"endpoint": f"{sink.http_url}/v1/{kind}", "protocol": way}}

    return {"exporter": exporter("logs"), "trace_exporter": exporter("traces"), "metrics_exporter": exporter("metrics")}


class Variant:
    def __init__(self, name: str, way: str, stack: ExitStack) -> None:
        self.name = name
        otel: dict[str, object] = {}
        if name != "off":
            sink = stack.enter_context(OtlpSink(mute=name == "silent", keeps=False))
            otel = exporters(sink, way)
            if name == "dead":
                sink.stop()
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="th-bench-")))
        self.deployment = stack.enter_context(Deployment(home, settings={"otel": otel}))
        self.client = self.deployment.connect()
        self.turn_ms: list[float] = []
        self.burst_ms: list[float] = []
        self.trivial_cpu_s = self.burst_cpu_s = 0.0

    def cpu_s(self) -> float:
        roots = [process.pid for process in (*self.deployment.api, *self.deployment.workers)]
        return float(cpu_rss(tree(roots))[0])

    def run_turns(self, script: str, count: int) -> list[float]:
        """Run this many turns. Return the milliseconds of each."""
        took = []
        thread_id = start_thread(self.client)
        for _ in range(count):
            began = time.monotonic()
            assert run_turn(self.client, thread_id, script)["status"] == "completed"
            took.append((time.monotonic() - began) * 1000)
        return took


def measure(variants: list[Variant], rounds: int, part: Callable[[Variant], None]) -> dict[str, float]:
    """Run the part `rounds` times on each variant. Return the CPU seconds of each, with what it sends afterwards."""
    before = {variant.name: variant.cpu_s() for variant in variants}
    for number in range(rounds):
        for variant in variants[number % len(variants) :] + variants[: number % len(variants)]:
            part(variant)
    time.sleep(6)  # the processors send at the latest after five seconds
    return {variant.name: variant.cpu_s() - before[variant.name] for variant in variants}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5, help="Run this many rounds.")
    options.add_argument("--turns", type=int, default=20, help="Run this many trivial turns in a round.")
    options.add_argument(
        "--way", choices=("binary", "json", "grpc"), default="binary", help="Send telemetry in this format."
    )
    options.add_argument("--limit", type=float, default=1.25, help="Allow this ratio to a collector that answers.")
    given = options.parse_args()
    with ExitStack() as stack:
        variants = [Variant(name, given.way, stack) for name in VARIANTS]
        for variant in variants:  # warm-up: code is loaded and connections are opened once
            variant.run_turns("[[say Hello.]]", 3)
            variant.run_turns(BURST, 1)

        trivial = measure(
            variants,
            given.rounds,
            lambda variant: variant.turn_ms.extend(variant.run_turns("[[say Hi.]]", given.turns)),
        )
        bursts = measure(variants, given.rounds, lambda variant: variant.burst_ms.extend(variant.run_turns(BURST, 1)))

        print(f"{given.way}, {given.rounds} rounds of {given.turns} trivial turns, then of one burst of 2000 deltas")
        print(f"{'':8}{'turn ms':>10}{'cpu ms':>10}{'burst ms':>10}{'cpu ms':>10}   ratios to off")
        rows = {
            variant.name: (
                statistics.median(variant.turn_ms),
                trivial[variant.name] * 1000 / len(variant.turn_ms),
                statistics.median(variant.burst_ms),
                bursts[variant.name] * 1000 / len(variant.burst_ms),
            )
            for variant in variants
        }
        for name, row in rows.items():
            ratios = [value / base for value, base in zip(row, rows["off"], strict=True)]
            print(
                f"{name:8}" + "".join(f"{value:10.1f}" for value in row) + "   " + " ".join(f"{r:.2f}" for r in ratios)
            )
        slow = [
            name
            for name in ("dead", "silent")
            for column in (0, 2)
            if rows[name][column] > given.limit * rows["on"][column]
        ]
    if slow:
        print("limit exceeded:", *slow)
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main())
