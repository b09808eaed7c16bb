"""What a turn reports to telemetry: each prompt, answer, decision and call, once."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from shared import telemetry
from tests.support.model_server import YIELD_MS
from tests.workers.agent.test_approvals import CALLS, answer
from tests.workers.agent.test_shell_command import run_command
from tests.workers.agent.test_stop_requests import interrupt
from tests.workers.builders import Bench
from workers.control import fault_points

NAMES = (
    "describe_model",
    "first_delta",
    "sandbox_left",
    "tokens_used",
    "tool_decided",
    "tool_ended",
    "turn_parked",
    "user_prompt",
)


class Reported:
    """What was reported since the last look: (name, arguments)."""

    def __init__(self) -> None:
        self._found: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def record(self, name: str, *arguments: Any, **options: Any) -> None:
        self._found.append((name, arguments, options))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [(*arguments, *options.values()) for found, arguments, options in self._found if found == name]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Reported:
    found = Reported()
    for name in NAMES:
        monkeypatch.setattr(telemetry, name, partial(found.record, name))
    return found


def test_a_turn_reports_its_prompt_answers_and_calls(bench: Bench, reported: Reported) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[run true]][[say ok]]")
    bench.run_turn(thread, "[[run false]]")

    texts = [user_input[0]["text"] for (user_input,) in reported.of("user_prompt")]
    assert texts == ["[[run true]][[say ok]]", "[[run false]]"]
    assert reported.of("first_delta")[0] == (turn.created_at_ms,)
    assert len(reported.of("first_delta")) == 2
    assert [tokens["totalTokens"] for tokens, _ in reported.of("tokens_used")] == [120] * 4
    assert [call[:3] for call in reported.of("tool_ended")] == [
        ("exec_command", "call_1", json.dumps({"cmd": "true", "yield_time_ms": YIELD_MS})),
        ("exec_command", "call_2", json.dumps({"cmd": "false", "yield_time_ms": YIELD_MS})),
    ]
    assert reported.of("tool_decided")[0] == ("exec_command", "call_1", "approved", "config")
    assert {settings["model"] for (settings,) in reported.of("describe_model")} == {"mock-model"}
    assert reported.of("turn_parked") == reported.of("sandbox_left") == []


def test_a_command_that_the_user_typed_is_no_prompt(bench: Bench, reported: Reported) -> None:
    run_command(bench, bench.thread(), "true")

    assert reported.of("user_prompt") == []
    assert len(reported.of("tool_ended")) == 1


def test_decisions_and_leaving_the_sandbox_are_reported(bench: Bench, reported: Reported) -> None:
    thread = bench.thread(approvalPolicy="on-request")

    for decision in ("accept", "decline"):
        bench.run_turn(thread, CALLS["escalated"])
        answer(bench, thread, {"decision": decision})
    bench.run_turn(thread, CALLS["command"])

    assert [call[2:] for call in reported.of("tool_decided")] == [
        ("approved", "user"),
        ("denied", "user"),
        ("approved", "config"),
    ]
    assert [call[2] for call in reported.of("sandbox_left")] == ["escalated", "denied"]
    assert reported.of("turn_parked") == [("item/commandExecution/requestApproval",)] * 2


def test_a_denied_call_that_stays_in_the_sandbox_has_not_left_it(bench: Bench, reported: Reported) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.run_turn(thread, CALLS["command"])

    answer(bench, thread, {"decision": "decline"})

    assert reported.of("sandbox_left") == []


def test_a_tool_that_needs_no_approval_reports_no_decision(bench: Bench, reported: Reported) -> None:
    bench.run_turn(bench.thread(), '[[tool update_plan {"plan": []}]]')

    assert reported.of("tool_decided") == []
    assert len(reported.of("tool_ended")) == 1


def test_calls_that_an_interrupt_left_open_are_reported_as_failed(bench: Bench, reported: Reported) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[run true]][[say ok]]")
    fault_points.call_at("before_begun", lambda: interrupt(bench, thread))

    try:
        bench.run()
    finally:
        fault_points.call_at("", lambda: None)

    (call,) = reported.of("tool_ended")
    assert call[:2] == ("exec_command", "call_1")
    assert False in call
