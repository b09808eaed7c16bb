"""thread/inject_items: Append items to what the model sees of a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared.errors import InvalidImage, InvalidParams
from shared.images import checked_url, image_parts, refuse_remote
from shared.protocol.model_items import CallOutput, Message, ModelCall, ReasoningItem

NAME = "thread/inject_items"
MAX_ITEMS = 1000
OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
KINDS = ("message", "reasoning", *OUTPUTS, *OUTPUTS.values())

InjectedItem = Message | ReasoningItem | ModelCall | CallOutput


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """Clients are not shown these items. Each call must come with its output: model APIs refuse one without.

    items:  Responses-API items: messages, reasoning, calls and their outputs
    Errors: InvalidParams; NotFound; Conflict (a turn is active); InvalidRequest (the thread has no message yet; an
            image by its http URL); HistoryTooLarge
    Source: PROTOCOL 5.11
    """

    items: Annotated[list[Annotated[dict[str, Any], InjectedItem]], validate.Length(1, MAX_ITEMS)]


Result = Empty
EXAMPLE = Example(
    params={
        **ON_THREAD,
        "items": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "By the way: …"}]}],
    }
)


def handle(ctx: Context, params: Params) -> Result:
    _check(params.items)
    ctx.services.limits.check_bytes(ctx.user_id)
    ctx.store.histories.inject(
        params.thread_id, ctx.user_id, params.items, history_limit=ctx.config.limits.history_bytes
    )
    return Result()


def _check(items: Sequence[Mapping[str, object]]) -> None:
    """Refuse items with which every later request to the model would fail. Errors: InvalidParams."""
    open_calls: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        kind, call_id = item.get("type"), str(item.get("call_id"))
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidParams(f"items[{index}].type: expected one of {', '.join(KINDS)}")
        if kind == "message" and not (isinstance(item.get("role"), str) and _has_content(item.get("content"))):
            raise InvalidParams(f"items[{index}]: expected a message with a role and a list of contents with types")
        _check_images(index, item)
        if kind in OUTPUTS:
            open_calls.add((OUTPUTS[kind], call_id))
        elif kind in OUTPUTS.values():
            if (kind, call_id) not in open_calls:
                raise InvalidParams(f"items[{index}]: an output needs its call before it")
            open_calls.remove((kind, call_id))
    if open_calls:
        raise InvalidParams("items: every call needs its output")


def _check_images(index: int, item: Mapping[str, object]) -> None:
    for part in image_parts(item):
        refuse_remote(str(part.get("image_url")))
        try:
            checked_url(part.get("image_url"))
        except InvalidImage as error:
            raise InvalidParams(f"items[{index}]: an image that models refuse: {error}") from None


def _has_content(content: object) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
