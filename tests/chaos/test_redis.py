"""Redis loses everything, or dies and comes back, in mid-turn: the turn ends, and who follows catches up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.watched import MESSAGES, RUN, Watched, check, check_next, hang_up, wait_for_ends, watch
from tests.support.deployment import Deployment
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
END_SECONDS = 30
SLOW = f"[[say n=8 delay_ms=100 {MESSAGES[1]}]]"  # so that the outage comes while text flows
SCRIPT = f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}{SLOW}{command(RUN.format(2))}[[say {MESSAGES[2]}]]"

OUTAGES: dict[str, Callable[[Deployment], object]] = {
    "flushed": lambda deployment: deployment.redis.flushall(),
    "restarted": lambda deployment: deployment.restart_redis(emptied=False),
    "emptied": lambda deployment: deployment.restart_redis(emptied=True),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_redis_loses_nothing_that_is_stored(
    deploy: Callable[..., Deployment], times: range, outage: str
) -> None:
    deployment = deploy(api=2, workers=2)

    for _ in times:
        watched = watch(deployment, TURNS)
        for one in watched:
            one.start(SCRIPT)
        for one in watched:
            one.client.wait_for(lambda frame, one=one: is_slow_text(frame, one))  # type: ignore[misc]

        OUTAGES[outage](deployment)

        wait_for_ends(watched, END_SECONDS)
        for one in watched:
            assert check(one, repeated_to_streams=True) == 0
        for one in watched:
            check_next(one)
        hang_up(watched)


def test_a_turn_whose_bell_was_lost_is_found_by_the_sweep(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(workers=1)
    (worker,) = deployment.workers

    for _ in times:
        watched = watch(deployment, 1)
        worker.kill()
        watched[0].start()
        deployment.redis.flushall()
        deployment.start_worker(worker)

        wait_for_ends(watched, END_SECONDS)
        assert check(watched[0]) == 0
        hang_up(watched)


LOSSES = ("flushed", "emptied")


@pytest.mark.parametrize("loss", LOSSES)
def test_who_comes_back_with_an_event_id_of_a_lost_log_misses_nothing(
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
        back = deployment.connect(1)
        told, frames = come_back(back, thread_id, last_id)
        deployment.model.release(pause)
        wait_for_end(back, turn_id, END_SECONDS)
        late, _ = come_back(deployment.connect(0), thread_id, last_id)

        whole = back.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"]
        assert [turn["id"] for turn in whole] == [before, turn_id]
        assert late == whole
        assert [turn["status"] for turn in told] == ["completed", "inProgress"]
        assert told[0] == whole[0]
        had = told[1]["items"]
        assert [item["type"] for item in had] == ["userMessage", "agentMessage", "commandExecution"]
        heard = [frame for frame in of_thread(frames(), thread_id) if "eventId" in frame]
        completed = [frame["params"]["item"] for frame in heard if frame["method"] == "item/completed"]
        assert had + completed == whole[1]["items"]
        assert completed[-1]["text"] == f"{MESSAGES[1]} And on."
        assert deltas(heard, completed[-1]["id"]) == "And on."  # what was said of it before the loss comes at its end


def come_back(
    client: ProtocolClient, thread_id: str, last_id: str
) -> tuple[list[dict[str, Any]], Callable[[], list[dict[str, Any]]]]:
    """A resume behind an event: the turns of its reply, and what is heard behind it."""
    params = {"threadId": thread_id, "excludeTurns": True, "afterEventId": last_id}
    request_id = client.send_request("thread/resume", params)
    reply = client.wait_for(lambda frame: frame.get("id") == request_id)
    return reply["result"]["thread"]["turns"], lambda: after_reply(client.received, request_id)


def is_slow_text(frame: dict[str, object], one: Watched) -> bool:
    return is_delta(frame, MESSAGES[1][:2]) and frame["params"]["threadId"] == one.thread_id  # type: ignore[index]
