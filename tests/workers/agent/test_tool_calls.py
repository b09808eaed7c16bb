"""Calls of tools that end unusually: the model and the user are told, and the turn goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import NO_FOLDERS, ClaimLost, SandboxUnavailable
from shared.ids import new_id
from tests.support import order
from tests.support.processes import is_running
from tests.support.wait import until
from tests.workers.agent.test_turn import outputs
from tests.workers.builders import Bench
from workers.agent import tool_calls
from workers.tools import exec_command


def test_a_tool_that_breaks_fails_its_call_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> object:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(exec_command, "run", break_down)
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[run true]][[say Then.]]")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    assert [item.get("status") for item in bench.shown(thread)[1:]] == ["failed", None]
    bench.run_turn(thread, "next")
    assert "internal error; what it did is not known" in json.dumps(outputs(bench))


def test_a_call_that_its_tool_cannot_read_fails_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> object:
        raise TypeError("nobody expected this")

    monkeypatch.setattr(exec_command, "prepare", stumble)
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[run true]][[say Then.]]")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    bench.run_turn(thread, "next")
    assert "internal error before it began" in json.dumps(outputs(bench))


@pytest.mark.parametrize("session_id", ["99999999999999999999", "9223372036854775808", "1e300", "-1e30"])
def test_a_number_that_no_database_stores_is_explained_to_the_model(bench: Bench, session_id: str) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, f'[[tool write_stdin {{"session_id": {session_id}}}]][[say Then.]]')

    assert turn.status == "completed"
    bench.run_turn(thread, "next")
    assert "session_id: expected an integer of 64 bits" in json.dumps(outputs(bench))


def test_a_hosted_user_does_not_read_what_the_operator_must_mend(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise SandboxUnavailable("no runner at /run/runner.sock: start it; the command has not begun")

    monkeypatch.setattr(exec_command, "run", fail)
    local, hosted = bench.thread(), bench.thread()
    bench.run_turn(local, "[[run true]][[say Then.]]")
    monkeypatch.setattr(tool_calls, "LOCAL_USER", "somebody else")
    bench.run_turn(hosted, "[[run true]][[say Then.]]")

    shown = [json.dumps(bench.shown(thread)) for thread in (local, hosted)]
    assert ["/run/runner.sock" in text for text in shown] == [True, False]
    assert NO_FOLDERS in shown[1]
    assert "/run/runner.sock" not in json.dumps(bench.model.requests[-1].body)


def test_a_tool_whose_claim_is_lost_stores_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> object:
        raise ClaimLost("another worker has claimed the turn")

    monkeypatch.setattr(exec_command, "run", lose)
    thread = bench.thread()
    turn = bench.begin(thread, "[[run true]]")

    bench.start_run().join()

    assert bench.turn(turn).phase == "running"
    assert [row.answered for row in bench.items(thread) if row.kind == "commandExecution"] == [False]


def test_a_command_that_ends_between_two_calls_completes_its_item(bench: Bench) -> None:
    go = f"go-{new_id()}"
    call: dict[str, Any] = {"cmd": f"while [ ! -e {go} ]; do sleep 0.02; done; echo ended", "yield_time_ms": 250}
    thread = bench.thread()
    bench.begin(thread, f"[[tool exec_command {json.dumps(call)}]][[pause yielded]][[run true]][[say Then.]]")
    running = bench.start_run()
    bench.model.wait_reached("yielded")

    (bench.cwd / go).touch()
    until(lambda: not is_running(go))
    bench.model.release("yielded")
    running.join()

    bench.settle()
    events = bench.events(thread)
    order.check(events, sessions=True)
    first, _, message = bench.shown(thread)[1:]
    assert (first["status"], first["aggregatedOutput"]) == ("completed", "ended\n")
    assert message["type"] == "agentMessage"
