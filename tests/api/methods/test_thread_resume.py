"""thread/resume: what the result contains. What follows it: tests/api/delivery/test_relay.py."""

from __future__ import annotations

import pytest

from shared.ids import new_id
from tests.api.methods.test_thread_fork import make_answered
from tests.builders import Backend, make_thread, make_turn


def test_the_result_has_the_settings_and_all_turns_with_their_items(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two")

    result = backend.connect().call("thread/resume", {"threadId": thread.id})

    assert (result["model"], result["cwd"]) == (thread.settings["model"], thread.settings["cwd"])
    assert [turn["items"][-1]["text"] for turn in result["thread"]["turns"]] == ["ONE", "TWO"]
    assert (result["initialTurnsPage"], result["collaborationMode"]) == (None, None)


def test_turns_can_be_excluded_and_a_page_of_them_asked_for(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two")
    page = {"limit": 1, "itemsView": "notLoaded"}

    result = backend.connect().call(
        "thread/resume", {"threadId": thread.id, "excludeTurns": True, "initialTurnsPage": page}
    )

    newest = backend.store.turns.of_thread(thread.id, "local")[-1].id
    assert result["thread"]["turns"] == []
    assert [(turn["id"], turn["items"]) for turn in result["initialTurnsPage"]["data"]] == [(newest, [])]
    assert result["initialTurnsPage"]["nextCursor"] == newest
    assert result["turnsBackwardsCursor"] == f"={newest}"


def test_overrides_change_an_idle_thread(backend: Backend) -> None:
    thread = make_answered(backend, "one")

    result = backend.connect().call("thread/resume", {"threadId": thread.id, "model": "other"})

    assert result["model"] == "other"
    assert backend.store.threads.get(thread.id, "local").settings["model"] == "other"


def test_overrides_are_ignored_while_a_turn_is_active(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)

    result = backend.connect().call("thread/resume", {"threadId": thread.id, "model": "other"})

    assert result["model"] == thread.settings["model"]
    assert result["thread"]["status"]["type"] == "active"


def test_a_cursor_that_is_no_event_id_is_refused(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    error = backend.connect().error("thread/resume", {"threadId": thread.id, "afterEventId": "yesterday"})

    assert error["code"] == -32602


@pytest.mark.parametrize("owner", ["local", "somebody"])
def test_an_unknown_thread_and_another_users_thread_are_answered_alike(backend: Backend, owner: str) -> None:
    thread_id = new_id() if owner == "local" else make_thread(backend.store, backend.config, owner).id

    error = backend.connect().error("thread/resume", {"threadId": thread_id})

    assert error == {"code": -32600, "message": f"no rollout found for thread id {thread_id}"}


def test_an_archived_thread_is_refused(backend: Backend) -> None:
    client, thread = backend.connect(), make_thread(backend.store, backend.config)
    client.call("thread/archive", {"threadId": thread.id})

    error = client.error("thread/resume", {"threadId": thread.id})

    assert error["message"] == f"session {thread.id} is archived. Run `thread/unarchive` first."
