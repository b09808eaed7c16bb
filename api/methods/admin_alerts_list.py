"""admin/alerts/list: List what is and was wrong in the last 24 h. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, Example
from api.requests.params import NoParams
from shared import alerts

NAME = "admin/alerts/list"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params. The audit log has no entry of it: a console asks every few seconds, and gets nothing of users.

    Errors: Forbidden
    """


class AlertObject(TypedDict):
    """One alert. Times are Unix milliseconds.

    name:    as of deploy/prometheus/alerts.yml, whose alerts these are, as far as the database and Redis know them
    untilMs: null: it holds now
    next:    what to do
    doc:     the heading that says more
    """

    name: str
    severity: alerts.Severity
    message: str
    sinceMs: int
    untilMs: int | None
    next: str
    doc: str


@dataclass(frozen=True)
class Result:
    """What holds now, and then what has ended, the latest first; at most 500.

    watched_at_ms: when a worker or the scheduler looked last, some seconds ago; null: none ever did
    """

    watched_at_ms: int | None
    data: Sequence[AlertObject]


EXAMPLE = Example(
    result={
        "watchedAtMs": END_MS,
        "data": [
            {
                "name": "ThreadhouseNoScheduler",
                "severity": "critical",
                "message": "none runs: start `threadhouse beat`, or nothing old is removed",
                "sinceMs": BEGIN_MS,
                "untilMs": None,
                "next": "Start `threadhouse beat`.",
                "doc": "docs/OPERATIONS.md#threadhousenoscheduler",
            }
        ],
    }
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    shown: list[AlertObject] = []
    for one in alerts.of_day(ctx.store):
        kind = alerts.KINDS[one.name]
        shown.append(
            {
                "name": one.name,
                "severity": kind.severity,
                "message": one.message,
                "sinceMs": one.since_ms,
                "untilMs": one.until_ms,
                "next": kind.next,
                "doc": f"docs/OPERATIONS.md#{one.name.lower()}",
            }
        )
    return Result(watched_at_ms=ctx.store.alerts.watched_at_ms(), data=shown)
