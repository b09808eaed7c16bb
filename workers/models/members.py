"""The members of a model server's JSON, which is untrusted: each is checked here, because no later reader checks it.

A member that an answer cannot do without raises TypeError, which ends the stream as one of the wrong shape. Of what can
be done without, a member of the wrong type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from shared.protocol.model_items import ReasoningPart
from shared.protocol.token_usage import MAX_TOKENS

MAX_INDEX = 9999  # of a part of reasoning


def text(value: object) -> str:
    """Return a text; null is an empty one. Errors: TypeError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def optional_text(value: object) -> str | None:
    """Return a text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def json_text(value: object) -> str:
    """Return JSON as text: some servers send the object itself. Errors: TypeError."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else text(value)


def index(value: object) -> int:
    """Return the number of a part. Errors: TypeError."""
    if type(value) is not int or not 0 <= value <= MAX_INDEX:
        raise TypeError("expected the number of a part")
    return value


def tokens(value: object) -> int:
    """Return a count of tokens; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return 0
    return int(value)


def members(value: object) -> Mapping[str, Any]:
    """Return the members of an object; none of what is no object."""
    return value if isinstance(value, dict) else {}


def reasoning_parts(value: object, kind: Literal["summary_text", "reasoning_text"]) -> list[ReasoningPart]:
    """Return the parts of reasoning that have a text."""
    texts = [members(part).get("text") for part in value] if isinstance(value, list) else []
    return [{"type": kind, "text": one} for one in texts if isinstance(one, str)]
