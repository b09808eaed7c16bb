"""SIGTERM to a worker that runs ten turns: it exits in time, and another worker completes the turns."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.watched import WatchedTurn, disconnect, wait_for_ends, watch
from tests.support.deployment import Deployment
from tests.support.turns import check_order, command, is_delta, is_end

EXIT_SECONDS = 60.0  # on a busy machine; the commands would run for much longer
END_SECONDS = 60.0
SERVER = {"lease_seconds": 300}  # so that no turn is requeued because its lease ran out
STREAM = "[[say half a ]][[pause {}]][[say message]]"
COMMAND = command("echo 1 >> probe; echo working; sleep 600") + "[[say end]]"


def test_worker_shutdown_requeues_its_running_turns(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(api=2, workers=1, server=SERVER)
    (draining,) = deployment.workers

    for number in times:
        watched = watch(deployment, 10)
        streams, commands = watched[:5], watched[5:]
        for turn in streams:
            turn.start(STREAM.format(f"drain{number}"))
        for turn in commands:
            turn.start(COMMAND)
        for turn in watched:
            turn.client.wait_for(
                lambda frame, turn=turn: is_delta(frame) and frame["params"]["turnId"] == turn.turn_id  # type: ignore[misc]
            )
        other = deployment.add_worker()

        stopped_at = time.monotonic()
        assert draining.stop(EXIT_SECONDS) == 0
        print(f"drained in {time.monotonic() - stopped_at:.1f} s")
        deployment.model.release(f"drain{number}")

        wait_for_ends(watched, END_SECONDS)
        for turn in streams:
            check_stream(turn)
        for turn in commands:
            check_command(turn)
        disconnect(watched)
        draining = other


def check_stream(turn: WatchedTurn) -> None:
    items = check_ended(turn)
    assert [item["type"] for item in items] == ["userMessage", "agentMessage"]
    assert items[-1]["text"] == "half a message"


def check_command(turn: WatchedTurn) -> None:
    items = check_ended(turn)
    assert [item["type"] for item in items] == ["userMessage", "commandExecution", "agentMessage"]
    assert items[1]["status"] == "failed"
    assert items[1]["aggregatedOutput"] == "working\n"
    assert turn.probe() == ["1"]
    assert "shutdown" in turn.last_input()
    assert "working" in turn.outputs()[0]


def check_ended(turn: WatchedTurn) -> list[dict[str, object]]:
    stored = turn.stored()
    assert stored["status"] == "completed", stored["error"]
    assert sum(is_end(frame, turn.turn_id) for frame in turn.frames) == 1
    assert list(check_order(turn.frames).completed.values()) == stored["items"]
    items: list[dict[str, object]] = stored["items"]
    return items
