"""A thread's turns and items as clients see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.delivery.frames import notification
from api.requests.context import Context
from api.requests.pages import invalid_cursor, page_cursor, page_size, parse_page_cursor
from api.requests.results import TurnsPage
from shared.errors import InvalidRequest
from shared.ids import is_id
from shared.protocol.turn import TurnObject
from shared.store import Store
from shared.store.items import Item, count_fitting
from shared.store.turns import Turn
from shared.views.turn import turn_object

TURNS_AT_ONCE = 500  # turns whose items are read with one query
TURNS_PAGE = 25
ANSWER_BYTES = 16 << 20  # of the items in one answer, as in a request: they are in memory several times
BY_PAGES = "read them by pages with thread/turns/list or thread/items/list"


def turn_objects(store: Store, owner: str, turns: Sequence[Turn], view: str) -> tuple[list[TurnObject], list[Item]]:
    """Return turn objects with the items of a view, and all of these items.

    view: "notLoaded", "summary" or "full"
    """
    if view == "notLoaded":
        return [turn_object(turn) for turn in turns], []
    found: dict[str, list[Item]] = {}
    for some in _parts(turns):
        ids = [turn.id for turn in some]
        found |= store.items.completed(some[0].thread_id, owner, ids, summary=view == "summary")
    objects = [turn_object(turn, found.get(turn.id, []), view) for turn in turns]
    return objects, [item for items in found.values() for item in items]


def fitting_turns(store: Store, owner: str, turns: Sequence[Turn], view: str) -> tuple[list[TurnObject], list[Item]]:
    """Return as many of the first turns as fit into an answer, at least one, and their items, as turn_objects does.

    A turn that alone is too large comes as its summary, or without items if that is too large as well.
    """
    while view != "notLoaded" and turns:
        if count := _count_fitting(store, owner, turns, view):
            return turn_objects(store, owner, turns[:count], view)
        turns, view = turns[:1], "summary" if view == "full" else "notLoaded"
    return turn_objects(store, owner, turns, view)


def newest_turns(ctx: Context, thread_id: str, turns: Sequence[Turn]) -> tuple[list[TurnObject], list[Item]]:
    """Return all turns of a thread, in order, and the items that they have.

    When all items are too large for an answer, the older turns have none, and the client is warned after the reply.
    """
    newest, items = fitting_turns(ctx.store, ctx.user_id, turns[::-1], "full")
    older = [turn_object(turn) for turn in turns[: len(turns) - len(newest)]]
    objects = [*older, *reversed(newest)]
    short = sum(one["itemsView"] != "full" for one in objects)
    if short and ctx.connection is not None:
        message = f"the thread is too large to be sent whole: {short} of its turns are without items; {BY_PAGES}"
        ctx.frames.append(notification("warning", {"threadId": thread_id, "message": message}))
    return objects, items


def whole_turns(store: Store, owner: str, turns: Sequence[Turn]) -> list[TurnObject]:
    """Return turns with all of their items. Errors: InvalidRequest (together they are too large)."""
    if _count_fitting(store, owner, turns, "full") < len(turns):
        raise InvalidRequest(f"the thread's items have more than the {ANSWER_BYTES} bytes of one answer; {BY_PAGES}")
    return turn_objects(store, owner, turns, "full")[0]


def _count_fitting(store: Store, owner: str, turns: Sequence[Turn], view: str) -> int:
    """Return how many of the first turns fit into an answer, without loading their items."""
    return count_fitting(_sizes(store, owner, turns, view), ANSWER_BYTES)


def _sizes(store: Store, owner: str, turns: Sequence[Turn], view: str) -> Iterator[int]:
    for some in _parts(turns):
        ids = [turn.id for turn in some]
        found = store.items.sizes(some[0].thread_id, owner, ids, summary=view == "summary")
        yield from (found.get(turn_id, 0) for turn_id in ids)


def _parts(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    return (turns[start : start + TURNS_AT_ONCE] for start in range(0, len(turns), TURNS_AT_ONCE))


def turns_page(
    store: Store, owner: str, thread_id: str, *, cursor: str | None, limit: int | None, direction: str, view: str
) -> TurnsPage:
    """Return a page of thread/turns/list, which ends earlier when its turns are large.

    Errors: InvalidRequest (the cursor)
    """
    turn_id, inclusive = parse_page_cursor(cursor)
    if cursor is not None and turn_id is not None and not is_id(turn_id):
        raise invalid_cursor(cursor)
    size = page_size(limit, TURNS_PAGE)
    found = store.turns.of_thread(
        thread_id, owner, after_id=turn_id, inclusive=inclusive, descending=direction == "desc", limit=size + 1
    )
    objects, _ = fitting_turns(store, owner, found[:size], view)
    turns = found[: len(objects)]
    return TurnsPage(
        data=objects,
        next_cursor=page_cursor(turns[-1].id, inclusive=False) if len(found) > len(turns) else None,
        backwards_cursor=page_cursor(turns[0].id if turns else None, inclusive=True),
    )


def newest_cursors(store: Store, owner: str, thread_id: str) -> tuple[str | None, str | None]:
    """Return cursors of the newest turn and of the newest completed item, to read backwards from (PROTOCOL 5.9)."""
    turns = store.turns.of_thread(thread_id, owner, descending=True, limit=1)
    items, _ = store.items.page(
        thread_id, owner, turn_id=None, after=None, inclusive=False, descending=True, limit=1, limit_bytes=0
    )
    return (
        page_cursor(turns[0].id if turns else None, inclusive=True),
        page_cursor(items[0].position if items else None, inclusive=True),
    )
