"""Records for the store's tests, and moves that many of them make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import text, update

from shared.clock import now_ms
from shared.ids import new_id
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.items import Item
from shared.store.tables import turns
from shared.store.threads import Thread
from shared.store.turns import Claim, NewTurn, Turn
from shared.store.writes import End, Published, Write
from tests.builders import unread_inputs
from tests.support.wait import DEADLINE_SECONDS

T = TypeVar("T")
LEASE_MS = 30_000
SETTINGS = {"model": "m", "modelProvider": "mock", "cwd": "/work", "approvalPolicy": "never"}


def thread(store: Store, owner: str = "ann", **values: Any) -> Thread:
    thread_id, at_ms = new_id(), now_ms()
    times = dict.fromkeys(("created_at_ms", "updated_at_ms", "recency_at_ms", "used_at_ms"), at_ms)
    made = Thread(
        **{
            "id": thread_id,
            "owner": owner,
            "session_id": thread_id,
            "settings": SETTINGS,
            "source": "vscode",
            **times,
            **values,
        }
    )
    store.threads.create(made)
    return made


def asked(text: str = "hello", client_id: str | None = None, **new: Any) -> NewTurn:
    part = {"type": "text", "text": text, "text_elements": []}
    return NewTurn(**{"input": [part], "client_id": client_id, "settings": {}, "options": {}, **new})


def begin(store: Store, of: Thread, text: str = "hello", client_id: str | None = None) -> Turn:
    return store.turns.create_or_steer(of.id, of.owner, asked(text, client_id), queued_limit=0)[0]


def queued(store: Store, owner: str = "ann") -> Turn:
    return begin(store, thread(store, owner))


def claim(store: Store, *, turns_at_once: int = 0) -> Claim:
    (made,) = store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=turns_at_once)
    return made


def running(store: Store, owner: str = "ann") -> Claim:
    queued(store, owner)
    return claim(store)


def row(of: Claim, position: int = 1, **values: Any) -> Item:
    return Item(**{"id": new_id(), "thread_id": of.thread_id, "turn_id": of.turn_id, "position": position,
                   "kind": "agentMessage", "item": {"text": "x"}, **values})  # fmt: skip


def open_call(of: Claim, position: int = 1, **values: Any) -> Item:
    item = {"type": "function_call", "name": "exec_command", "call_id": f"c{position}", "arguments": "{}"}
    return row(of, position, kind="call", item=None, model_items=[item], answered=False, **values)


def write(store: Store, *writes: Write) -> list[str]:
    return store.commit(list(writes), Published())


def read_all(store: Store, of: Claim) -> Write:
    return Write(of, read=[(pending.id, new_id()) for pending in unread_inputs(store, of.turn_id)])


def end(store: Store, of: Claim, status: str = "completed") -> list[str]:
    write(store, read_all(store, of))
    return write(store, Write(of, end=End(status, now_ms())))


def park(store: Store, of: Claim, expires_in_ms: int = 60_000) -> Approval:
    method = "item/commandExecution/requestApproval"
    approval = store.claims.park(of, method, new_id(), {}, ["k"], expires_in_ms=expires_in_ms)
    assert approval is not None
    return approval


def phase(store: Store, of: Claim) -> tuple[str, str]:
    turn = store.turns.get(of.turn_id, of.owner)
    return turn.phase, turn.status


def expire_lease(store: Store, of: Claim) -> None:
    with store.database.write() as connection:
        connection.execute(update(turns).where(turns.c.id == of.turn_id).values(lease_until_ms=0))


def a_transaction_waits(store: Store) -> bool:
    """Return whether one waits for a lock of Postgres."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.database.read() as connection:
        return bool(connection.scalar(text(waiting)))


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """Run call(0) … call(count - 1), each in a thread, started together."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        barrier.wait(DEADLINE_SECONDS)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
