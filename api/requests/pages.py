"""Cursors and sizes of pages: how clients walk through lists."""

from __future__ import annotations

from shared.errors import InvalidRequest

MAX_PAGE = 100


def page_cursor(position: str | int | None, *, inclusive: bool) -> str | None:
    """Return a position in a list as a cursor. inclusive: the page that it gives begins with the position itself."""
    return None if position is None else f"{'=' if inclusive else ''}{position}"


def parse_page_cursor(cursor: str | None) -> tuple[str | None, bool]:
    """Return the position of a cursor, and whether it is inclusive."""
    return (cursor.removeprefix("="), cursor.startswith("=")) if cursor else (None, False)


def invalid_cursor(cursor: str) -> InvalidRequest:
    """Return the error for a cursor that no list has given out, in the original's words."""
    return InvalidRequest(f"invalid cursor: {cursor[:200]}")


def page_size(limit: int | None, default: int) -> int:
    """Return how many entries a page has. limit: what the client asks for."""
    return max(1, min(MAX_PAGE, default if limit is None else limit))
