"""serverRequest/list: List what the caller's threads ask, or who has answered. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, THREAD_ID, TURN_ID, Example
from api.requests.params import MethodParams
from shared.protocol.items import WireItem
from shared.store.approvals import Waiting, decision_word

NAME = "serverRequest/list"
MAX_LIMIT = 500


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which to return.

    state: "pending": nobody has answered; "answered": somebody has, or the time was over; the last one comes first
    """

    state: Literal["pending", "answered"] = "pending"
    limit: Annotated[int, validate.Range(1, MAX_LIMIT)] = 100


class AnswerObject(TypedDict):
    """An answer. Who sent it is the caller: other users cannot.

    decision: in one word, such as "accept", "acceptForSession", "decline", or "answered" to a question
    atMs:     Unix milliseconds
    via:      "websocket" or "http"; "timeout": nobody answered in time; null: not recorded
    keyName:  of the API key, or of the one with which a browser has signed in; null: there was none, or it is deleted
    """

    decision: str
    atMs: int
    via: str | None
    keyName: str | None


class WaitingRequest(TypedDict):
    """A server request.

    id, method, params: as the thread's clients got them; /v2/serverRequest/respond answers it
    name, preview:      of the thread
    item:               what the request is about, such as a patch; null for a question
    askedAtMs:          Unix milliseconds
    expiresAtMs:        when it counts as declined, if nobody answers; Unix milliseconds
    answer:             null: it waits for one
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
    expiresAtMs: int
    answer: AnswerObject | None


@dataclass(frozen=True)
class Result:
    """data: those that wait: the oldest first"""

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
                "expiresAtMs": BEGIN_MS + 604_800_000,
                "answer": None,
            }
        ]
    }
)


def handle(ctx: Context, params: Params) -> Result:
    find = ctx.store.approvals.waiting if params.state == "pending" else ctx.store.approvals.answered
    return Result(data=[_object(one) for one in find(ctx.user_id, params.limit)])


def _object(one: Waiting) -> WaitingRequest:
    return {
        "id": one.approval.id,
        "method": one.approval.method,
        "params": one.approval.params,
        "threadId": one.approval.thread_id,
        "turnId": one.approval.turn_id,
        "name": one.name,
        "preview": one.preview,
        "item": one.item,
        "askedAtMs": one.created_at_ms,
        "expiresAtMs": one.expires_at_ms,
        "answer": _answer(one),
    }


def _answer(one: Waiting) -> AnswerObject | None:
    answered = one.answered
    if answered is None:
        return None
    decision = decision_word(one.approval.answer or {})
    return {"decision": decision, "atMs": answered.at_ms, "via": answered.via, "keyName": answered.key}
