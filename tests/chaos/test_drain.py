"""SIGTERM to a worker that is in the middle of ten turns: it leaves in time, and another one ends them."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.watched import Watched, hang_up, wait_for_ends, watch
from tests.support.deployment import SHORT, Deployment
from tests.support.turns import check_order, command, is_delta, is_end

EXIT_SECONDS = 10.0
STREAM = "[[say half a ]][[pause {}]][[say message]]"
COMMAND = command("echo 1 >> probe; echo working; sleep 60") + "[[say end]]"


def test_a_worker_that_shuts_down_hands_its_turns_over(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(api=2, workers=1)
    (leaving,) = deployment.workers

    for number in times:
        watched = watch(deployment, 10)
        streams, commands = watched[:5], watched[5:]
        for one in streams:
            one.start(STREAM.format(f"drain{number}"))
        for one in commands:
            one.start(COMMAND)
        for one in watched:
            one.client.wait_for(lambda frame, one=one: is_delta(frame) and frame["params"]["turnId"] == one.turn_id)  # type: ignore[misc]
        other = deployment.add_worker()

        asked_at = time.monotonic()
        assert leaving.stop() == 0
        took = time.monotonic() - asked_at
        deployment.model.release(f"drain{number}")

        assert took < EXIT_SECONDS
        print(f"drained in {took:.1f} s")
        wait_for_ends(watched, SHORT["lease_seconds"] + SHORT["sweep_seconds"] + EXIT_SECONDS)
        for one in streams:
            check_stream(one)
        for one in commands:
            check_command(one)
        hang_up(watched)
        leaving = other


def check_stream(one: Watched) -> None:
    items = check_ended(one)
    assert [item["type"] for item in items] == ["userMessage", "agentMessage"]
    assert items[-1]["text"] == "half a message"


def check_command(one: Watched) -> None:
    items = check_ended(one)
    assert [item["type"] for item in items] == ["userMessage", "commandExecution", "agentMessage"]
    assert items[1]["status"] == "failed"
    assert items[1]["aggregatedOutput"] == "working\n"
    assert one.probe() == ["1"]
    assert "shutdown" in one.told()
    assert "working" in one.outputs()[0]


def check_ended(one: Watched) -> list[dict[str, object]]:
    stored = one.stored()
    assert stored["status"] == "completed", stored["error"]
    assert sum(is_end(frame, one.turn_id) for frame in one.frames) == 1
    assert list(check_order(one.frames).completed.values()) == stored["items"]
    items: list[dict[str, object]] = stored["items"]
    return items
