"""Compaction: a summary that the model writes takes the place of the history (PROTOCOL section 7.7).

What the user said stays, the newest first, as far as KEPT_TOKENS reach; the rest is told by the summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shared.store.items import Item
from workers.models.chunks import Chunk, Closed, Usage
from workers.sandbox.output import count_tokens, shorten

WINDOW_SHARE = 0.9  # of the context window: fuller, and an answer with its tools may not fit any more
KEPT_TOKENS = 20_000  # of what the user said
SUMMARY_OPENING = "<conversation_summary>"

INSTRUCTIONS = (
    "The conversation so far is about to be replaced by a summary that you write now. Whoever goes on with the task "
    "has nothing but that summary and the latest messages of the user. Say what was asked for and which constraints "
    "and preferences were named; what was done, decided and found out, with the names of files, functions and commands "
    "that matter; what failed and why; what remains to be done, and the next step. Be concrete and brief. Answer with "
    "the summary alone and call no tool."
)


def token_limit(configured: int | None, context_window: int) -> int:
    """From how many tokens on the history is compacted before the model is asked again."""
    limit = round(context_window * WINDOW_SHARE)
    return min(limit, configured) if configured else limit


def summarise(chunks: Iterable[Chunk]) -> tuple[str, Usage] | None:
    """The summary that a model's answer is, unseen by clients. None: the stream was cut. Errors: ModelError."""
    texts = []
    for chunk in chunks:
        match chunk:
            case Closed({"type": "message", "content": content}):
                texts += [part.get("text", "") for part in content]
            case Usage():
                return "\n".join(texts).strip(), chunk
    return None


def replacement(rows: Sequence[Item], summary: str) -> list[dict[str, Any]]:
    """The history from now on: the latest messages of the user, then the summary."""
    kept: list[dict[str, Any]] = []
    left = KEPT_TOKENS
    for text in reversed([text for row in rows for text in _said(row)]):
        kept.append(_message(shorten(text, left)))
        left -= count_tokens(len(text.encode()))
        if left <= 0:
            break
    told = f"{SUMMARY_OPENING}\n{summary or '(there is none)'}\n</conversation_summary>"
    return [*reversed(kept), _message(told)]


def estimate_tokens(model_items: Sequence[dict[str, Any]]) -> int:
    """About how many tokens messages of text take."""
    return sum(count_tokens(len(part["text"].encode())) for item in model_items for part in item["content"])


def _said(row: Item) -> list[str]:
    """What the user said, of a message or of an earlier compaction; images are left out."""
    if row.kind not in ("userMessage", "contextCompaction"):
        return []
    texts = (
        "\n".join(part["text"] for part in item["content"] if part["type"] == "input_text") for item in row.model_items
    )
    return [text for text in texts if text and not text.startswith(SUMMARY_OPENING)]


def _message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
