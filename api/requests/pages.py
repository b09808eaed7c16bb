"""Cursors and sizes of pages: how clients walk through lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

from marshmallow import validate

from api.requests.params import NoParams
from shared.errors import InvalidRequest
from shared.ids import is_id

MAX_PAGE = 100
ADMIN_PAGE = 50

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class AdminPageParams(NoParams):
    """Which page of a list of admins to return.

    cursor: `nextCursor` of the page before
    """

    refuses_unknown: ClassVar[bool] = True

    cursor: Annotated[str, validate.Length(max=100)] | None = None
    limit: Annotated[int, validate.Range(1, MAX_PAGE)] = ADMIN_PAGE

    @property
    def after_id(self) -> str | None:
        """The id at the end of the page before. Errors: InvalidRequest (the cursor)."""
        if self.cursor is not None and not is_id(self.cursor):
            raise invalid_cursor(self.cursor)
        return self.cursor


def cut_page(found: Sequence[Row], limit: int, id_of: Callable[[Row], str]) -> tuple[Sequence[Row], str | None]:
    """Return a page and the cursor of the next one. found: one row more than the page has, if there is one."""
    page = found[:limit]
    return page, id_of(page[-1]) if len(found) > limit else None


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
