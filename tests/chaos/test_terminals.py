"""A worker that keeps background terminals is killed: none of its commands goes on, and everybody is told."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.support import order
from tests.support.deployment import Deployment
from tests.support.processes import is_running
from tests.support.turns import events, of_thread, run_turn
from tests.support.wait import until

LIST = "thread/backgroundTerminals/list"


def test_commands_of_a_killed_worker_end_as_failed(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(api=2, workers=1)
    client = deployment.connect()
    (keeper,) = deployment.workers

    for number in times:
        thread_id = client.request("thread/start")["thread"]["id"]
        mark = f"sleep 600.{number}{thread_id[-6:].translate(str.maketrans('abcdef', '123456'))}"
        call = {"cmd": f"echo up; {mark}", "login": False, "yield_time_ms": 300}
        run_turn(client, thread_id, f"[[tool exec_command {json.dumps(call)}]][[say Left running.]]")
        (terminal,) = client.request(LIST, {"threadId": thread_id})["data"]
        until(lambda mark=mark: is_running(mark))  # type: ignore[misc]
        keeper.kill()
        keeper = deployment.add_worker()

        ended = client.wait_for(
            lambda frame, item_id=terminal["itemId"]: (  # type: ignore[misc]
                frame.get("method") == "item/completed" and frame["params"]["item"]["id"] == item_id
            )
        )
        assert ended["params"]["item"]["status"] == "failed"
        until(lambda mark=mark: not is_running(mark))  # type: ignore[misc]
        assert client.request(LIST, {"threadId": thread_id})["data"] == []
        run_turn(client, thread_id, "[[say Next.]]")
        told = json.dumps([request.body["input"] for request in deployment.model.requests][-1])
        assert f"The worker that ran session {terminal['processId']}" in told
        order.check(events(of_thread(client.received, thread_id)), sessions=True, lost=True)
