"""A thread's turns and items as clients see them."""

from __future__ import annotations

from collections.abc import Sequence

from api.requests.pages import invalid_cursor, page_cursor, page_size, parse_page_cursor
from api.requests.results import TurnsPage
from shared.ids import is_id
from shared.protocol.turn import TurnObject
from shared.store import Store
from shared.store.items import Item
from shared.store.turns import Turn
from shared.views.turn import turn_object

TURNS_AT_ONCE = 500  # turns whose items are read with one query
TURNS_PAGE = 25


def turn_objects(store: Store, owner: str, turns: Sequence[Turn], view: str) -> tuple[list[TurnObject], list[Item]]:
    """Return turn objects with the items of a view, and all of these items.

    view: "notLoaded", "summary" or "full"
    """
    if view == "notLoaded":
        return [turn_object(turn) for turn in turns], []
    found: dict[str, list[Item]] = {}
    for start in range(0, len(turns), TURNS_AT_ONCE):
        some = turns[start : start + TURNS_AT_ONCE]
        found |= store.items.completed(some[0].thread_id, owner, [turn.id for turn in some])
    if view == "summary":
        found = {turn_id: _summary(items) for turn_id, items in found.items()}
    objects = [turn_object(turn, found.get(turn.id, []), view) for turn in turns]
    return objects, [item for items in found.values() for item in items]


def _summary(items: Sequence[Item]) -> list[Item]:
    """Return the user's first message and the agent's last one (PROTOCOL 3.2)."""
    first = [item for item in items if item.kind == "userMessage"][:1]
    last = [item for item in items if item.kind == "agentMessage"][-1:]
    return first + last


def turns_page(
    store: Store, owner: str, thread_id: str, *, cursor: str | None, limit: int | None, direction: str, view: str
) -> TurnsPage:
    """Return a page of thread/turns/list. Errors: InvalidRequest (the cursor)."""
    turn_id, inclusive = parse_page_cursor(cursor)
    if cursor is not None and turn_id is not None and not is_id(turn_id):
        raise invalid_cursor(cursor)
    size = page_size(limit, TURNS_PAGE)
    found = store.turns.of_thread(
        thread_id, owner, after_id=turn_id, inclusive=inclusive, descending=direction == "desc", limit=size + 1
    )
    turns = found[:size]
    objects, _ = turn_objects(store, owner, turns, view)
    return TurnsPage(
        data=objects,
        next_cursor=page_cursor(turns[-1].id, inclusive=False) if len(found) > size else None,
        backwards_cursor=page_cursor(turns[0].id if turns else None, inclusive=True),
    )


def newest_cursors(store: Store, owner: str, thread_id: str) -> tuple[str | None, str | None]:
    """Return cursors of the newest turn and of the newest completed item, to read backwards from (PROTOCOL 5.9)."""
    turns = store.turns.of_thread(thread_id, owner, descending=True, limit=1)
    items = store.items.page(thread_id, owner, turn_id=None, after=None, inclusive=False, descending=True, limit=1)
    return (
        page_cursor(turns[0].id if turns else None, inclusive=True),
        page_cursor(items[0].position if items else None, inclusive=True),
    )
