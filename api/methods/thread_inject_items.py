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
from shared.protocol.model_item_checks import OUTPUTS, checked
from shared.protocol.model_items import CallOutput, Message, ModelCall, ReasoningItem

NAME = "thread/inject_items"
MAX_ITEMS = 1000
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
    items = _checked(params.items)
    ctx.services.limits.check_bytes(ctx.user_id)
    ctx.store.histories.inject(params.thread_id, ctx.user_id, items, history_limit=ctx.config.limits.history_bytes)
    return Result()


def _checked(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the items as history keeps them. Errors: InvalidParams, for what fails every later request to a model."""
    kept = []
    open_calls: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        try:
            found = checked(item, f"items[{index}]")
        except ValueError as error:
            raise InvalidParams(str(error)) from None
        _check_images(index, found)
        kind, call_id = found["type"], found.get("call_id", "")
        if kind in OUTPUTS:
            open_calls.add((OUTPUTS[kind], call_id))
        elif kind in OUTPUTS.values():
            if (kind, call_id) not in open_calls:
                raise InvalidParams(f"items[{index}]: an output needs its call before it")
            open_calls.remove((kind, call_id))
        kept.append(found)
    if open_calls:
        raise InvalidParams("items: every call needs its output")
    return kept


def _check_images(index: int, item: Mapping[str, object]) -> None:
    for part in image_parts(item):
        refuse_remote(str(part.get("image_url")))
        try:
            checked_url(part.get("image_url"))
        except InvalidImage as error:
            raise InvalidParams(f"items[{index}]: an image that models refuse: {error}") from None
