"""Commands of a turn that still run after their call: ends their items, reports to the model, or keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from shared.clock import now_ms
from shared.protocol.model_items import text_message
from workers.agent.running_turn import RunningTurn
from workers.sandbox.sessions import EndedCommand


def complete_ended_commands(turn: RunningTurn) -> None:
    """End the items of commands that have ended since the last time. Errors: ClaimLost."""
    for ended in turn.sessions.pop_ended():
        turn.transcript.complete_later(ended.item_id, ended.item)


def end_commands(turn: RunningTurn, reason: str) -> None:
    """End all commands before the turn leaves this worker, and report that to the model. Errors: ClaimLost."""
    _report(turn, turn.sessions.close_all(reason))


class KeptCommands:
    """The commands that may run on when their turn leaves this worker; a context manager for the moment of leaving.

    Commands beyond the limits are ended first. The output of the others is collected during the block. If `stored` is
    set in it, the commands become background terminals; otherwise they stay with the turn.

    rows:     to be stored together with the turn's move
    lease_ms: for which this worker holds them
    stored:   whether that was done
    """

    def __init__(self, turn: RunningTurn) -> None:
        """Errors: ClaimLost"""
        complete_ended_commands(turn)
        self.stored = False
        self._turn = turn
        self._keeper = turn.keeper
        self._owner = turn.transcript.claim.owner
        running = turn.sessions.running()
        room = self._room() if running else 0
        self._sessions = running[: self._reserve(len(running), room)]
        self._held_since = time.monotonic()
        try:
            if excess := running[len(self._sessions) :]:
                _report(turn, turn.sessions.close(excess, self._why_not(room)))
        except BaseException:
            self._give_back()
            raise

    @property
    def lease_ms(self) -> int:
        return 0 if self._keeper is None else self._keeper.lease_ms

    def __enter__(self) -> KeptCommands:
        for session in self._sessions:
            session.output.collect()
        claim = self._turn.transcript.claim
        self.rows = [self._keeper.terminal(one, claim, now_ms()) for one in self._sessions] if self._keeper else []
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._keeper is None:
            return
        if not self.stored:
            self._give_back()
            for session in self._sessions:
                session.output.release()
            return
        for session, row in zip(self._sessions, self.rows, strict=True):
            self._turn.sessions.forget(session)
            self._keeper.adopt(session, row, self._turn.transcript.claim, self._held_since)

    def _room(self) -> int:
        """Return how many more background terminals the user may have."""
        return self._turn.config.limits.background_terminals - self._turn.store.terminals.count(self._owner)

    def _reserve(self, wanted: int, room: int) -> int:
        return 0 if self._keeper is None else self._keeper.reserve(self._owner, wanted, room)

    def _give_back(self) -> None:
        if self._keeper is not None:
            self._keeper.give_back(self._owner, len(self._sessions))

    def _why_not(self, room: int) -> str:
        """Return why no more commands are kept."""
        if self._keeper is None or self._keeper.is_draining:
            return "shutdown"
        if len(self._sessions) < room:
            return "your share of the background terminals of this worker"
        return f"the limit of {self._turn.config.limits.background_terminals} background terminals"


def _report(turn: RunningTurn, closed: Iterable[EndedCommand]) -> None:
    """End the items of commands that this worker has ended, and report that to the model."""
    reports = []
    for ended in closed:
        turn.transcript.complete_later(ended.item_id, ended.item)
        reports.append(ended.summary)
    if reports:
        turn.transcript.add_context([text_message("developer", "\n\n".join(reports))])
