"""thread/backgroundTerminals/list: List the commands of a thread that run on after their turns, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.pages import invalid_cursor, page_size
from api.requests.params import ThreadParams
from shared.ids import is_id

NAME = "thread/backgroundTerminals/list"
PAGE = 100


class BackgroundTerminal(TypedDict):
    """A command that runs on.

    itemId:    of its commandExecution item
    processId: for thread/backgroundTerminals/terminate
    command:   as the model wrote it
    osPid, cpuPercent, rssKb: always null: the command runs in a sandbox on a worker
    """

    itemId: str
    processId: str
    command: str
    cwd: str
    osPid: None
    cpuPercent: None
    rssKb: None


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread.

    cursor: `nextCursor` of the page before
    limit:  1 to 100; by default 100
    Errors: NotFound; InvalidRequest (the cursor)
    Source: PROTOCOL 5.11
    """

    cursor: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Result:
    """The terminals that run."""

    data: Sequence[BackgroundTerminal]
    next_cursor: str | None


EXAMPLE = Example(
    params=ON_THREAD,
    result={
        "data": [
            {
                "itemId": "01a20431-a3c1-7d20-8b11-0a4e5d6f7a8b",
                "processId": "1007",
                "command": "npm run dev",
                "cwd": "/srv/project",
                "osPid": None,
                "cpuPercent": None,
                "rssKb": None,
            }
        ],
        "nextCursor": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    cursor, limit = params.cursor, page_size(params.limit, PAGE)
    if cursor is not None and not is_id(cursor):
        raise invalid_cursor(cursor)
    found = ctx.store.terminals.of_thread(thread.id, ctx.user_id)
    if cursor is not None:
        found = [one for one in found if one.item_id < cursor]
    page: list[BackgroundTerminal] = [
        {
            "itemId": one.item_id,
            "processId": str(one.process_id),
            "command": one.command,
            "cwd": one.cwd,
            "osPid": None,
            "cpuPercent": None,
            "rssKb": None,
        }
        for one in found[:limit]
    ]
    return Result(data=page, next_cursor=page[-1]["itemId"] if len(found) > limit else None)
