"""The token usage of a turn's thread (PROTOCOL section 6, `tokenUsage`).

Owns the usage as of the last answer, whether clients have it, and whether tokens are reserved for the current model
call. budget.py decides what may be spent.
"""

from __future__ import annotations

from shared import telemetry
from shared.protocol.token_usage import ThreadTokenUsage, TokenCounts, add_counts, token_counts
from shared.store.usage import Spent
from shared.store.writes import Write
from workers.journal.turn_writer import TurnWriter
from workers.models.chunks import TokenUsage


class ThreadUsage:
    """Counts the tokens of a thread's answers.

    current:  the thread's tokenUsage, to be stored with the rows of the answer that changed it
    reserved: whether tokens of the user's budget are reserved for the current model call
    """

    def __init__(self, writer: TurnWriter) -> None:
        self.current: ThreadTokenUsage | None = None
        self.reserved = False
        self._writer = writer
        self._unpublished = False

    @property
    def context_tokens(self) -> int:
        """Tokens of the context window that were used at the last answer or compaction."""
        return self.current["last"]["totalTokens"] if self.current else 0

    def count_answer(self, usage: TokenUsage, context_window: int, effort: str | None) -> None:
        """Add an answer to the thread's usage."""
        last = token_counts(
            usage.spent,
            input=usage.input_tokens,
            cached_input=usage.cached_input_tokens,
            output=usage.output_tokens,
            reasoning_output=usage.reasoning_output_tokens,
        )
        telemetry.tokens_used(last, effort)
        self._change(add_counts(self.current["total"], last) if self.current else last, last, context_window)

    def set_context_tokens(self, tokens: int, context_window: int) -> None:
        """Set what the next request will take, when that is known without an answer."""
        total = self.current["total"] if self.current else token_counts()
        self._change(total, token_counts(tokens, input=tokens), context_window)

    def fill_window(self, context_window: int) -> None:
        """Count the history as filling the context window: the model refused it as too long."""
        self.set_context_tokens(context_window, context_window)
        self._writer.store(Write(self._writer.claim, usage=self.current))

    def settle_call(self, usage: TokenUsage, model: str) -> tuple[Spent | None, bool]:
        """Return (what was spent, whether a reservation is settled) for the Write of a call that reported its usage.

        A call that reported none is settled by `spend`.
        """
        if not usage.spent:
            return None, False
        settles, self.reserved = self.reserved, False
        counts = (usage.spent, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
        return Spent(model, *counts), settles

    def spend(self, spent: Spent | None) -> None:
        """Store the estimated cost of a model call that reported no usage, and settle its reservation."""
        if spent or self.reserved:
            write = Write(self._writer.claim, spent=spent, settles=self.reserved)
            self.reserved = False
            self._writer.store(write, urgent=False)

    def publish(self) -> None:
        """Publish thread/tokenUsage/updated if it changed; comes after the tools of an answer (PROTOCOL 7.5)."""
        if self._unpublished:
            self._unpublished = False
            self._writer.publish("thread/tokenUsage/updated", {"tokenUsage": self.current})

    def mark_unpublished(self) -> None:
        """Publish the usage with the next `publish`, although this attempt did not change it."""
        self._unpublished = self.current is not None

    def _change(self, total: TokenCounts, last: TokenCounts, context_window: int) -> None:
        self.current = {"total": total, "last": last, "modelContextWindow": context_window}
        self._unpublished = True
