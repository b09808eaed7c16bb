"""Turns: the records here, and the moves of a turn in one module for each of those who make them.

    phase   queued → running → (parked → queued)* → done
    status  inProgress → completed | interrupted | failed, never back

    requests.py  what a client's request does: create, steer, interrupt, answer; and all reading (`store.turns`)
    claims.py    what a worker does: claim, renew, park, requeue (`store.claims`)
    recovery.py  what the sweep does: requeue lost turns, expire approvals, find what is unpublished (`store.recovery`)
    open_turns.py  what operators see of turns that are not done, and why each waits (`store.open_turns`)
    ending.py    how a turn ends, with or without a worker

Each move is one transaction that locks the turn's row; nothing else changes a turn. Rows are locked in the order turn,
thread, others. A worker holds a turn by a claim: a number that grows with each claim of the thread, and a lease on the
database's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.protocol.settings import SettingsChanges
from shared.protocol.token_usage import ThreadTokenUsage
from shared.protocol.turn import TurnError, TurnOptions
from shared.protocol.user_input import PendingPart, ShellCommand, UserInput


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    claim_no:        of the last claim; 0: never claimed
    published_state: 1 when turn/started is published, 2 when turn/completed is
    token_usage:     the thread's tokenUsage as of the turn's last answer; None: it had none, or is older than 0.2.0
    """

    id: str
    thread_id: str
    owner: str
    phase: str
    status: str
    options: TurnOptions
    created_at_ms: int
    error: TurnError | None = None
    interrupted: bool = False
    started_at_ms: int | None = None
    completed_at_ms: int | None = None
    published_state: int = 0
    client_id: str | None = None
    claim_no: int = 0
    token_usage: ThreadTokenUsage | None = None

    @property
    def done(self) -> bool:
        return self.phase == "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write a turn, until its lease runs out or a newer claim is made.

    turn:          as it was when it was claimed
    recovered:     whether an earlier attempt ran it
    lost_attempts: attempts whose lease ran out since the last stored item, and all that lost a running tool call
    """

    turn: Turn
    claim_no: int
    recovered: bool
    lost_attempts: int

    @property
    def turn_id(self) -> str:
        return self.turn.id

    @property
    def thread_id(self) -> str:
        return self.turn.thread_id

    @property
    def owner(self) -> str:
        return self.turn.owner


@dataclass(frozen=True, slots=True)
class PendingInput:
    """Input that a turn has not read yet: the parts of a message, or one command that the user typed."""

    id: int
    input: Sequence[PendingPart]
    client_id: str | None

    @property
    def command(self) -> ShellCommand | None:
        """The command that the user typed; None for a message."""
        for part in self.input:
            if part["type"] == "shellCommand":
                return part
        return None

    @property
    def message(self) -> list[UserInput]:
        """The parts of a message."""
        return [part for part in self.input if part["type"] != "shellCommand"]


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What turn/start and its relatives ask for.

    input:    the parts of a message, or one command that the user typed; None: the turn begins without input
    settings: changes that become the thread's settings
    options:  for this turn only
    history_limit: bytes that the thread may put before its model with this input; 0: no limit
    """

    input: Sequence[PendingPart] | None
    client_id: str | None
    settings: SettingsChanges
    options: TurnOptions
    history_limit: int = 0
