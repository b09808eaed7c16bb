"""Reads the arguments of a function call.

This is the only reader: what hooks, reviewers and approvals are shown of a call is what its tool gets.
"""

from __future__ import annotations

from typing import Any

from shared.errors import ToolError
from shared.protocol import frames


def read_arguments(text: str, subject: str) -> dict[str, Any]:
    """Return the arguments of a call; none for an empty text. Repairs what cannot be stored, as frames.decode says.

    subject: what an error's text begins with
    Errors:  ToolError (not JSON, not an object)
    """
    try:
        arguments = frames.decode((text or "{}").encode(errors="replace"))
    except ValueError as error:
        raise ToolError(f"{subject}: the arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ToolError(f"{subject}: the arguments are not a JSON object")
    return arguments
