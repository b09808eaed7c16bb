"""The limits of one user, for `threadhouse users limits` and `admin/userLimits/…`.

It imports no database library, because `threadhouse --help` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.config import Limits
from shared.errors import InvalidParams

DEFAULT = "default"  # instead of a number: the default again
WEIGHT = "weight"
DEFAULT_WEIGHT = 1
MAX_WEIGHT = 1_000_000
MAX_LIMIT = (1 << 63) - 1
LIMITS = {  # column of the table user_limits → what it limits, as the help text of its option
    WEIGHT: "Share of the workers relative to other users, whose weight is 1 by default.",
    "turns_at_once": "Turns that may run at the same time.",
    "queued_turns": "Turns that may wait.",
    "requests_per_minute": "Requests per minute.",
    "connections": "Open WebSockets and event streams.",
    "threads": "Threads, including archived ones.",
    "stored_bytes": "Bytes that the threads may use in the database.",
    "tokens_per_day": "Tokens per day (UTC), input and output.",
    "tokens_per_month": "Tokens per calendar month (UTC), input and output.",
}


@dataclass(frozen=True, slots=True)
class UserLimit:
    """One limit of a user. 0 means no limit.

    own:     what was set for this user; None: the default counts
    default: of `[limits]`, or of all weights
    """

    name: str
    own: int | None
    default: int

    @property
    def value(self) -> int:
        """What counts."""
        return self.default if self.own is None else self.own


def user_limits(own: Mapping[str, int], defaults: Limits) -> Sequence[UserLimit]:
    """Return all limits of a user, in the order of LIMITS. own: what was set, as of `store.limits.own`."""
    return [
        UserLimit(name, own.get(name), DEFAULT_WEIGHT if name == WEIGHT else getattr(defaults, name)) for name in LIMITS
    ]


def check_limit(name: str, value: int | None) -> None:
    """Check what is to be set; None: the default again. Errors: InvalidParams."""
    if name not in LIMITS:
        raise InvalidParams(f"unknown limit {name[:80]}: expected one of {', '.join(LIMITS)}")
    if value is None:
        return
    least, most = (1, MAX_WEIGHT) if name == WEIGHT else (0, MAX_LIMIT)
    if value < least:
        raise InvalidParams(f"{name}: expected an integer of {least} or more")
    if value > most:
        raise InvalidParams(f"{name}: expected at most {most}")


def shown_changes(values: Mapping[str, int | None]) -> str:
    """Return what is set, as the audit log has it."""
    return ",".join(f"{name}={DEFAULT if value is None else value}" for name, value in values.items())
