"""turn/start: what is stored for a new turn, and what is refused. Events: tests/api/transport/test_dispatch.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.methods.turn_start import MAX_INPUTS
from shared.config import Limits
from tests.builders import Backend, Client, claim_turn, end_turn, make_thread, make_turn, text_input, unread_inputs


@pytest.fixture
def client(backend: Backend) -> Client:
    return backend.connect()


@pytest.fixture
def thread_id(backend: Backend) -> str:
    return make_thread(backend.store, backend.config).id


def stored_input(backend: Backend, turn_id: str) -> list[Any]:
    return [pending.input for pending in unread_inputs(backend.store, turn_id)]


def test_the_input_is_stored_with_the_queued_turn(backend: Backend, client: Client, thread_id: str) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image", "url": "data:image/png;base64,"}]

    turn = client.call("turn/start", {"threadId": thread_id, "input": parts})["turn"]

    assert (turn["status"], turn["items"], turn["startedAt"]) == ("inProgress", [], None)
    assert stored_input(backend, turn["id"]) == [[{**parts[0], "text_elements": []}, parts[1]]]
    assert claim_turn(backend.store).turn_id == turn["id"]


@pytest.mark.parametrize("method", ["turn/start", "turn/steer"])
def test_an_image_elsewhere_is_refused_as_the_original_refuses_it(
    backend: Backend, client: Client, thread_id: str, method: str
) -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}

    error = client.error(method, {"threadId": thread_id, "expectedTurnId": "x", "input": [image]})

    assert error["code"] == -32600
    assert error["message"] == "remote image URLs are not supported; use an inline data URL instead"
    assert backend.store.turns.of_thread(thread_id, "local") == []


def test_the_turn_keeps_its_output_schema_and_the_clients_name(
    backend: Backend, client: Client, thread_id: str
) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}

    client.call("turn/start", {"threadId": thread_id, "input": text_input("hi"), "outputSchema": schema})

    options = claim_turn(backend.store).turn.options
    assert options["outputSchema"] == schema
    assert options["client"] == "test"


def test_overrides_become_the_threads_settings_when_they_differ(
    backend: Backend, client: Client, thread_id: str
) -> None:
    client.call("turn/start", {"threadId": thread_id, "input": [], "effort": "high", "sandbox": "read-only"})

    settings = backend.store.threads.get(thread_id, "local").settings
    assert settings["effort"] == "high"
    assert settings["sandboxPolicy"] == {"type": "readOnly", "networkAccess": False}


def test_a_second_request_with_the_same_message_id_after_the_end_begins_nothing(
    backend: Backend, client: Client, thread_id: str
) -> None:
    params = {"threadId": thread_id, "input": text_input("once"), "clientUserMessageId": "m1"}
    first = client.call("turn/start", params)["turn"]
    end_turn(backend.store, claim_turn(backend.store))

    again = client.call("turn/start", params)["turn"]

    assert (again["id"], again["status"]) == (first["id"], "completed")
    assert len(backend.store.turns.of_thread(thread_id, "local")) == 1


def test_an_archived_thread_begins_no_turn(backend: Backend, client: Client, thread_id: str) -> None:
    client.call("thread/archive", {"threadId": thread_id})

    error = client.error("turn/start", {"threadId": thread_id, "input": text_input("hi")})

    assert error["code"] == -32600
    assert "archived" in error["message"]
    assert backend.store.turns.of_thread(thread_id, "local") == []


def test_a_compaction_takes_no_input(client: Client, thread_id: str) -> None:
    client.call("thread/compact/start", {"threadId": thread_id})

    error = client.error("turn/start", {"threadId": thread_id, "input": text_input("hi")})

    assert error["message"] == "cannot steer a compact turn"
    assert error["data"]["codexErrorInfo"] == {"activeTurnNotSteerable": {"turnKind": "compact"}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "missing field `input`"),
        ({"input": [{"type": "text"}]}, "missing field `text`"),
        ({"input": [{"type": "video", "url": "x"}]}, "unknown variant `video`"),
        ({"input": text_input("x") * (MAX_INPUTS + 1)}, "input: "),
        ({"input": [], "clientUserMessageId": ""}, "clientUserMessageId: "),
        ({"input": [], "effort": "extreme"}, "unknown variant `extreme`"),
        ({"input": [], "cwd": "../up"}, "cwd: expected an absolute path"),
        ({"input": [], "outputSchema": "text"}, "invalid type: string, expected a map"),
    ],
)
def test_wrong_params_are_refused_and_store_nothing(
    backend: Backend, client: Client, thread_id: str, params: dict[str, Any], message: str
) -> None:
    error = client.error("turn/start", {"threadId": thread_id, **params})

    assert error["code"] == -32602
    assert message in error["message"]
    assert backend.store.turns.of_thread(thread_id, "local") == []


def test_another_users_thread_is_not_found(backend: Backend, thread_id: str) -> None:
    error = backend.connect("stranger").error("turn/start", {"threadId": thread_id, "input": []})

    assert error == {"code": -32600, "message": f"thread not found: {thread_id}"}


def test_overrides_sent_to_a_running_turn_become_the_threads_settings(backend: Backend, client: Client) -> None:
    thread = make_thread(backend.store, backend.config)
    running = make_turn(backend.store, thread)
    claim_turn(backend.store)

    turn = client.call("turn/start", {"threadId": thread.id, "input": [], "effort": "high"})["turn"]

    assert turn["id"] == running.id
    assert backend.store.threads.get(thread.id, "local").settings["effort"] == "high"


def test_input_that_makes_a_thread_too_large_is_refused(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(history_bytes=200_000))
    full, other = (make_thread(backend.store, backend.config).id for _ in range(2))
    client, large = backend.connect(), text_input("x" * 90_000)
    turn = client.call("turn/start", {"threadId": full, "input": large})["turn"]
    client.call("turn/steer", {"threadId": full, "expectedTurnId": turn["id"], "input": large})

    steer = {"threadId": full, "expectedTurnId": turn["id"], "input": large}
    errors = [client.error("turn/start", {"threadId": full, "input": large}), client.error("turn/steer", steer)]

    assert [error["code"] for error in errors] == [-32600, -32600]
    assert all("start a new thread" in error["message"] for error in errors)
    assert len(stored_input(backend, turn["id"])) == 2
    client.call("turn/start", {"threadId": other, "input": large})


def test_many_small_inputs_of_a_turn_that_waits_count_together(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(history_bytes=100_000))
    thread_id = make_thread(backend.store, backend.config).id
    client, small = backend.connect(), text_input("x" * 9_000)
    turn = client.call("turn/start", {"threadId": thread_id, "input": small})["turn"]
    steer = {"threadId": thread_id, "expectedTurnId": turn["id"], "input": small}

    replies = [client.reply(*request) for request in [("turn/steer", steer), ("turn/start", steer)] * 10]

    refused = [reply["error"]["message"] for reply in replies if "error" in reply]
    assert 9 <= len(refused) <= 11
    assert all("start a new thread" in message for message in refused)
    assert len(stored_input(backend, turn["id"])) == 1 + len(replies) - len(refused)


def test_a_repeated_message_is_answered_although_the_thread_has_no_room_for_another(
    open_backend: Callable[..., Backend],
) -> None:
    backend = open_backend(limits=Limits(history_bytes=100_000))
    thread_id = make_thread(backend.store, backend.config).id
    client = backend.connect()
    params = {"threadId": thread_id, "input": text_input("x" * 90_000), "clientUserMessageId": "first"}
    turn = client.call("turn/start", params)["turn"]

    again = client.call("turn/start", params)["turn"]
    steered = client.call("turn/steer", {**params, "expectedTurnId": turn["id"]})

    assert again["id"] == steered["turnId"] == turn["id"]
    assert len(stored_input(backend, turn["id"])) == 1
