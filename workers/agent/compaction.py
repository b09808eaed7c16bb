"""Compaction: a summary that the model writes takes the place of the history (PROTOCOL section 7.7).

Owns when a compaction is due, the model call for the summary, and the row that replaces the history. The user's newest
messages stay word for word, as far as KEPT_TOKENS and a share of the window reach; the summary covers the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from shared.clock import now_ms
from shared.errors import ModelError
from shared.events import durable_events
from shared.protocol.hooks import HookNotes
from shared.protocol.model_items import Message, text_message
from shared.store.items import Item
from shared.store.writes import Write
from workers.agent import budget, prompt
from workers.agent.model_calls import CONTEXT_EXCEEDED, model_span, wait_to_retry
from workers.agent.running_turn import RunningTurn
from workers.agent.transcript import Transcript
from workers.models import model_for
from workers.models.chunks import Chunk, Closed, TokenUsage
from workers.models.output import message_text
from workers.sandbox.output import count_tokens, shorten

WINDOW_SHARE = 0.9  # of the context window; beyond it, an answer with its tools may not fit any more
KEPT_TOKENS = 20_000  # of the user's messages
KEPT_SHARE = 0.2  # of the context window, for the user's messages and for the summary each
SUMMARY_OPENING = "<conversation_summary>"

INSTRUCTIONS = (
    "The conversation so far is about to be replaced by a summary that you write now. Whoever goes on with the task "
    "has nothing but that summary and the latest messages of the user. Say what was asked for and which constraints "
    "and preferences were named; what was done, decided and found out, with the names of files, functions and commands "
    "that matter; what failed and why; what remains to be done, and the next step. Be concrete and brief. Answer with "
    "the summary alone and call no tool."
)


def is_due(turn: RunningTurn) -> bool:
    """Return whether the turn was begun to compact and has not done so, or the context window is nearly full."""
    transcript = turn.transcript
    rows, turn_id = transcript.rows, transcript.claim.turn_id
    if turn.kind == "compact" and not any(row.kind == "contextCompaction" and row.turn_id == turn_id for row in rows):
        return True
    limit = token_limit(turn.config.model_auto_compact_token_limit, turn.context_window)
    return bool(rows) and rows[-1].kind != "contextCompaction" and transcript.usage.context_tokens >= limit


def compact(turn: RunningTurn) -> None:
    """Replace the history by a summary of the model. A compaction that is cut stays due. Errors: TurnFailed."""
    rows, window = turn.transcript.rows, turn.context_window
    notes = turn.hooks.before_compaction() if turn.hooks is not None else None
    with _recording(turn.transcript, notes) as complete:
        if not any(row.model_items for row in rows):
            return complete([], TokenUsage(), window)
        try:
            summary = _request_summary(turn, rows)
        except ModelError as error:
            return wait_to_retry(turn, error)
        if summary is not None:
            turn.answered()
            complete(replacement(rows, summary[0], window), summary[1], window)
    return None


def token_limit(configured: int | None, context_window: int) -> int:
    """Return the number of tokens from which on the history is compacted before the next model call."""
    limit = round(context_window * WINDOW_SHARE)
    return min(limit, configured) if configured else limit


def read_summary(chunks: Iterable[Chunk]) -> tuple[str, TokenUsage] | None:
    """Return the summary in an answer, which clients do not see. None: the stream was cut. Errors: ModelError."""
    texts = []
    for chunk in chunks:
        match chunk:
            case Closed(item) if item["type"] == "message":
                texts.append(message_text(item))
            case TokenUsage():
                return "\n".join(texts).strip(), chunk
    return None


def replacement(rows: Sequence[Item], summary: str, window: int) -> list[Message]:
    """Return the history from now on: the user's latest messages, then the summary; less than half of the window."""
    kept: list[Message] = []
    share = round(window * KEPT_SHARE)
    left = min(KEPT_TOKENS, share)
    for text in reversed([text for row in rows for text in _user_texts(row)]):
        kept.append(text_message("user", shorten(text, left)))
        left -= count_tokens(len(text.encode()))
        if left <= 0:
            break
    summary_text = f"{SUMMARY_OPENING}\n{shorten(summary, share) or '(there is none)'}\n</conversation_summary>"
    return [*reversed(kept), text_message("user", summary_text)]


def estimate_tokens(model_items: Sequence[Message]) -> int:
    """Return about how many tokens text messages take."""
    return sum(count_tokens(len(message_text(item).encode())) for item in model_items)


def _request_summary(turn: RunningTurn, rows: Sequence[Item]) -> tuple[str, TokenUsage] | None:
    """Return the model's summary of the rows, without the oldest as long as they do not fit into its window.

    None:   the stream was cut
    Errors: ModelError
    """
    claim, settings = turn.transcript.claim, turn.transcript.settings
    model = model_for(turn.config, settings["modelProvider"])
    while True:
        request = prompt.build(turn.config, settings, rows, claim.thread_id, claim.turn_id, {})
        request.input.append(text_message("user", INSTRUCTIONS))
        call = budget.open_call(turn, request)
        if call is None:
            return None
        try:
            with model_span(settings), call:
                return read_summary(call.metered(model.stream(call.request, turn.signal)))
        except ModelError as error:
            if error.info != CONTEXT_EXCEEDED or len(rows) < 2:
                raise
            rows = rows[max(1, len(rows) // 4) :]


@contextmanager
def _recording(
    transcript: Transcript, notes: HookNotes | None
) -> Iterator[Callable[[list[Message], TokenUsage, int], None]]:
    """Publish that a compaction begins; yields complete(model_items, usage, context_window), which stores it.

    Without that call the item is abandoned, like a message that was cut.
    """
    row = replace(transcript.new_row("contextCompaction", item={}, hooks=notes), started_at_ms=now_ms())
    writer, thread_usage = transcript.writer, transcript.usage
    writer.publish_events(durable_events.item_started(row))

    def complete(model_items: list[Message], usage: TokenUsage, context_window: int) -> None:
        done = replace(row, model_items=model_items, completed_at_ms=now_ms())
        thread_usage.count_answer(usage, context_window, transcript.settings.get("effort"))
        thread_usage.set_context_tokens(estimate_tokens(model_items), context_window)
        spent, settles = thread_usage.settle_call(usage, transcript.settings["model"])
        write = Write(transcript.claim, append=[done], usage=thread_usage.current, spent=spent, settles=settles)
        writer.store(write, *durable_events.item_events([done]))
        transcript.rows.append(done)
        thread_usage.publish()

    try:
        yield complete
    finally:
        writer.abandon_item(row.id)


def _user_texts(row: Item) -> list[str]:
    """Return the user's texts in a message or in an earlier compaction, without images."""
    if row.kind not in ("userMessage", "contextCompaction"):
        return []
    texts = (_written_text(item) for item in row.model_items if item["type"] == "message")  # none: encrypted, imported
    return [text for text in texts if text and not text.startswith(SUMMARY_OPENING)]


def _written_text(item: Mapping[str, Any]) -> str:
    content = item["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "input_text")
