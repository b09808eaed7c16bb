"""thread/inject_items: put items behind what the model has seen."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared.errors import InvalidParams

NAME = "thread/inject_items"
MAX_ITEMS = 1000
OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
KINDS = ("message", "reasoning", *OUTPUTS, *OUTPUTS.values())


class Params(ThreadParams):
    """Clients are shown nothing of them. Each call comes with its output, for no model takes one without.

    Shape:  {"threadId": UUIDv7, "items": [Responses-API item, 1 to 1000: message, reasoning, a call or its output]}
    Errors: InvalidParams; NotFound; Conflict (a turn is active); InvalidRequest (nobody has said anything yet)
    Source: PROTOCOL 5.11
    """

    items = fields.List(fields.Dict(), required=True, validate=validate.Length(1, MAX_ITEMS))


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    _check(params["items"])
    ctx.services.limits.check_bytes(ctx.user_id)
    ctx.store.histories.inject(params["thread_id"], ctx.user_id, params["items"])
    return {}


def _check(items: list[dict[str, Any]]) -> None:
    """What would make every later request to the model fail is refused here. Errors: InvalidParams."""
    open_calls: set[tuple[str, str]] = set()
    for place, item in enumerate(items):
        kind, call_id = item.get("type"), str(item.get("call_id"))
        if kind not in KINDS:
            raise InvalidParams(f"items[{place}].type: expected one of {', '.join(KINDS)}")
        if kind == "message" and not (isinstance(item.get("role"), str) and _has_content(item.get("content"))):
            raise InvalidParams(f"items[{place}]: a message has a role and a list of contents, each with a type")
        if kind in OUTPUTS:
            open_calls.add((OUTPUTS[kind], call_id))
        elif kind in OUTPUTS.values():
            if (kind, call_id) not in open_calls:
                raise InvalidParams(f"items[{place}]: an output without its call before it")
            open_calls.remove((kind, call_id))
    if open_calls:
        raise InvalidParams("items: a call without its output")


def _has_content(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
