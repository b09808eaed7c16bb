"""turn/steer: more input for the turn that runs."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.methods.turn_start import MAX_CLIENT_ID_CHARACTERS, MAX_INPUTS
from api.params import ThreadParams
from shared import mailbox
from shared.protocol.base import WireSchema
from shared.protocol.user_input import UserInputSchema
from shared.store.turns import NewTurn

NAME = "turn/steer"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "input": [UserInput, 0 to 64], "expectedTurnId": UUIDv7,
             "clientUserMessageId": str?}
    Errors: NotFound; Conflict (no turn, or another one, runs; the words are those that the SDK parses);
            NotSteerable (a compaction or a review runs)
    Source: PROTOCOL 5.3
    """

    input = fields.List(fields.Nested(UserInputSchema), required=True, validate=validate.Length(0, MAX_INPUTS))
    expected_turn_id = fields.Str(required=True)
    client_user_message_id = fields.Str(load_default=None, validate=validate.Length(1, MAX_CLIENT_ID_CHARACTERS))


class Result(WireSchema):
    """turn_id: the turn that took the input."""

    turn_id = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    new = NewTurn(params["input"], params["client_user_message_id"], {}, {})
    turn = ctx.store.turns.steer(params["thread_id"], ctx.user_id, params["expected_turn_id"], new)
    ctx.after_reply(ctx.call_turn, mailbox.STEER, turn)
    return {"turn_id": turn.id}
