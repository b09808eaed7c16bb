"""turn/start: begin a turn on one of the caller's threads, or give its input to the one that runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marshmallow import fields, validate

from api import settings
from api.context import Context
from api.settings import SettingsParams
from shared import mailbox, telemetry
from shared.protocol.base import WireSchema
from shared.protocol.turn import turn_object
from shared.protocol.user_input import UserInputSchema
from shared.store.turns import NewTurn

NAME = "turn/start"
MAX_INPUTS = 64
MAX_CLIENT_ID_CHARACTERS = 200


class Params(SettingsParams):
    """What to work on. Overrides become the thread's settings.

    Shape:  SettingsParams and {"threadId": UUIDv7, "input": [UserInput, 0 to 64], "clientUserMessageId": str?,
            "outputSchema": JSON Schema of the final message?}. The same clientUserMessageId again changes nothing.
    Errors: InvalidParams; NotFound; Conflict (archived); NotSteerable (a compaction or a review runs); Overloaded (too
            many queued turns, or no room)
    Source: PROTOCOL 5.2
    """

    thread_id = fields.Str(required=True)
    input = fields.List(fields.Nested(UserInputSchema), required=True, validate=validate.Length(0, MAX_INPUTS))
    client_user_message_id = fields.Str(load_default=None, validate=validate.Length(1, MAX_CLIENT_ID_CHARACTERS))
    output_schema = fields.Dict(load_default=None)


class Result(WireSchema):
    """The new turn, or the running one that took the input; what follows arrives as notifications."""

    turn = fields.Dict()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread_id = params["thread_id"]
    changed = settings.changes(ctx.config, ctx.user_id, params)
    if changed:
        known = ctx.get_thread(thread_id).settings
        changed = {name: value for name, value in changed.items() if known.get(name) != value}
    options: dict[str, Any] = telemetry.carried()
    if params["output_schema"] is not None:
        options["outputSchema"] = params["output_schema"]
    if ctx.connection is not None and ctx.connection.client_name is not None:
        options["client"] = ctx.connection.client_name
    new = NewTurn(params["input"], params["client_user_message_id"], changed, options)
    turn, is_new = ctx.store.turns.create_or_steer(
        thread_id, ctx.user_id, new, **ctx.room_for_turn(), act=ctx.act(NAME)
    )
    if is_new:
        ctx.after_reply(ctx.ring, turn)
    elif not turn.done:
        ctx.after_reply(ctx.call_turn, mailbox.STEER, turn)
    if changed and not turn.done:
        ctx.after_reply(lambda: ctx.publish_settings(ctx.get_thread(thread_id)))
    return {"turn": turn_object(replace(turn, started_at_ms=None) if is_new else turn)}
