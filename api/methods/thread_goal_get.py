"""thread/goal/get: what a thread is to reach."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from shared.protocol.base import WireSchema

NAME = "thread/goal/get"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}. Errors: NotFound. Source: PROTOCOL 5.11"""


class Result(WireSchema):
    """goal: ThreadGoal, or null."""

    goal = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return {"goal": ctx.goal(ctx.get_thread(params["thread_id"]))}
