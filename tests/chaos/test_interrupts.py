"""An interrupt at any event or time of a turn: it is answered, the turn and its commands end, the next turn runs."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.deployment import STEADY, Deployment
from tests.support.processes import is_running
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import (
    check_order,
    command,
    is_delta,
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
APPROVAL = "item/commandExecution/requestApproval"
MEASURED = 5  # turns that are not interrupted, to know how long one takes
REPLY_SECONDS, GONE_SECONDS = 1.0, 3.0  # most times; a busy machine may be late now and then
LINE = (  # ignores SIGTERM, and starts a child in its own session; both have the marker in their command lines
    "trap '' TERM; (setsid sh -c 'while :; do sleep 0.1; done' {0} >/dev/null 2>&1 &);"
    " for i in 1 2 3 4 5 6 7 8; do echo {0} $i; sleep 0.03; done"
)
ENDLESS = LINE + "; while :; do sleep 0.1; done"
PATCH = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
SCRIPT = f"[[reason Hm.]][[say n=8 delay_ms=15]]{{0}}[[patch {PATCH}]][[say n=12 delay_ms=15]]"

SCRIPTS = {
    "asks": command("echo ran"),
    "runs": command("for i in 1 2 3 4 5 6; do echo $i; sleep 0.05; done") + "[[say done]]",
    "streams": "[[reason Hm.]][[say n=40 delay_ms=5]]",
}
SUMMARY = "[[say n=20 delay_ms=5]]"  # of a compaction, which would be over before its interrupt comes
LATER, EARLIER = 1.25, 0.8  # factors of the last time of an interrupt: after one that came in time, and too late


@pytest.mark.timeout(120 + 10 * INTERRUPTS)
def test_interrupt_at_any_event_ends_the_turn_and_the_next_turn_runs(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(api=2, workers=2)
    clients = [deployment.connect(0), deployment.connect(1)]
    rng = random.Random(SEED)
    print(f"{INTERRUPTS} interrupts with THREADHOUSE_CHAOS_SEED={SEED}")
    event_count = count_events_of_a_turn(clients[0])
    ends: Counter[str] = Counter()
    reply_s: list[float] = []
    end_s: list[float] = []
    commands_interrupted = 0

    for number in range(INTERRUPTS):
        position = rng.randint(0, event_count)  # 0: before the first event
        marker = f"interrupt-{os.getpid()}-{number}"
        print(f"interrupt {number} at event {position} of about {event_count}")
        client, other = clients if rng.random() < 0.5 else clients[::-1]
        thread_id = start_thread(client)
        arrived = len(client.received)
        if number == 0:  # surely while a command runs
            turn_id = start_turn(client, thread_id, script(marker, ENDLESS))
            client.wait_for(lambda frame, text=marker: is_delta(frame, text), after=arrived)  # type: ignore[misc]
        else:
            turn_id = start_turn(client, thread_id, script(marker))
            client.wait_for(event_at(position, thread_id, turn_id), after=arrived)
        commands_interrupted += is_running(marker)

        interrupted_at = time.monotonic()
        is_late = not interrupt(other, thread_id, turn_id)
        reply_s.append(time.monotonic() - interrupted_at)

        turn = wait_for_end(client, turn_id)
        assert turn["status"] in (("completed",) if is_late else ("interrupted", "completed"))
        until(lambda marker=marker: not is_running(marker))  # type: ignore[misc]
        end_s.append(time.monotonic() - interrupted_at)
        assert_events_equal_stored_items(client, thread_id, turn_id, turn["status"])
        ends[turn["status"]] += 1

        assert run_turn(client, thread_id, "[[say next]]")["status"] == "completed", "the next request was malformed"
        assert sum(is_end(frame, turn_id) for frame in client.received) == 1

    print(f"{dict(ends)}, {commands_interrupted} while a command ran")
    print(f"slowest reply {max(reply_s):.3f} s, slowest end of a command {max(end_s):.3f} s")
    assert ends["interrupted"] > 0
    assert commands_interrupted > 0, "no interrupt came while a command ran"
    assert statistics.median(reply_s) < REPLY_SECONDS
    assert statistics.median(end_s) < GONE_SECONDS


@pytest.mark.timeout(120 + 10 * INTERRUPTS)
@pytest.mark.parametrize("kind", ["asks", "runs", "streams", "compacts"])
def test_interrupt_at_any_time_ends_a_turn_of_any_kind(deploy: Callable[..., Deployment], kind: str) -> None:
    """The interrupt comes at a random time, not at a random event: a turn parks, or begins a command, between two.

    No sweep helps, which would end a turn that parked although it was interrupted.
    """
    deployment = deploy(api=1, workers=2, server={"sweep_seconds": 600, **STEADY})
    deployment.model.unscripted = SUMMARY
    client = deployment.connect(0)
    rng = random.Random(f"{SEED} {kind}")
    whole_s = sorted(whole_turn_seconds(client, kind) for _ in range(MEASURED))[MEASURED // 2]
    first, last = (0.4 * whole_s if kind == "asks" else 0.0), 1.2 * whole_s  # a turn asks at the end of its time
    longest = last
    ends: Counter[str] = Counter()
    slowest_end_s = 0.0

    for _ in range(INTERRUPTS):
        thread_id, turn_id, began_at = begin(client, kind)
        interrupt_at = began_at + rng.uniform(first, last)
        until(lambda at=interrupt_at: time.monotonic() >= at)  # type: ignore[misc]
        is_late = not interrupt(client, thread_id, turn_id)
        interrupted_at = time.monotonic()

        status = wait_for_end(client, turn_id)["status"]
        slowest_end_s = max(slowest_end_s, time.monotonic() - interrupted_at)
        assert status == "completed" if is_late else status in ("interrupted", "completed")
        assert_events_equal_stored_items(client, thread_id, turn_id, status)
        ends[status] += 1
        last = max(first, min(longest, last * (EARLIER if status == "completed" else LATER)))
        client.request("thread/archive", {"threadId": thread_id})

    print(f"{kind}: {dict(ends)} between {first:.3f} and {longest:.3f} s, slowest end {slowest_end_s:.3f} s")
    assert ends["interrupted"] > 0


def begin(client: ProtocolClient, kind: str) -> tuple[str, str, float]:
    """Begin a turn of this kind in a thread of its own. Return the ids of both, and when it was requested."""
    thread_id = start_thread(client, approvalPolicy="untrusted" if kind == "asks" else "never")
    if kind == "compacts":
        run_turn(client, thread_id, "[[say Much to say.]]")
        arrived, began_at = len(client.received), time.monotonic()
        client.request("thread/compact/start", {"threadId": thread_id})
        started = client.wait_for(
            lambda frame: frame.get("method") == "turn/started" and frame["params"]["threadId"] == thread_id,
            after=arrived,
        )
        return thread_id, started["params"]["turn"]["id"], began_at
    began_at = time.monotonic()
    return thread_id, start_turn(client, thread_id, SCRIPTS[kind]), began_at


def whole_turn_seconds(client: ProtocolClient, kind: str) -> float:
    """Return how long a turn takes until its end, or until its approval request."""
    arrived = len(client.received)
    thread_id, turn_id, began_at = begin(client, kind)
    if kind == "asks":
        client.wait_for_method(APPROVAL, after=arrived)
        took_s = time.monotonic() - began_at
        interrupt(client, thread_id, turn_id)
    wait_for_end(client, turn_id)
    return took_s if kind == "asks" else time.monotonic() - began_at


def script(marker: str, line: str = LINE) -> str:
    return SCRIPT.format(command(line.format(marker)))


def count_events_of_a_turn(client: ProtocolClient) -> int:
    """Return the number of events of a turn that is not interrupted."""
    thread_id = start_thread(client)
    assert run_turn(client, thread_id, script("whole"))["status"] == "completed"
    return len(of_thread(client.received, thread_id))


def event_at(position: int, thread_id: str, turn_id: str) -> Callable[[dict[str, Any]], bool]:
    """Return a predicate for wait_for: whether a frame is the thread's event with this number, or the turn's end."""
    seen: list[dict[str, Any]] = []

    def is_reached(frame: dict[str, Any]) -> bool:
        seen.extend(of_thread([frame], thread_id))
        return len(seen) >= position or is_end(frame, turn_id)

    return is_reached


def interrupt(client: ProtocolClient, thread_id: str, turn_id: str) -> bool:
    """Interrupt a turn. Return False when it had ended before."""
    try:
        client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    except RpcError as error:
        if "active" not in error.message:
            raise
        return False
    return True


def of_turn(frame: dict[str, Any], turn_id: str) -> bool:
    return bool(frame["params"]["turnId"] == turn_id)


def assert_events_equal_stored_items(client: ProtocolClient, thread_id: str, turn_id: str, status: str) -> None:
    """Assert that the client received the items that are stored, and that no item is in progress."""
    stored = stored_turn(client, thread_id, turn_id)
    assert stored["status"] == status
    frames = of_thread(client.received, thread_id)
    completed = check_order(frames).completed
    ids = [f["params"]["item"]["id"] for f in frames if f["method"] == "item/completed" and of_turn(f, turn_id)]
    assert [completed[item_id] for item_id in ids] == stored["items"]
    assert "inProgress" not in [item.get("status") for item in stored["items"]]
