"""turn/steer: Add input to the turn that is running."""

from __future__ import annotations

from dataclasses import dataclass

from api.methods.turn_start import ClientMessageId, Input, check_images
from api.requests.context import Context
from api.requests.examples import INPUT, ON_THREAD, TURN_ID, Example
from api.requests.params import ThreadParams
from shared.events import turn_signals
from shared.store.turns import NewTurn

NAME = "turn/steer"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The turn, and the input.

    input:  the parts of the user's message
    expected_turn_id: the running turn
    client_user_message_id: names the message; a second request with the same id changes nothing
    Errors: InvalidRequest (an image by its http URL); NotFound; Conflict (no turn, or another one, is running; the
            Python SDK parses this error's text); NotSteerable (a compaction or a review is running);
            HistoryTooLarge
    Source: PROTOCOL 5.3
    """

    input: Input
    expected_turn_id: str
    client_user_message_id: ClientMessageId | None = None


@dataclass(frozen=True)
class Result:
    """turn_id: the turn that took the input"""

    turn_id: str


EXAMPLE = Example(params={**ON_THREAD, "expectedTurnId": TURN_ID, "input": INPUT}, result={"turnId": TURN_ID})


def handle(ctx: Context, params: Params) -> Result:
    check_images(params.input)
    limit = ctx.config.limits.history_bytes
    new = NewTurn(params.input, params.client_user_message_id, {}, {}, history_limit=limit)
    turn = ctx.store.turns.steer(params.thread_id, ctx.user_id, params.expected_turn_id, new)
    ctx.after_reply(ctx.signal_turn, turn_signals.STEER, turn)
    return Result(turn_id=turn.id)
