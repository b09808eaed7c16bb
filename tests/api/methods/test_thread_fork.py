"""thread/fork: a copy under fresh ids."""

from __future__ import annotations

from typing import Any

import pytest

from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from shared.store.workspaces import add
from tests.builders import House, claim_turn, end_turn, make_message, make_thread, make_turn


def make_said(house: House, *texts: str, **values: Any) -> Thread:
    """A thread with one ended turn for each text, answered with it in capitals."""
    thread = make_thread(house.store, house.config, **values)
    for text in texts:
        make_turn(house.store, thread, text)
        claim = claim_turn(house.store)
        make_message(house.store, claim, text.upper())
        end_turn(house.store, claim)
    return house.store.threads.get(thread.id, thread.owner)


def answers(turns: list[dict[str, Any]]) -> list[str]:
    return [item["text"] for turn in turns for item in turn["items"] if item["type"] == "agentMessage"]


def turn_ids(house: House, thread: Thread) -> list[str]:
    return [turn.id for turn in house.store.turns.of_thread(thread.id, thread.owner)]


def test_a_fork_has_the_same_words_under_ids_of_its_own(house: House) -> None:
    source = make_said(house, "one", "two", name="the name")
    client, other = house.connect(), house.connect()

    result = client.call("thread/fork", {"threadId": source.id})

    thread = result["thread"]
    assert (thread["forkedFromId"], thread["name"], thread["preview"]) == (source.id, "the name", "one")
    assert thread["sessionId"] == thread["id"] != source.id
    assert result["cwd"] == source.settings["cwd"].replace(source.id, thread["id"])
    assert answers(thread["turns"]) == ["ONE", "TWO"]
    assert not {turn["id"] for turn in thread["turns"]} & set(turn_ids(house, source))
    assert client.wait_for_method("thread/started")["params"]["thread"]["turns"] == []
    assert other.wait_for_method("thread/started")["params"]["thread"]["forkedFromId"] == source.id
    assert client.call("thread/list")["data"][0]["id"] == thread["id"]


def test_what_is_said_in_a_fork_stays_there_and_the_model_sees_what_was_copied(house: House) -> None:
    source = make_said(house, "one")
    client = house.connect()
    forked = client.call("thread/fork", {"threadId": source.id})["thread"]["id"]

    client.call("turn/start", {"threadId": forked, "input": [{"type": "text", "text": "more"}]})
    claim = claim_turn(house.store)
    seen = house.store.read_step(claim)

    assert claim.thread_id == forked
    assert [row.kind for row in seen.rows] == ["agentMessage"]
    assert len(turn_ids(house, source)) == 1


@pytest.mark.parametrize(("cut", "kept"), [("lastTurnId", ["ONE", "TWO"]), ("beforeTurnId", ["ONE"])])
def test_a_fork_ends_with_or_before_a_turn(house: House, cut: str, kept: list[str]) -> None:
    source = make_said(house, "one", "two", "three")
    client = house.connect()

    result = client.call("thread/fork", {"threadId": source.id, cut: turn_ids(house, source)[1]})

    assert answers(result["thread"]["turns"]) == kept


def test_an_unknown_turn_or_both_ends_are_refused_and_nothing_is_made(house: House) -> None:
    source = make_said(house, "one")
    client = house.connect()
    last = turn_ids(house, source)[0]

    unknown = client.error("thread/fork", {"threadId": source.id, "lastTurnId": source.id})
    both = client.error("thread/fork", {"threadId": source.id, "lastTurnId": last, "beforeTurnId": last})

    assert unknown == {"code": -32600, "message": f"turn not found: {source.id}"}
    assert both["code"] == -32602
    assert len(client.call("thread/list")["data"]) == 1


def test_an_active_turn_is_not_copied(house: House) -> None:
    source = make_said(house, "one")
    make_turn(house.store, source, "running")

    result = house.connect().call("thread/fork", {"threadId": source.id})

    assert answers(result["thread"]["turns"]) == ["ONE"]
    assert result["thread"]["status"] == {"type": "idle"}


def test_an_ephemeral_fork_without_its_turns_in_the_reply_is_never_listed(house: House) -> None:
    source = make_said(house, "one")
    client = house.connect()

    result = client.call("thread/fork", {"threadId": source.id, "ephemeral": True, "excludeTurns": True})

    assert result["thread"]["ephemeral"] is True
    assert result["thread"]["turns"] == []
    assert [row["id"] for row in client.call("thread/list")["data"]] == [source.id]
    assert len(client.call("thread/turns/list", {"threadId": result["thread"]["id"]})["data"]) == 1


def test_overrides_are_the_forks_alone_and_bounded_like_those_of_a_start(house: House) -> None:
    source = make_said(house, "one")
    client = house.connect()

    result = client.call("thread/fork", {"threadId": source.id, "model": "other", "sandbox": "read-only"})
    refused = client.error("thread/fork", {"threadId": source.id, "config": {"notify": ["x"]}})

    assert (result["model"], result["sandbox"]["type"]) == ("other", "readOnly")
    assert client.call("thread/read", {"threadId": source.id})["thread"]["model"] == source.settings["model"]
    assert refused["code"] == -32602


def test_nobody_forks_somebody_elses_thread(house: House) -> None:
    source = make_said(house, "one", owner="somebody")

    error = house.connect(LOCAL_USER).error("thread/fork", {"threadId": source.id})

    assert error == {"code": -32600, "message": f"no rollout found for thread id {source.id}"}


def test_a_fork_of_an_own_workspace_has_it_copied_and_one_of_another_folder_shares_it(house: House) -> None:
    own, elsewhere = make_said(house, "one"), make_said(house, "one")
    house.store.threads.change_settings(elsewhere.id, LOCAL_USER, {"cwd": "/srv"})
    client = house.connect()

    forks = [client.call("thread/fork", {"threadId": one.id})["thread"] for one in (own, elsewhere)]
    named = client.call("thread/fork", {"threadId": own.id, "cwd": "/srv"})["thread"]

    made = [house.store.workspaces.find(fork["id"], LOCAL_USER) for fork in [*forks, named]]
    assert [one.source if one else None for one in made] == [{"forkOf": own.id}, None, None]
    assert [forks[1]["cwd"], named["cwd"]] == ["/srv", "/srv"]
    assert house.made == [(forks[0]["id"], LOCAL_USER)]


def test_a_fork_of_what_is_still_to_be_made_begins_with_the_same(house: House) -> None:
    source = make_thread(house.store, house.config)
    with house.store.database.write() as connection:
        add(connection, source.id, LOCAL_USER, {"archive": "A"})

    fork = house.connect().call("thread/fork", {"threadId": source.id})["thread"]["id"]

    made = house.store.workspaces.find(fork, LOCAL_USER)
    assert made is not None
    assert made.source == {"archive": "A"}
