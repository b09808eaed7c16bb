"""turn/wait/read: why a turn does not go on, for the user whose turn it is."""

from __future__ import annotations

from shared.ids import new_id
from shared.store.workers import Worker
from tests.builders import Backend, make_thread, make_turn

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)


def test_a_user_reads_why_their_turn_waits_and_which_turns_are_in_the_way(backend: Backend) -> None:
    client = backend.connect("ann")
    first, second, theirs = (make_thread(backend.store, backend.config, owner) for owner in ("ann", "ann", "bob"))
    backend.store.threads.set_name(first.id, "ann", "Nightly report")

    def wait() -> dict[str, object]:
        found: dict[str, object] = client.call("turn/wait/read", {"threadId": second.id})["wait"]
        return found

    assert client.call("turn/wait/read", {"threadId": second.id}) == {"wait": None}
    in_the_way = make_turn(backend.store, first)
    assert len(backend.store.claims.claim([f"{WORKER.name}:x"], lease_ms=30_000, turns_at_once=0)) == 1
    waiting = make_turn(backend.store, second)
    assert (wait()["cause"], wait()["turnId"], wait()["running"]) == ("noWorker", waiting.id, [])

    backend.store.workers.report(WORKER)
    assert wait()["cause"] == "claim"
    backend.store.limits.change("ann", {"turns_at_once": 1})
    make_turn(backend.store, theirs)
    assert len(backend.store.claims.claim([f"{WORKER.name}:y"], lease_ms=30_000, turns_at_once=0)) == 1

    assert (wait()["cause"], "It begins when one of them has ended" in str(wait()["why"])) == ("limit", True)
    (blocking,) = wait()["running"]  # type: ignore[misc]
    assert blocking["turnId"] == in_the_way.id
    assert (blocking["threadId"], blocking["name"]) == (first.id, "Nightly report")
    told = client.call("turn/wait/read", {"threadId": first.id})["wait"]
    assert (told["cause"], told["running"]) == ("model", [])
    assert backend.store.audit.all_users_page() == []


def test_a_thread_of_another_user_is_answered_as_an_unknown_one(backend: Backend) -> None:
    theirs, unknown = make_thread(backend.store, backend.config, "bob").id, new_id()
    client = backend.connect("ann")

    errors = [client.error("turn/wait/read", {"threadId": one}) for one in (theirs, unknown)]

    assert str(errors[0]).replace(theirs, "X") == str(errors[1]).replace(unknown, "X")
