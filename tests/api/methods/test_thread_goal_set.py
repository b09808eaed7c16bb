"""thread/goal/set, get and clear: what a thread is to reach."""

from __future__ import annotations

from tests.builders import House, make_thread


def test_a_goal_is_kept_told_to_followers_changed_and_forgotten(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client, follower = house.connect(), house.connect()
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


def test_another_objective_is_a_new_goal(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()
    client.call("thread/goal/set", {"threadId": thread.id, "objective": "one", "status": "complete"})

    goal = client.call("thread/goal/set", {"threadId": thread.id, "objective": "two"})["goal"]

    assert (goal["objective"], goal["status"]) == ("two", "active")


def test_tokens_count_from_the_goal_on(house: House) -> None:
    usage = {"totalTokens": 50}
    thread = make_thread(house.store, house.config, token_usage={"total": usage, "last": usage})
    client = house.connect()

    goal = client.call("thread/goal/set", {"threadId": thread.id, "objective": "one"})["goal"]

    assert goal["tokensUsed"] == 0


def test_the_first_goal_needs_an_objective(house: House) -> None:
    thread = make_thread(house.store, house.config)

    error = house.connect().error("thread/goal/set", {"threadId": thread.id, "status": "paused"})

    assert error["code"] == -32600
