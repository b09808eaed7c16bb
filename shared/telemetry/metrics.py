"""The list of all metrics: each name is declared here and nowhere else, and docs/METRICS.md is made from it.

A name is the same for OTLP and, with `_` for `.` and `_total` behind counters, for Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

MAX_SERIES = 500  # combinations of attributes of one metric in one process
MAX_VALUE_CHARACTERS = 100
OTHER = "other"  # every attribute of a combination beyond that
BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000)

STATUSES = ("completed", "interrupted", "failed")
STATES = ("queued", "running", "parked")
WORKER_STATES = ("ready", "draining", "broken", "lost")
WAITS = ("queue", "claim", "limit", "noWorker")
MESSAGES = ("pending", "dead")
LIMITS = ("requests_per_minute", "connections", "threads", "stored_bytes", "tokens_per_day", "tokens_per_month")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    attributes: name → all its values; () for those that are not known before
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    description: str
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def prometheus_name(self) -> str:
        return self.name.replace(".", "_") + ("_total" if self.kind == "counter" else "")

    @property
    def known_combinations(self) -> Iterator[dict[str, str]]:
        """All combinations of attributes; none if an attribute may have any value."""
        return (dict(zip(self.attributes, values, strict=True)) for values in product(*self.attributes.values()))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        # Of the whole deployment (api/cli/deployment_metrics.py).
        Metric("threadhouse.turns", "gauge", "Turns that are not done.", {"state": STATES}),
        Metric("threadhouse.turns.age_ms", "gauge", "How long the oldest of them is in its state.", {"state": STATES}),
        Metric("threadhouse.turns.waiting", "gauge", "Queued turns by the reason why they wait.", {"cause": WAITS}),
        Metric("threadhouse.turns.waiting.age_ms", "gauge", "How long the first of them waits.", {"cause": WAITS}),
        Metric("threadhouse.workers", "gauge", "Worker processes.", {"state": WORKER_STATES}),
        Metric("threadhouse.workers.serving", "gauge", "Worker processes that take tasks of a queue.", {"queue": ()}),
        Metric("threadhouse.workers.slots", "gauge", "Turns that the workers which take turns can run at once."),
        Metric("threadhouse.outbox", "gauge", "Messages for webhooks and notify, not delivered.", {"state": MESSAGES}),
        Metric("threadhouse.outbox.age_ms", "gauge", "How long ago the oldest pending message was added."),
        # Of API processes.
        Metric("threadhouse.connections", "gauge", "WebSockets and event streams that are open."),
        Metric(
            "threadhouse.requests",
            "counter",
            "Requests to methods; failed: by a fault of the server.",
            {"method": (), "outcome": ("ok", "refused", "failed")},
        ),
        Metric("threadhouse.requests.duration_ms", "histogram", "Time of a request.", {"method": ()}),
        Metric("threadhouse.relay.lag_ms", "histogram", "Time from the publication of an event to its API process."),
        Metric("codex.thread.started", "counter", "Threads that clients started.", {"model": ()}),
        # Of API processes and workers.
        Metric("threadhouse.limit.refused", "counter", "Requests and turns beyond a limit.", {"limit": LIMITS}),
        Metric(
            "threadhouse.turn.moves",
            "counter",
            "Moves of turns; recovered: queued again after a worker was lost.",
            {"to": ("claimed", "parked", "recovered", "lost", *STATUSES)},
        ),
        Metric("codex.conversation.turn.count", "counter", "Turns that ended.", {"status": STATUSES}),
        Metric("codex.turn.e2e_duration_ms", "histogram", "Time from a turn's input to its end.", {"status": STATUSES}),
        # Of workers.
        Metric("threadhouse.turn.queue_age_ms", "histogram", "Time from a turn's input to its first claim."),
        Metric("threadhouse.lease.lost", "counter", "Turns that a live worker lost, because it was silent."),
        Metric("codex.turn.ttft.duration_ms", "histogram", "Time from a turn's input to its first text."),
        Metric(
            "codex.turn.token_usage",
            "counter",
            "Tokens as models count them; input includes cached, output includes reasoning, tool is the sum.",
            {"token_type": ("input", "output", "cached", "cache_write", "reasoning", "tool"), "model": ()},
        ),
        Metric(
            "codex.api_request",
            "counter",
            "Requests to model servers.",
            {"status": (), "success": ("true", "false")},
        ),
        Metric(
            "codex.api_request.duration_ms",
            "histogram",
            "Time until a model server began to answer.",
            {"status": (), "success": ("true", "false")},
        ),
        Metric("codex.sse_event", "counter", "Events of model streams.", {"kind": (), "success": ("true", "false")}),
        Metric("codex.tool.call", "counter", "Tool calls that ended.", {"tool": (), "success": ("true", "false")}),
        Metric("codex.tool.call.duration_ms", "histogram", "Time of a tool call.", {"tool": (), "success": ()}),
        Metric("codex.approval.requested", "counter", "Decisions of people.", {"tool": (), "approved": ()}),
    )
}


def document() -> str:
    """Return docs/METRICS.md."""
    lines = [
        "# Metrics",
        "",
        "`shared/telemetry/metrics.py` declares each of them; this page is made from it:",
        "`.venv/bin/python -m shared.telemetry.metrics > docs/METRICS.md`. `docs/TELEMETRY.md` says how to get them.",
        "The first nine are of the whole deployment, measured by the scheduler; the others are of one process each.",
        "Names end in the unit where there is one: `ms` are milliseconds. In Prometheus a histogram has the suffixes",
        "`_bucket`, `_sum` and `_count`.",
        "",
        "| name over OTLP | name in Prometheus | kind | attributes | what it is |",
        "|---|---|---|---|---|",
    ]
    for one in METRICS.values():
        words = ", ".join(
            f"`{name}`" + (f" ({', '.join(values)})" if values else "") for name, values in one.attributes.items()
        )
        lines.append(f"| `{one.name}` | `{one.prometheus_name}` | {one.kind} | {words} | {one.description} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(document(), end="")
