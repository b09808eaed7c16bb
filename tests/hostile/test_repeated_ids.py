"""A repeated clientUserMessageId is answered once and for all: with its turn, or with an error that says why not."""

from __future__ import annotations

import pytest

from tests.hostile.conftest import Tenants
from tests.support.protocol_client import RpcError
from tests.support.turns import run_turn


def start(message_id: str, thread_id: str, text: str) -> dict[str, object]:
    return {
        "threadId": thread_id,
        "input": [{"type": "text", "text": text}],
        "clientUserMessageId": message_id,
    }


def test_an_id_of_the_original_is_answered_on_its_fork(tenants: Tenants) -> None:
    client = tenants.eve.client
    thread = tenants.eve.start_thread()
    run_turn(client, thread["id"], "hello", clientUserMessageId="first")
    fork = client.request("thread/fork", {"threadId": thread["id"]})["thread"]

    again = client.request("turn/start", start("first", fork["id"], "hello"))["turn"]

    turns = client.request("thread/read", {"threadId": fork["id"], "includeTurns": True})["thread"]["turns"]
    assert [again["id"]] == [turn["id"] for turn in turns]


@pytest.mark.parametrize("on_fork", [False, True])
def test_an_id_with_other_input_is_an_error_that_says_so(tenants: Tenants, on_fork: bool) -> None:
    client = tenants.eve.client
    thread = tenants.eve.start_thread()
    run_turn(client, thread["id"], "hello", clientUserMessageId="first")
    if on_fork:
        thread = client.request("thread/fork", {"threadId": thread["id"]})["thread"]

    with pytest.raises(RpcError, match="clientUserMessageId"):
        client.request("turn/start", start("first", thread["id"], "something else"))
