"""What admins may do to what belongs to others: each act is a method of its own, and a row of the audit log."""

from __future__ import annotations

from typing import Any

from api.context import Context
from shared import mailbox
from shared.errors import Forbidden, InvalidRequest
from shared.store.turns import Turn
from shared.store.users import Account


def check_admin(ctx: Context) -> None:
    """Errors: Forbidden, before anything is looked at."""
    if ctx.caller.user.role != "admin":
        raise Forbidden("this is for admins; an operator makes one with: threadhouse users add NAME --role admin")


def interrupt(ctx: Context, turn: Turn, action: str) -> bool:
    """Stop somebody's turn; whether there was anything to stop."""
    try:
        stopped = ctx.store.turns.interrupt(turn.thread_id, turn.owner, turn.id, act=ctx.act(action))
    except InvalidRequest:  # it ended by itself
        return False
    if stopped.done:
        ctx.after_reply(ctx.announce, stopped)
    else:
        ctx.after_reply(ctx.call_turn, mailbox.INTERRUPT, stopped)
    return True


def shown_user(account: Account) -> dict[str, Any]:
    """Shape: {"userId", "name", "role", "createdAtMs", "disabledAtMs": int | null}"""
    user = account.user
    return {
        "userId": user.id,
        "name": user.name,
        "role": user.role,
        "createdAtMs": account.created_at_ms,
        "disabledAtMs": account.disabled_at_ms,
    }
