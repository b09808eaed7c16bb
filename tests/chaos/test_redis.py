"""Redis loses its data or restarts during a turn: the turn completes, and its followers miss no event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.watched import MESSAGES, RUN, WatchedTurn, check, check_next, disconnect, wait_for_ends, watch
from tests.support.deployment import STEADY, Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import (
    after_reply,
    command,
    deltas,
    is_delta,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    wait_for_end,
)

TURNS = 3
END_SECONDS = 60
SLOW = f"[[say n=8 delay_ms=100 {MESSAGES[1]}]]"  # so that the outage comes while the model sends text
SCRIPT = f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}{SLOW}{command(RUN.format(2))}[[say {MESSAGES[2]}]]"

OUTAGES: dict[str, Callable[[Deployment], object]] = {
    "flushed": lambda deployment: deployment.redis.flushall(),
    "restarted": lambda deployment: deployment.restart_redis(emptied=False),
    "emptied": lambda deployment: deployment.restart_redis(emptied=True),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_of_redis_loses_nothing_stored(deploy: Callable[..., Deployment], times: range, outage: str) -> None:
    deployment = deploy(api=2, workers=2, server=STEADY)

    for _ in times:
        watched = watch(deployment, TURNS)
        for turn in watched:
            turn.start(SCRIPT)
        for turn in watched:
            turn.client.wait_for(lambda frame, turn=turn: is_slow_text(frame, turn))  # type: ignore[misc]

        OUTAGES[outage](deployment)

        wait_for_ends(watched, END_SECONDS)
        for turn in watched:
            assert check(turn, repeated_to_streams=True) == 0
        for turn in watched:
            check_next(turn)
        disconnect(watched)


def test_sweep_finds_a_turn_whose_wake_up_was_lost(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(workers=1, server=STEADY)
    (worker,) = deployment.workers

    for _ in times:
        watched = watch(deployment, 1)
        worker.kill()
        watched[0].start()
        deployment.redis.flushall()
        deployment.start_worker(worker)

        wait_for_ends(watched, END_SECONDS)
        assert check(watched[0]) == 0
        disconnect(watched)


LOSSES = ("flushed", "emptied")


@pytest.mark.parametrize("loss", LOSSES)
def test_resume_with_a_cursor_of_a_lost_log_misses_nothing(
    deploy: Callable[..., Deployment], times: range, loss: str
) -> None:
    deployment = deploy(api=2, workers=1)

    for number in times:
        client = deployment.connect()
        thread_id = start_thread(client)
        before = run_turn(client, thread_id, "[[say Before.]]")["id"]
        pause = f"lost-{number}"
        script = f"[[say {MESSAGES[0]}]]{command('echo working')}[[say {MESSAGES[1]} ]][[pause {pause}]][[say And on.]]"
        turn_id = start_turn(client, thread_id, script)
        last_id = client.wait_for(lambda frame: is_delta(frame, "on."))["eventId"]
        client.drop()

        OUTAGES[loss](deployment)
        second = deployment.connect(1)
        turns, frames = resume(second, thread_id, last_id)
        deployment.model.release(pause)
        wait_for_end(second, turn_id, END_SECONDS)
        late_turns, _ = resume(deployment.connect(0), thread_id, last_id)

        stored = second.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"]
        assert [turn["id"] for turn in stored] == [before, turn_id]
        assert late_turns == stored
        assert [turn["status"] for turn in turns] == ["completed", "inProgress"]
        assert turns[0] == stored[0]
        resumed_items = turns[1]["items"]
        assert [item["type"] for item in resumed_items] == ["userMessage", "agentMessage", "commandExecution"]
        received = [frame for frame in of_thread(frames(), thread_id) if "eventId" in frame]
        completed = [frame["params"]["item"] for frame in received if frame["method"] == "item/completed"]
        assert resumed_items + completed == stored[1]["items"]
        assert completed[-1]["text"] == f"{MESSAGES[1]} And on."
        assert deltas(received, completed[-1]["id"]) == "And on."  # text from before the loss comes with item/completed


def resume(
    client: ProtocolClient, thread_id: str, last_id: str
) -> tuple[list[dict[str, Any]], Callable[[], list[dict[str, Any]]]]:
    """Resume a thread after an event. Return the turns of the reply, and a function that returns later frames."""
    params = {"threadId": thread_id, "excludeTurns": True, "afterEventId": last_id}
    request_id = client.send_request("thread/resume", params)
    reply = client.wait_for(lambda frame: frame.get("id") == request_id)
    return reply["result"]["thread"]["turns"], lambda: after_reply(client.received, request_id)


def is_slow_text(frame: dict[str, object], turn: WatchedTurn) -> bool:
    return is_delta(frame, MESSAGES[1][:2]) and frame["params"]["threadId"] == turn.thread_id  # type: ignore[index]
