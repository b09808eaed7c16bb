"""What admins may do to users and to their turns. Each action is a method of its own, and an entry of the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from api.requests.context import Context
from shared.config import Config
from shared.errors import Forbidden, InvalidRequest
from shared.events import turn_signals
from shared.queue_state import Waiting
from shared.store.turns import Turn
from shared.store.turns.open_turns import OpenTurn
from shared.store.users import Account
from shared.views.user_limits import LIMITS, user_limits


def check_admin(ctx: Context) -> None:
    """Check that the caller is an admin; handlers call this before they read anything. Errors: Forbidden."""
    if ctx.caller.user.role != "admin":
        raise Forbidden(
            "only admins may call this method; an operator adds one with: `threadhouse users add NAME --role admin`"
        )


def interrupt(ctx: Context, turn: Turn, action: str) -> bool:
    """Interrupt a turn of any user. Returns whether the turn was active. action: for the audit log."""
    try:
        stopped = ctx.store.turns.interrupt(turn.thread_id, turn.owner, turn.id, audit_entry=ctx.audit_entry(action))
    except InvalidRequest:  # it ended by itself
        return False
    if stopped.done:
        ctx.after_reply(ctx.publish_turn, stopped)
    else:
        ctx.after_reply(ctx.signal_turn, turn_signals.INTERRUPT, stopped)
    return True


class UserObject(TypedDict):
    """A user as admins see it. Times are Unix milliseconds.

    role: "member" or "admin"
    disabledAtMs: null unless the user is disabled
    """

    userId: str
    name: str
    role: str
    createdAtMs: int
    disabledAtMs: int | None


class UserLimitObject(TypedDict):
    """One limit of a user. 0 means no limit.

    name:    as in `[limits]` of config.toml, or "weight": the share of the workers
    about:   what it limits
    own:     what was set for this user; null: the default counts
    default: of all users
    """

    name: str
    about: str
    own: int | None
    default: int


USER_LIMIT: UserLimitObject = {
    "name": "turns_at_once",
    "about": "Turns that may run at the same time.",
    "own": 2,
    "default": 8,
}


def user_limit_objects(own: Mapping[str, int], config: Config) -> Sequence[UserLimitObject]:
    """Return the limits of a user as admins see them. own: what was set, as of `store.limits.own`."""
    return [
        {"name": one.name, "about": LIMITS[one.name], "own": one.own, "default": one.default}
        for one in user_limits(own, config.limits)
    ]


class OpenTurnObject(TypedDict):
    """A turn that is not done, as admins see it. Times are Unix milliseconds.

    state:       "queued", "running" or "parked"
    sinceMs:     when its present cause began: when it was queued or parked, when its tool call began, …
    worker:      name of the worker process that runs it
    lostWorkers: how many workers were lost while they ran it
    cause:       what it waits for: approval, limit, noWorker, queue, claim, lostWorker, tool or model
    why:         the same as a sentence, with what to do about it
    """

    turnId: str
    threadId: str
    userId: str
    state: str
    sinceMs: int
    worker: str | None
    lostWorkers: int
    cause: str
    why: str


def open_turn_object(found: OpenTurn) -> OpenTurnObject:
    """Return a turn that is not done as admins see it."""
    return {
        "turnId": found.turn.id,
        "threadId": found.turn.thread_id,
        "userId": found.turn.owner,
        "state": found.turn.phase,
        "sinceMs": found.since_ms,
        "worker": found.worker,
        "lostWorkers": found.lost_attempts,
        "cause": found.cause,
        "why": found.why,
    }


class WaitingObject(TypedDict):
    """Work of one kind that waits in one queue.

    workers: processes that take from the queue
    tasks:   in the queue in Redis; null while Redis does not answer
    kind:    "turns", "worker calls", "feedback reports", "messages" (to webhooks and notify), "session files" or
             "erasures"
    cause:   of turns: why they wait (admin/turn/list); null for other kinds
    count:   how much waits; at most 10,000 are counted, but of turns
    sinceMs: when the oldest was added, Unix milliseconds; null: nothing waits, or it is not known
    why:     what it waits for and what to do about it; null: nothing waits, or it moves
    """

    queue: str
    workers: int
    tasks: int | None
    kind: str
    cause: str | None
    count: int | None
    sinceMs: int | None
    why: str | None


WAITING: WaitingObject = {
    "queue": "turns",
    "workers": 2,
    "tasks": 3,
    "kind": "turns",
    "cause": "limit",
    "count": 3,
    "sinceMs": 1_764_324_000_000,
    "why": "its user runs 8 turns and may run 8 at once (turns_at_once)",
}


def waiting_object(one: Waiting) -> WaitingObject:
    """Return what waits as admins see it."""
    return {
        "queue": one.queue,
        "workers": one.workers,
        "tasks": one.tasks,
        "kind": one.kind,
        "cause": one.cause,
        "count": one.count,
        "sinceMs": one.since_ms,
        "why": one.why,
    }


def user_object(account: Account) -> UserObject:
    """Return a user as admins see it."""
    user = account.user
    return {
        "userId": user.id,
        "name": user.name,
        "role": user.role,
        "createdAtMs": account.created_at_ms,
        "disabledAtMs": account.disabled_at_ms,
    }
