"""thread/search/cancel: Cancel a thread/search of this connection, which then answers with an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import ValidationError

from api.methods import thread_search
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.thread_search import search_name

NAME = "thread/search/cancel"


def _request_id(value: object) -> None:
    if type(value) not in (int, str):
        raise ValidationError("expected the id of a request, an integer or a string")


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The search.

    request_id: of the request; one that is unknown, or was answered, changes nothing
    """

    request_id: Annotated[object, _request_id]


Result = Empty
EXAMPLE = Example(params={"requestId": 7})


def handle(ctx: Context, params: Params) -> Result:
    return cancel(ctx, thread_search.NAME, params)


def cancel(ctx: Context, method: str, params: Params) -> Result:
    """Cancel a search by that method."""
    if ctx.connection is not None and isinstance(params.request_id, int | str):
        ctx.connection.calls.cancel(search_name(method, params.request_id))
    return Result()
