"""thread/goal/set, get and clear: a thread's goal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.builders import Backend, Client, make_thread


def test_a_goal_is_stored_published_changed_and_cleared(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client, follower = backend.connect(), backend.connect()
    follower.call("thread/resume", {"threadId": thread.id})

    goal = client.call("thread/goal/set", {"threadId": thread.id, "objective": "ship it", "tokenBudget": 100})["goal"]
    paused = client.call("thread/goal/set", {"threadId": thread.id, "status": "paused"})["goal"]

    assert (goal["objective"], goal["status"], goal["tokensUsed"], goal["tokenBudget"]) == ("ship it", "active", 0, 100)
    assert (paused["objective"], paused["status"], paused["tokenBudget"]) == ("ship it", "paused", 100)
    assert follower.wait_for_method("thread/goal/updated")["params"]["goal"] == goal
    assert client.call("thread/goal/get", {"threadId": thread.id})["goal"] == paused
    assert client.call("thread/goal/clear", {"threadId": thread.id}) == {"cleared": True}
    follower.wait_for_method("thread/goal/cleared")
    assert client.call("thread/goal/get", {"threadId": thread.id}) == {"goal": None}
    assert client.call("thread/goal/clear", {"threadId": thread.id}) == {"cleared": False}


def test_another_objective_makes_a_new_goal(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    client.call("thread/goal/set", {"threadId": thread.id, "objective": "one", "status": "complete"})

    goal = client.call("thread/goal/set", {"threadId": thread.id, "objective": "two"})["goal"]

    assert (goal["objective"], goal["status"]) == ("two", "active")


def test_tokens_are_counted_from_when_the_goal_was_set(backend: Backend) -> None:
    usage = {"totalTokens": 50}
    thread = make_thread(backend.store, backend.config, token_usage={"total": usage, "last": usage})
    client = backend.connect()

    goal = client.call("thread/goal/set", {"threadId": thread.id, "objective": "one"})["goal"]

    assert goal["tokensUsed"] == 0


def test_the_first_goal_needs_an_objective(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    error = backend.connect().error("thread/goal/set", {"threadId": thread.id, "status": "paused"})

    assert error["code"] == -32600


def test_changes_of_a_goal_at_the_same_time_are_all_kept(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    backend.connect().call("thread/goal/set", {"threadId": thread.id, "objective": "ship it"})
    clients = [backend.connect() for _ in range(8)]
    changes = [{"status": "paused"}, {"tokenBudget": 7}] * 4

    def change(client: Client, members: dict[str, object]) -> None:
        client.call("thread/goal/set", {"threadId": thread.id, **members})

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(change, clients, changes))

    goal = clients[0].call("thread/goal/get", {"threadId": thread.id})["goal"]
    assert (goal["objective"], goal["status"], goal["tokenBudget"]) == ("ship it", "paused", 7)
