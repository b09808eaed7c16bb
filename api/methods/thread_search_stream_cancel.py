"""thread/search/stream/cancel: Cancel a thread/search/stream of this connection, which then answers with an error."""

from __future__ import annotations

from api.methods import thread_search_cancel, thread_search_stream
from api.requests.context import Context
from api.requests.examples import Example

NAME = "thread/search/stream/cancel"
Params = thread_search_cancel.Params
Result = thread_search_cancel.Result
EXAMPLE = Example(params={"requestId": 7})


def handle(ctx: Context, params: Params) -> Result:
    return thread_search_cancel.cancel(ctx, thread_search_stream.NAME, params)
