"""thread/backgroundTerminals/terminate: End a command that runs on after its turn."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams

NAME = "thread/backgroundTerminals/terminate"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The command. Its item/completed follows when the command has ended.

    process_id: of thread/backgroundTerminals/list
    Errors: NotFound (the thread)
    Source: PROTOCOL 5.11
    """

    process_id: str


@dataclass(frozen=True)
class Result:
    """terminated: false when no such command runs, or somebody has already asked to end it"""

    terminated: bool


EXAMPLE = Example(params={**ON_THREAD, "processId": "1007"}, result={"terminated": True})


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    number = params.process_id
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        return Result(terminated=False)
    return Result(terminated=ctx.stop_terminals(thread.id, int(number)))
