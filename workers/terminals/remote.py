"""How a turn reaches the background terminals of its thread, in whichever worker process they run."""

from __future__ import annotations

import redis

from shared.errors import ClaimLost, ToolError
from shared.events import terminal_input
from shared.events.terminal_input import TerminalInput
from shared.store import Store
from shared.store.turns import Claim
from workers.control.signal import Signal, StopReason

ANSWER_SECONDS = 10.0  # for an answer, in addition to the time that the command is waited for
STOPS = (StopReason.INTERRUPT, StopReason.REVOKED, StopReason.DRAIN)  # that end a wait; the command runs on


class ThreadTerminals:
    """The background terminals of one claimed turn's thread (workers.tools.base.BackgroundTerminals)."""

    def __init__(self, store: Store, client: redis.Redis, claim: Claim, signal: Signal) -> None:
        self._store = store
        self._client = client
        self._claim = claim
        self._signal = signal

    def find(self, session_id: int) -> str | None:
        """Return the item id of a command that runs or has ended a while ago; None: none has this number."""
        terminal = self._store.terminals.find(self._claim.thread_id, self._claim.owner, session_id)
        if terminal is not None:
            return terminal.item_id
        outcome = self._store.terminals.outcome(self._claim.thread_id, self._claim.owner, session_id)
        return None if outcome is None else outcome[0]

    def write(self, session_id: int, chars: str, yield_s: float, max_output_tokens: int) -> str:
        """Type into a command, wait for its end for yield_s at most, and return what happened.

        Errors: ToolError; ClaimLost
        """
        terminal = self._store.terminals.find(self._claim.thread_id, self._claim.owner, session_id)
        if terminal is None:
            return self._outcome(session_id)
        given = TerminalInput(terminal_input.new_answer_key(), chars, yield_s, max_output_tokens)
        unknown = f"the worker that runs session {session_id} did not answer, so it is unknown what was typed"
        try:
            if not terminal_input.send(self._client, terminal.worker, terminal.item_id, given):
                raise ToolError(f"the worker that runs session {session_id} is not there; nothing was typed")
            answer = terminal_input.wait(
                self._client, given.answer_key, yield_s + ANSWER_SECONDS, stopped=self._is_stopped
            )
        except redis.RedisError as error:
            raise ToolError(unknown) from error
        if StopReason.REVOKED in self._signal:
            raise ClaimLost("another worker has claimed the turn")
        if answer is None and self._is_stopped():
            return f"The turn was stopped. The command of session {session_id} still runs."
        if answer is None:
            raise ToolError(unknown)
        if "ended" in answer:
            return self._outcome(session_id)
        if "error" in answer:
            raise ToolError(answer["error"])
        return answer["report"]

    def _is_stopped(self) -> bool:
        return any(reason in self._signal for reason in STOPS)

    def _outcome(self, session_id: int) -> str:
        """Return how a command ended that does not run any more. Errors: ToolError."""
        found = self._store.terminals.outcome(self._claim.thread_id, self._claim.owner, session_id)
        if found is None:
            raise ToolError(f"no session {session_id}: it has ended, or never existed")
        return found[1]
