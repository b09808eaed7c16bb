"""turn/start: Begin a turn on one of the caller's threads, or pass the input to the turn that is running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from marshmallow import validate

from api.requests import settings
from api.requests.context import Context
from api.requests.examples import INPUT, ON_THREAD, TURN, Example
from api.requests.settings import SettingsParams
from shared import telemetry
from shared.events import turn_signals
from shared.images import refuse_remote
from shared.protocol.turn import TurnObject
from shared.protocol.user_input import UserInput, UserInputSchema
from shared.store.turns import NewTurn
from shared.views.turn import turn_object

NAME = "turn/start"
MAX_INPUTS = 64
MAX_CLIENT_ID_CHARACTERS = 200

Input = Annotated[list[Annotated[UserInput, UserInputSchema]], validate.Length(0, MAX_INPUTS)]
ClientMessageId = Annotated[str, validate.Length(1, MAX_CLIENT_ID_CHARACTERS)]


@dataclass(frozen=True, kw_only=True)
class Params(SettingsParams):
    """What to work on. Overrides become the thread's settings.

    input:  the parts of the user's message
    client_user_message_id: names the message; a second request with the same id changes nothing
    output_schema: JSON Schema of the final message
    Errors: InvalidParams; InvalidRequest (an image by its http URL); NotFound; Conflict (archived); NotSteerable (a
            compaction or a review is running); Overloaded (too many queued turns, or too much is stored);
            HistoryTooLarge
    Source: PROTOCOL 5.2
    """

    thread_id: str
    input: Input
    client_user_message_id: ClientMessageId | None = None
    output_schema: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Result:
    """turn: the new turn, or the running one that took the input; its progress arrives as notifications"""

    turn: TurnObject


EXAMPLE = Example(params={**ON_THREAD, "input": INPUT}, result={"turn": TURN})


def handle(ctx: Context, params: Params) -> Result:
    check_images(params.input)
    thread_id = params.thread_id
    changed = settings.changes(ctx.config, ctx.user_id, settings.overrides(params), thread_id)
    if changed:
        changed = settings.without_unchanged(changed, ctx.get_thread(thread_id).settings)
    options = telemetry.with_trace({})
    if params.output_schema is not None:
        options["outputSchema"] = params.output_schema
    if ctx.connection is not None and ctx.connection.client_name is not None:
        options["client"] = ctx.connection.client_name
    limit = ctx.config.limits.history_bytes
    new = NewTurn(params.input, params.client_user_message_id, changed, options, history_limit=limit)
    turn, is_new = ctx.store.turns.create_or_steer(
        thread_id, ctx.user_id, new, **ctx.turn_limits(), audit_entry=ctx.audit_entry(NAME)
    )
    if is_new:
        ctx.after_reply(ctx.enqueue_turn, turn)
    elif not turn.done:
        ctx.after_reply(ctx.signal_turn, turn_signals.STEER, turn)
    if changed and not turn.done:
        ctx.after_reply(lambda: ctx.publish_settings(ctx.get_thread(thread_id)))
    return Result(turn=turn_object(replace(turn, started_at_ms=None) if is_new else turn))


def check_images(user_input: Sequence[UserInput]) -> None:
    """Refuse images that are elsewhere. All else about images is said by the turn. Errors: InvalidRequest."""
    for part in user_input:
        if part["type"] == "image":
            refuse_remote(part["url"])
