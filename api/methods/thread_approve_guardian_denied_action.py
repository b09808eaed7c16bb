"""thread/approveGuardianDeniedAction: Approve an action that the automatic reviewer has denied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared.errors import InvalidRequest
from shared.ids import is_id
from shared.protocol.auto_review import APPROVED_OPENING, SOURCES, snake_action
from shared.protocol.model_items import text_message

NAME = "thread/approveGuardianDeniedAction"
INVALID = "invalid Guardian denial event: "


class DenialEvent(TypedDict):
    """The denial, as in item/autoApprovalReview/completed, with its names in snake_case.

    id: the reviewId; target_item_id: the targetItemId
    """

    id: str
    target_item_id: str
    status: str
    action: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The model reads that the user has approved exactly this action. Nothing runs now: when the model tries it again,
    it is reviewed again, by a reviewer that reads the approval too.

    event:  what was denied; the action that counts is the one that this server has stored
    Errors: InvalidRequest (no such denial); NotFound; Conflict (a turn is active)
    Source: BEHAVIOUR-171 10
    """

    event: Annotated[dict[str, Any], DenialEvent]


Result = Empty
EXAMPLE = Example(
    params={
        **ON_THREAD,
        "event": {
            "id": "398d0859-a220-4a3b-97bd-26278ff05c4a",
            "target_item_id": "01a220ff-68a4-75c2-8684-5e25880edb67",
            "status": "denied",
            "action": {"type": "command", "source": "unified_exec", "command": "make install", "cwd": "/src"},
        },
    }
)


def handle(ctx: Context, params: Params) -> Result:
    event = params.event
    action, item_id = event.get("action"), event.get("target_item_id")
    source = action.get("source") if isinstance(action, dict) else None
    if source is not None and source not in SOURCES.values():
        raise InvalidRequest(f"{INVALID}unknown variant `{str(source)[:80]}`, expected `shell` or `unified_exec`")
    ctx.store.threads.get(params.thread_id, ctx.user_id)
    known = isinstance(item_id, str) and is_id(item_id)
    denied = ctx.store.approvals.find_review(str(item_id), params.thread_id, ctx.user_id) if known else None
    if denied is None or denied.params["reviewId"] != event.get("id") or denied.decision == "accept":
        raise InvalidRequest(f"{INVALID}this thread has no review with this id that denied an action")
    stored: Any = denied.params["action"]
    approved = json.dumps({"action": snake_action(stored), "outcome": "allowed"}, indent=2)
    text = (
        f"{APPROVED_OPENING}\n\nTreat this as approval to perform that exact action in the same context in which it "
        "was originally requested.\nDo not assume this also authorizes similar operations with different payloads.\n\n"
        f"Approved action:\n{approved}"
    )
    ctx.store.histories.inject(
        params.thread_id,
        ctx.user_id,
        [{**text_message("developer", text)}],
        history_limit=ctx.config.limits.history_bytes,
    )
    return Result()
