"""`tokenUsage` of a thread (PROTOCOL section 6)."""

from __future__ import annotations

from typing import TypedDict

MAX_TOKENS = 10**12  # of one count from outside; sums of counts are stored in 64 bits


class TokenCounts(TypedDict):
    """Tokens of one answer, or of all answers of a thread."""

    totalTokens: int
    inputTokens: int
    cachedInputTokens: int
    cacheWriteInputTokens: int
    outputTokens: int
    reasoningOutputTokens: int


class ThreadTokenUsage(TypedDict):
    """What a thread has used.

    total:              all answers
    last:               the last answer, or what the next request will take after a compaction
    modelContextWindow: in tokens
    """

    total: TokenCounts
    last: TokenCounts
    modelContextWindow: int | None


def token_counts(
    total: int = 0, *, input: int = 0, cached_input: int = 0, output: int = 0, reasoning_output: int = 0
) -> TokenCounts:
    """Return counts under their names on the wire."""
    return {
        "totalTokens": total,
        "inputTokens": input,
        "cachedInputTokens": cached_input,
        "cacheWriteInputTokens": 0,
        "outputTokens": output,
        "reasoningOutputTokens": reasoning_output,
    }


def add_counts(before: TokenCounts, more: TokenCounts) -> TokenCounts:
    """Return the sum, count by count."""
    return {
        "totalTokens": before["totalTokens"] + more["totalTokens"],
        "inputTokens": before["inputTokens"] + more["inputTokens"],
        "cachedInputTokens": before["cachedInputTokens"] + more["cachedInputTokens"],
        "cacheWriteInputTokens": before["cacheWriteInputTokens"] + more["cacheWriteInputTokens"],
        "outputTokens": before["outputTokens"] + more["outputTokens"],
        "reasoningOutputTokens": before["reasoningOutputTokens"] + more["reasoningOutputTokens"],
    }
