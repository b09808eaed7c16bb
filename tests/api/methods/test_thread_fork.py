"""thread/fork: a copy of a thread under new ids."""

from __future__ import annotations

from typing import Any

import pytest

from shared.protocol.token_usage import ThreadTokenUsage, token_counts
from shared.store import Published, Write
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from shared.store.workspaces import add
from tests.builders import Backend, claim_turn, end_turn, make_message, make_thread, make_turn

USAGE = "thread/tokenUsage/updated"


def make_answered(backend: Backend, *texts: str, **values: Any) -> Thread:
    """Return a thread with one ended turn for each text; the answer is the text in capitals."""
    thread = make_thread(backend.store, backend.config, **values)
    for text in texts:
        make_turn(backend.store, thread, text)
        claim = claim_turn(backend.store)
        make_message(backend.store, claim, text.upper())
        end_turn(backend.store, claim)
    return backend.store.threads.get(thread.id, thread.owner)


def answers(turns: list[dict[str, Any]]) -> list[str]:
    return [item["text"] for turn in turns for item in turn["items"] if item["type"] == "agentMessage"]


def turn_ids(backend: Backend, thread: Thread) -> list[str]:
    return [turn.id for turn in backend.store.turns.of_thread(thread.id, thread.owner)]


def test_a_fork_has_the_same_messages_under_new_ids(backend: Backend) -> None:
    source = make_answered(backend, "one", "two", name="the name")
    client, other = backend.connect(), backend.connect()

    result = client.call("thread/fork", {"threadId": source.id})

    thread = result["thread"]
    assert (thread["forkedFromId"], thread["name"], thread["preview"]) == (source.id, "the name", "one")
    assert thread["sessionId"] == thread["id"] != source.id
    assert result["cwd"] == source.settings["cwd"].replace(source.id, thread["id"])
    assert answers(thread["turns"]) == ["ONE", "TWO"]
    assert not {turn["id"] for turn in thread["turns"]} & set(turn_ids(backend, source))
    assert client.wait_for_method("thread/started")["params"]["thread"]["turns"] == []
    assert other.wait_for_method("thread/started")["params"]["thread"]["forkedFromId"] == source.id
    assert client.call("thread/list")["data"][0]["id"] == thread["id"]


def test_a_turn_in_a_fork_stays_there_and_its_model_sees_the_copied_history(backend: Backend) -> None:
    source = make_answered(backend, "one")
    client = backend.connect()
    forked = client.call("thread/fork", {"threadId": source.id})["thread"]["id"]

    client.call("turn/start", {"threadId": forked, "input": [{"type": "text", "text": "more"}]})
    claim = claim_turn(backend.store)
    seen = backend.store.read_step(claim)

    assert claim.thread_id == forked
    assert [row.kind for row in seen.rows] == ["agentMessage"]
    assert len(turn_ids(backend, source)) == 1


@pytest.mark.parametrize(("cut", "kept"), [("lastTurnId", ["ONE", "TWO"]), ("beforeTurnId", ["ONE"])])
def test_a_fork_can_end_with_or_before_a_turn(backend: Backend, cut: str, kept: list[str]) -> None:
    source = make_answered(backend, "one", "two", "three")
    client = backend.connect()

    result = client.call("thread/fork", {"threadId": source.id, cut: turn_ids(backend, source)[1]})

    assert answers(result["thread"]["turns"]) == kept


def test_an_unknown_turn_or_two_ends_are_refused_and_make_no_thread(backend: Backend) -> None:
    source = make_answered(backend, "one")
    client = backend.connect()
    last = turn_ids(backend, source)[0]

    unknown = client.error("thread/fork", {"threadId": source.id, "lastTurnId": source.id})
    both = client.error("thread/fork", {"threadId": source.id, "lastTurnId": last, "beforeTurnId": last})

    assert unknown == {"code": -32600, "message": f"turn not found: {source.id}"}
    assert both["code"] == -32602
    assert len(client.call("thread/list")["data"]) == 1


def test_an_active_turn_is_not_copied(backend: Backend) -> None:
    source = make_answered(backend, "one")
    make_turn(backend.store, source, "running")

    result = backend.connect().call("thread/fork", {"threadId": source.id})

    assert answers(result["thread"]["turns"]) == ["ONE"]
    assert result["thread"]["status"] == {"type": "idle"}


def test_an_ephemeral_fork_is_not_listed_and_its_turns_can_be_excluded(backend: Backend) -> None:
    source = make_answered(backend, "one")
    client = backend.connect()

    result = client.call("thread/fork", {"threadId": source.id, "ephemeral": True, "excludeTurns": True})

    assert result["thread"]["ephemeral"] is True
    assert result["thread"]["turns"] == []
    assert [row["id"] for row in client.call("thread/list")["data"]] == [source.id]
    assert len(client.call("thread/turns/list", {"threadId": result["thread"]["id"]})["data"]) == 1


def test_overrides_apply_only_to_the_fork_and_are_checked_as_in_thread_start(backend: Backend) -> None:
    source = make_answered(backend, "one")
    client = backend.connect()

    result = client.call("thread/fork", {"threadId": source.id, "model": "other", "sandbox": "read-only"})
    refused = client.error("thread/fork", {"threadId": source.id, "config": {"notify": ["x"]}})

    assert (result["model"], result["sandbox"]["type"]) == ("other", "readOnly")
    assert client.call("thread/read", {"threadId": source.id})["thread"]["model"] == source.settings["model"]
    assert refused["code"] == -32602


def test_another_users_thread_cannot_be_forked(backend: Backend) -> None:
    source = make_answered(backend, "one", owner="somebody")

    error = backend.connect(LOCAL_USER).error("thread/fork", {"threadId": source.id})

    assert error == {"code": -32600, "message": f"no rollout found for thread id {source.id}"}


def test_a_fork_copies_a_workspace_and_shares_any_other_folder(backend: Backend) -> None:
    own, elsewhere = make_answered(backend, "one"), make_answered(backend, "one")
    backend.store.threads.change_settings(elsewhere.id, LOCAL_USER, {"cwd": "/srv"})
    client = backend.connect()

    forks = [client.call("thread/fork", {"threadId": one.id})["thread"] for one in (own, elsewhere)]
    named = client.call("thread/fork", {"threadId": own.id, "cwd": "/srv"})["thread"]

    made = [backend.store.workspaces.find(fork["id"], LOCAL_USER) for fork in [*forks, named]]
    assert [one.source if one else None for one in made] == [{"forkOf": own.id}, None, None]
    assert [forks[1]["cwd"], named["cwd"]] == ["/srv", "/srv"]
    assert backend.made == [(forks[0]["id"], LOCAL_USER)]


def test_a_fork_of_a_workspace_that_is_not_made_yet_has_the_same_source(backend: Backend) -> None:
    source = make_thread(backend.store, backend.config)
    with backend.store.database.write() as connection:
        add(connection, source.id, LOCAL_USER, {"archive": "A"})

    fork = backend.connect().call("thread/fork", {"threadId": source.id})["thread"]["id"]

    made = backend.store.workspaces.find(fork, LOCAL_USER)
    assert made is not None
    assert made.source == {"archive": "A"}


def test_a_fork_before_any_worker_has_the_turn_has_its_input(backend: Backend) -> None:
    source = make_answered(backend, "one")
    client = backend.connect()
    waiting = client.call("turn/start", {"threadId": source.id, "input": [{"type": "text", "text": "two"}]})["turn"]

    forked = client.call("thread/fork", {"threadId": source.id})["thread"]

    [_, copy] = forked["turns"]
    assert (copy["status"], [item["content"][0]["text"] for item in copy["items"]]) == ("interrupted", ["two"])
    assert forked["status"] == {"type": "idle"}
    assert backend.store.turns.get(waiting["id"], LOCAL_USER).phase == "queued"
    assert client.error("thread/fork", {"threadId": source.id, "lastTurnId": waiting["id"]})["code"] == -32600
    claim = claim_turn(backend.store)
    assert claim.turn_id == waiting["id"]
    assert len(backend.store.turns.of_thread(forked["id"], LOCAL_USER)) == 2


def test_a_fork_and_a_revert_have_the_usage_of_the_last_turn_that_they_keep(backend: Backend) -> None:
    source = make_thread(backend.store, backend.config)
    for number in range(1, 4):
        make_turn(backend.store, source, f"turn {number}")
        claim = claim_turn(backend.store)
        counts = token_counts(100 * number)
        usage: ThreadTokenUsage = {"total": counts, "last": counts, "modelContextWindow": None}
        backend.store.commit([Write(claim, usage=usage)], Published())
        end_turn(backend.store, claim)
    make_turn(backend.store, source, "without an answer")
    end_turn(backend.store, claim_turn(backend.store))
    ids = turn_ids(backend, source)
    client = backend.connect()

    def totals(method: str, **params: Any) -> list[tuple[int, int]]:
        before = len(client.frames)
        client.call(method, {"threadId": source.id, **params})
        found = [frame["params"] for frame in client.frames[before:] if frame.get("method") == USAGE]
        turns = [backend.store.turns.of_thread(one["threadId"], LOCAL_USER) for one in found]
        indexes = [[turn.id for turn in kept].index(one["turnId"]) for kept, one in zip(turns, found, strict=True)]
        return [(index, one["tokenUsage"]["total"]["totalTokens"]) for index, one in zip(indexes, found, strict=True)]

    assert totals("thread/fork") == [(2, 300)]
    assert totals("thread/fork", lastTurnId=ids[1]) == [(1, 200)]
    assert totals("thread/fork", beforeTurnId=ids[0]) == []
    assert totals("thread/resume") == [(2, 300)]
    client.call("thread/revert", {"threadId": source.id, "beforeTurnId": ids[1]})
    assert totals("thread/resume") == [(0, 100)]
