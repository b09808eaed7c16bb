"""Asking for somebody else's things is the same work as asking for none: the same statements and calls of workers.

What is answered is tests/wire/test_isolation.py's business.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from api.methods import TABLE
from shared import calls
from shared.ids import new_id
from tests.builders import House, claim_turn, end_turn, make_message, make_thread, make_turn
from tests.support.probes import NOT_PROBED, Probe, Things, nobodys, probes

ALICE, BOB = new_id(), new_id()


class Work:
    """What a request makes the database and the workers do."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._statements: list[str] = []
        event.listen(house.store.database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statements.append(statement)

    def of(self, probe: Probe) -> tuple[list[str], list[tuple[str, str]]]:
        """(statements, (kind, owner) of calls) for a new client of Bob's."""
        bob = self._house.connect(BOB)
        params = probe.filled(lambda: make_thread(self._house.store, self._house.config, BOB, materialized=True).id)
        self._statements.clear()
        before = len(self._house.calls)
        bob.reply(probe.method, params)
        return list(self._statements), [(kind, owner) for _, kind, _, owner in self._house.calls[before:]]


@pytest.mark.parametrize("method", sorted(set(TABLE) - NOT_PROBED))
def test_it_is_the_same_work(house: House, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "START_SECONDS", 0.2)  # that one waits for a worker; there is none
    thread = make_thread(house.store, house.config, ALICE, materialized=True)
    make_turn(house.store, thread, client_id="alices-message")
    claim = claim_turn(house.store)
    item = make_message(house.store, claim, "secret")
    turn = end_turn(house.store, claim)
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
        archive=new_id(),
        workspaces=str(house.config.server.workspaces_dir),
    )
    work = Work(house)

    for theirs, nothing in zip(
        (one for one in probes(hers) if one.method == method),
        (one for one in probes(nobodys(hers)) if one.method == method),
        strict=True,
    ):
        if theirs.params != nothing.params:  # it names something
            assert work.of(theirs) == work.of(nothing), theirs
