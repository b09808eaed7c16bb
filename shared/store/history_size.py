"""How many bytes a thread puts before its model, known before its items are loaded."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, literal_column, select

from shared.errors import HistoryTooLarge
from shared.store.items import SIZE, Bytes
from shared.store.tables import items, pending_inputs, turns

_FIRST = func.coalesce(
    select(func.max(items.c.position))
    .where(items.c.thread_id == bindparam("thread_id"), items.c.kind == "contextCompaction", items.c.answered)
    .scalar_subquery(),
    0,
)
_ITEMS = select(SIZE).where(items.c.thread_id == bindparam("thread_id"), items.c.position >= _FIRST).scalar_subquery()
_UNREAD = (
    select(func.coalesce(func.sum(Bytes(pending_inputs.c.input)), 0))
    .join(turns, turns.c.id == pending_inputs.c.turn_id)
    .where(turns.c.thread_id == bindparam("thread_id"), turns.c.phase != literal_column("'done'"))
    .where(pending_inputs.c.item_id.is_(None))
    .scalar_subquery()
)
# Both for the parameter thread_id: the position of the last compaction, and the bytes from there on with the input that
# is not read yet.
FIRST_POSITION, SIZE_BYTES = _FIRST.label("first_position"), (_ITEMS + _UNREAD).label("size_bytes")
_HISTORY = select(FIRST_POSITION, SIZE_BYTES)


def read(connection: Connection, thread_id: str) -> tuple[int, int]:
    """Return the position of the thread's last compaction, and the bytes from there on with the input not read yet."""
    first, size = connection.execute(_HISTORY, {"thread_id": thread_id}).one()
    return int(first), int(size)


def check(size_bytes: int, limit_bytes: int) -> None:
    """Check that a thread may put so much before its model. limit_bytes: 0: no limit. Errors: HistoryTooLarge."""
    if limit_bytes and size_bytes > limit_bytes:
        raise HistoryTooLarge(
            f"the thread has {size_bytes} bytes since its last compaction, more than the {limit_bytes} that this "
            "server gives to a model: run thread/compact/start, send less, or start a new thread"
        )
