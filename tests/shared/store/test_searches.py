"""Searches in messages, on both databases."""

from __future__ import annotations

import pytest

from shared.ids import new_id
from shared.protocol.items import agent_message
from shared.store import Store
from shared.store.items import Item, append
from shared.store.searches import Batch
from shared.store.threads import Filter
from tests.shared.store.records import thread


def say(store: Store, number: int, *texts: str, owner: str = "ann") -> str:
    """Make a thread with messages of the agent, and one of the user that has another content."""
    made = thread(store, materialized=True, owner=owner, created_at_ms=1_000 + number)
    user = {"type": "userMessage", "clientId": None, "content": [{"type": "image", "url": "data:needle"}]}
    rows = [Item(new_id(), made.id, new_id(), 0, "userMessage", item=user, completed_at_ms=1)]
    rows += [
        Item(new_id(), made.id, new_id(), position, "agentMessage", item=agent_message(text), completed_at_ms=1)
        for position, text in enumerate(texts, 1)
    ]
    with store.database.write() as connection:
        append(connection, rows)
    return made.id


def batch(store: Store, term: str, *, after: tuple[int, str] | None = None, limit: int = 100) -> Batch:
    order = {"sort_key": "created_at", "descending": True}
    return store.searches.batch("ann", term, Filter(), after=after, limit=limit, **order)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["a Needle here", "100% of_it", 'say "yes\\no"', "Ünï straße 日本語", "tab\there\nand ÉCOLE", "\x7f del"]
)
def test_any_text_is_found_whatever_its_case(store: Store, text: str) -> None:
    wanted = say(store, 1, "other", text)
    say(store, 2, text, owner="bob")
    say(store, 3, "nothing")

    for term in {text, text.lower(), *text.split(), *(word.swapcase() for word in text.split() if "ß" not in word)}:
        found = batch(store, " ".join(term.split())).hits
        assert [hit.thread.id for hit in found] == [wanted], term


def test_batches_follow_each_other_to_the_end(store: Store) -> None:
    made = [say(store, number, "needle" if number % 2 else "other") for number in range(7)]

    first = batch(store, "needle", limit=4)
    second = batch(store, "needle", after=first.end, limit=4)

    assert [hit.thread.id for hit in first.hits] == [made[5], made[3]]
    assert [hit.thread.id for hit in second.hits] == [made[1]]
    assert first.end == (1_003, made[3])
    assert second.end is None
