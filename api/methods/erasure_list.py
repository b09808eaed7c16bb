"""erasure/list: List receipts of what was erased. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, cast

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, ERASURE_ID, THREAD_ID, Example
from api.requests.params import MethodParams
from shared.store.erasures import Erasure

NAME = "erasure/list"
LIMIT = 25
MAX_LIMIT = 100

Cause = Literal["thread/delete", "retention"]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which page to return.

    cursor: `nextCursor` of the page before
    """

    cursor: Annotated[str, validate.Length(max=100)] | None = None
    limit: Annotated[int, validate.Range(1, MAX_LIMIT)] = LIMIT


class ErasureReceipt(TypedDict):
    """One erased thread. Times are Unix milliseconds.

    doneAtMs: null while something is left to erase
    receipt: name of a store → how many of its entries were erased
    """

    id: str
    threadId: str
    cause: Cause
    requestedAtMs: int
    doneAtMs: int | None
    receipt: Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """data: newest first"""

    data: Sequence[ErasureReceipt]
    next_cursor: str | None


EXAMPLE = Example(
    result={
        "data": [
            {
                "id": ERASURE_ID,
                "threadId": THREAD_ID,
                "cause": "thread/delete",
                "requestedAtMs": BEGIN_MS,
                "doneAtMs": END_MS,
                "receipt": {"items": 12, "workspaces": 1},
            }
        ],
        "nextCursor": None,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    found = ctx.store.erasures.page(ctx.user_id, after_id=params.cursor, limit=params.limit + 1)
    page = found[: params.limit]
    return Result(
        data=[_receipt(erasure) for erasure in page], next_cursor=page[-1].id if len(found) > params.limit else None
    )


def _receipt(erasure: Erasure) -> ErasureReceipt:
    return {
        "id": erasure.id,
        "threadId": erasure.subject_id,
        "cause": cast(Cause, erasure.cause),
        "requestedAtMs": erasure.requested_at_ms,
        "doneAtMs": erasure.done_at_ms,
        "receipt": erasure.receipt,
    }
