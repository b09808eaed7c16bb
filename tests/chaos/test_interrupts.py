"""An interrupt may come at any instant of a turn: it is answered, everything stops, and the thread goes on."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.processes import is_running
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import (
    check_order,
    command,
    is_end,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)
from tests.support.wait import until

INTERRUPTS = int(os.environ.get("THREADHOUSE_CHAOS_INTERRUPTS") or 20)
SEED = int(os.environ.get("THREADHOUSE_CHAOS_SEED") or 20_261_122)
REPLY_SECONDS = 1.0
GONE_SECONDS = 3.0
LINE = (  # deaf to TERM, with a child in a session of its own; both have the word in their command lines
    "trap '' TERM; (setsid sh -c 'while :; do sleep 0.1; done' {0} >/dev/null 2>&1 &);"
    " for i in 1 2 3 4 5 6 7 8; do echo {0} $i; sleep 0.03; done"
)
PATCH = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
SCRIPT = f"[[reason Hm.]][[say n=8 delay_ms=15]]{{0}}[[patch {PATCH}]][[say n=12 delay_ms=15]]"


@pytest.mark.timeout(120 + 10 * INTERRUPTS)
def test_an_interrupt_at_any_instant_stops_the_turn_and_the_thread_goes_on(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(api=2, workers=2)
    clients = [deployment.connect(0), deployment.connect(1)]
    chance = random.Random(SEED)
    print(f"{INTERRUPTS} interrupts with THREADHOUSE_CHAOS_SEED={SEED}")
    length = events_of_a_whole_turn(clients[0])
    ends: Counter[str] = Counter()
    slowest_reply_s = slowest_end_s = 0.0
    commands_met = 0

    for number in range(INTERRUPTS):
        place = chance.randint(0, length)  # 0: before the first one
        word = f"interrupt-{os.getpid()}-{number}"
        print(f"interrupt {number} at event {place} of about {length}")
        client, other = clients if chance.random() < 0.5 else clients[::-1]
        thread_id = start_thread(client)
        arrived = len(client.received)
        turn_id = start_turn(client, thread_id, script(word))
        client.wait_for(counted(place, thread_id, turn_id), after=arrived)
        commands_met += is_running(word)

        asked_at = time.monotonic()
        is_late = not interrupt(other, thread_id, turn_id)
        slowest_reply_s = max(slowest_reply_s, time.monotonic() - asked_at)

        turn = wait_for_end(client, turn_id)
        assert turn["status"] in (("completed",) if is_late else ("interrupted", "completed"))
        until(lambda word=word: not is_running(word), seconds=asked_at + GONE_SECONDS - time.monotonic())  # type: ignore[misc]
        slowest_end_s = max(slowest_end_s, time.monotonic() - asked_at)
        assert_told_and_stored(client, thread_id, turn_id, turn["status"])
        ends[turn["status"]] += 1

        assert run_turn(client, thread_id, "[[say next]]")["status"] == "completed", "the next request was malformed"
        assert sum(is_end(frame, turn_id) for frame in client.received) == 1

    print(f"{dict(ends)}; {commands_met} in mid-command; reply {slowest_reply_s:.3f} s, gone {slowest_end_s:.3f} s")
    assert ends["interrupted"] > 0
    assert commands_met > 0, "no interrupt met a command"
    assert slowest_reply_s < REPLY_SECONDS


def script(word: str) -> str:
    return SCRIPT.format(command(LINE.format(word)))


def events_of_a_whole_turn(client: ProtocolClient) -> int:
    """How many there are when nobody interrupts."""
    thread_id = start_thread(client)
    assert run_turn(client, thread_id, script("whole"))["status"] == "completed"
    return len(of_thread(client.received, thread_id))


def counted(place: int, thread_id: str, turn_id: str) -> Callable[[dict[str, Any]], bool]:
    """For wait_for: whether a frame is the thread's event of this number, or the turn's end."""
    seen: list[dict[str, Any]] = []

    def is_there(frame: dict[str, Any]) -> bool:
        seen.extend(of_thread([frame], thread_id))
        return len(seen) >= place or is_end(frame, turn_id)

    return is_there


def interrupt(client: ProtocolClient, thread_id: str, turn_id: str) -> bool:
    """Whether it was taken: False when the turn was over before."""
    try:
        client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    except RpcError as error:
        if "active" not in error.message:
            raise
        return False
    return True


def assert_told_and_stored(client: ProtocolClient, thread_id: str, turn_id: str, status: str) -> None:
    """What the client was told is what is stored, and nothing of it goes on."""
    stored = stored_turn(client, thread_id, turn_id)
    assert stored["status"] == status
    seen = check_order(of_thread(client.received, thread_id))
    assert list(seen.completed.values()) == stored["items"]
    assert "inProgress" not in [item.get("status") for item in stored["items"]]
