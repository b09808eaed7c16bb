"""serverRequest/list: List what the caller's threads ask, and nobody has answered. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, THREAD_ID, TURN_ID, Example
from api.requests.params import MethodParams
from shared.protocol.items import WireItem

NAME = "serverRequest/list"
MAX_LIMIT = 500


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """How many to return."""

    limit: Annotated[int, validate.Range(1, MAX_LIMIT)] = 100


class WaitingRequest(TypedDict):
    """A server request that waits for an answer.

    id, method, params: as the thread's clients got them; /v2/serverRequest/respond answers it
    name, preview:      of the thread
    item:               what the request is about, such as a patch; null for a question
    askedAtMs:          Unix milliseconds
    """

    id: int
    method: str
    params: Mapping[str, object]
    threadId: str
    turnId: str
    name: str | None
    preview: str
    item: WireItem | None
    askedAtMs: int


@dataclass(frozen=True)
class Result:
    """data: oldest first"""

    data: Sequence[WaitingRequest]


EXAMPLE = Example(
    result={
        "data": [
            {
                "id": 17,
                "method": "item/tool/requestUserInput",
                "params": {"threadId": THREAD_ID, "turnId": TURN_ID, "itemId": "call_1", "questions": []},
                "threadId": THREAD_ID,
                "turnId": TURN_ID,
                "name": "Tidy up",
                "preview": "Tidy up the tests",
                "item": None,
                "askedAtMs": BEGIN_MS,
            }
        ]
    }
)


def handle(ctx: Context, params: Params) -> Result:
    return Result(
        data=[
            {
                "id": one.approval.id,
                "method": one.approval.method,
                "params": one.approval.params,
                "threadId": one.approval.thread_id,
                "turnId": one.approval.turn_id,
                "name": one.name,
                "preview": one.preview,
                "item": one.item,
                "askedAtMs": one.created_at_ms,
            }
            for one in ctx.store.approvals.waiting(ctx.user_id, params.limit)
        ]
    )
