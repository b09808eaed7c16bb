"""Ask a worker for what needs a workspace, on behalf of a request. The API itself opens no workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api.requests.context import Context
from shared.events.worker_calls import WorkerCall

CALL_SECONDS = 30.0  # deadline of calls that normally take moments


def call_worker(
    ctx: Context,
    kind: str,
    params: Mapping[str, object],
    *,
    deadline_s: float | None = CALL_SECONDS,
    on_output: Callable[[Any], None] | None = None,
    name: str | None = None,
    in_order: bool = False,
) -> dict[str, Any]:
    """Have a worker run a call (workers.tasks.run_call) and return its result. The call ends with the connection.

    deadline_s, on_output: as of WorkerCall.wait
    in_order:   the connection's next request waits for this one
    name:       under which the connection finds the call while it runs; unique per connection
    Errors:     what the worker answers; Unavailable, CallLost, redis.RedisError; InvalidRequest (the name is in use)
    """
    services = ctx.services
    call = WorkerCall(services.redis, services.queue, services.relay, kind, params, ctx.user_id)
    name = name or call.id
    if ctx.connection is not None:
        ctx.connection.calls.add(name, call)
    try:
        call.start()
        if not in_order:
            ctx.only_waits.set()
        result: dict[str, Any] = call.wait(deadline_s, on_output)
        return result
    finally:
        if ctx.connection is not None:
            ctx.connection.calls.remove(name, call)
