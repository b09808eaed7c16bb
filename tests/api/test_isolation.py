"""A request for another user's ids does the same work as one for unknown ids: the same SQL and worker calls.

That the answers are the same is tested in tests/wire/test_isolation.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from api.methods import TABLE
from shared.events import worker_calls
from shared.ids import new_id
from tests.builders import Backend, claim_turn, end_turn, make_message, make_thread, make_turn
from tests.support.probes import NOT_PROBED, Probe, Things, probes, unknown_things

ALICE, BOB = new_id(), new_id()


class Work:
    """Records what a request makes the database and the workers do."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._statements: list[str] = []
        event.listen(backend.store.database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statements.append(statement)

    def of(self, probe: Probe) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the SQL statements, and (kind, owner) of each worker call, of a request by a new client of Bob."""
        bob = self._backend.connect(BOB)
        params = probe.filled(lambda: make_thread(self._backend.store, self._backend.config, BOB, materialized=True).id)
        self._statements.clear()
        before = len(self._backend.calls)
        bob.reply(probe.method, params)
        return list(self._statements), [(kind, owner) for _, kind, _, owner in self._backend.calls[before:]]


@pytest.mark.parametrize("method", sorted(set(TABLE) - NOT_PROBED))
def test_requests_for_foreign_and_unknown_ids_do_the_same_work(
    backend: Backend, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_calls, "START_SECONDS", 0.2)  # how long a request waits for a worker; there is none
    thread = make_thread(backend.store, backend.config, ALICE, materialized=True)
    make_turn(backend.store, thread, client_id="alices-message")
    claim = claim_turn(backend.store)
    item = make_message(backend.store, claim, "secret")
    turn = end_turn(backend.store, claim)
    share, _ = backend.store.thread_shares.create(thread.id, ALICE, 3600)
    hers = Things(
        user=ALICE,
        thread=thread.id,
        turn=turn.id,
        item=item.id,
        request=1,
        event="1700000000000-1",
        client_message="alices-message",
        process="alices-shell",
        search="alices-search",
        feedback=new_id(),
        share=share.id,
        key=new_id(),
        delivery=new_id(),
        archive=new_id(),
        workspaces=str(backend.config.server.workspaces_dir),
    )
    work = Work(backend)

    for theirs, nothing in zip(
        (one for one in probes(hers) if one.method == method),
        (one for one in probes(unknown_things(hers)) if one.method == method),
        strict=True,
    ):
        if theirs.params != nothing.params:  # its params name something
            assert work.of(theirs) == work.of(nothing), theirs
