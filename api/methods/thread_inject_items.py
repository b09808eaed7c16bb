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
from shared.images import checked_url, is_image, refuse_remote
from shared.protocol.model_items import CallOutput, Message, ModelCall, ReasoningItem

NAME = "thread/inject_items"
MAX_ITEMS = 1000
OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
# Kind of item → the members that are texts.
TEXTS = {
    "message": ("role",),
    "reasoning": (),
    "function_call": ("call_id", "name", "arguments"),
    "custom_tool_call": ("call_id", "name", "input"),
    "function_call_output": ("call_id",),
    "custom_tool_call_output": ("call_id",),
}
ROLES = ("user", "assistant", "developer", "system")
CONTENT_PARTS = ("input_text", "output_text", "input_image")
REASONING_PARTS = ("summary_text", "reasoning_text", "text")

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
        if not isinstance(kind, str) or kind not in TEXTS:
            raise InvalidParams(f"items[{index}].type: expected one of {', '.join(TEXTS)}")
        _check_members(f"items[{index}]", kind, item)
        if kind in OUTPUTS:
            open_calls.add((OUTPUTS[kind], call_id))
        elif kind in OUTPUTS.values():
            if (kind, call_id) not in open_calls:
                raise InvalidParams(f"items[{index}]: an output needs its call before it")
            open_calls.remove((kind, call_id))
    if open_calls:
        raise InvalidParams("items: every call needs its output")


def _check_members(path: str, kind: str, item: Mapping[str, object]) -> None:
    for name in TEXTS[kind]:
        if not isinstance(item.get(name), str):
            raise InvalidParams(f"{path}.{name}: expected a text")
    if kind == "message":
        if item["role"] not in ROLES:
            raise InvalidParams(f"{path}.role: expected one of {', '.join(ROLES)}")
        _check_parts(f"{path}.content", item.get("content"), CONTENT_PARTS)
    elif kind == "reasoning":
        _check_parts(f"{path}.summary", item.get("summary"), REASONING_PARTS)
        if item.get("content") is not None:
            _check_parts(f"{path}.content", item["content"], REASONING_PARTS)
    elif kind in OUTPUTS.values() and not isinstance(item.get("output"), str):
        _check_parts(f"{path}.output", item.get("output"), CONTENT_PARTS)


def _check_parts(path: str, parts: object, kinds: Sequence[str]) -> None:
    if not isinstance(parts, list):
        raise InvalidParams(f"{path}: expected a list")
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in kinds:
            raise InvalidParams(f"{path}[{index}].type: expected one of {', '.join(kinds)}")
        if is_image(part):
            _check_image(f"{path}[{index}]", part.get("image_url"))
        elif not isinstance(part.get("text"), str):
            raise InvalidParams(f"{path}[{index}].text: expected a text")


def _check_image(path: str, url: object) -> None:
    refuse_remote(str(url))
    try:
        checked_url(url)
    except InvalidImage as error:
        raise InvalidParams(f"{path}: an image that models refuse: {error}") from None
