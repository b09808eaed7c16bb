"""The loop alone: what one step does, in which order, and what ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import ClaimLost
from shared.store.turns import NewTurn, Turn
from tests.builders import text_input
from tests.workers.builders import Bench
from workers.agent import loop, tool_calls
from workers.agent.answer_recorder import record_answer
from workers.agent.running_turn import RunningTurn
from workers.control.signal import StopReason
from workers.control.stops import Drained, Interrupted
from workers.models.chunks import Closed, Opened, TextDelta, TokenUsage
from workers.models.output import message
from workers.tools.base import PreparedCall, ToolCall, ToolResult

COMMAND: Any = {"type": "commandExecution", "command": "sleep 60", "status": "inProgress", "aggregatedOutput": None}


def open_call(number: int, **arguments: Any) -> Closed:
    call_id, text = f"c{number}", json.dumps(arguments)
    return Closed({"type": "function_call", "name": "exec_command", "call_id": call_id, "arguments": text})


def turn_of_kind(bench: Bench, kind: str, text: str | None = None, **options: Any) -> Turn:
    thread = bench.thread()
    new = NewTurn(text_input(text) if text else None, None, {}, {"kind": kind, **options})
    return bench.workers[0].store.turns.create(thread.id, thread.owner, new, queued_limit=0)


def with_answer(bench: Bench, *calls: Closed) -> RunningTurn:
    """A claimed turn whose model has answered with these calls, or with a message when there are none."""
    bench.begin(bench.thread(), "hello")
    turn = bench.claim()
    turn.transcript.load()
    turn.transcript.add_pending_inputs()
    spoken = [Opened("message"), TextDelta("Done."), Closed(message("Done."))]
    assert record_answer(turn.transcript, [*(calls or spoken), TokenUsage(total_tokens=10)], 1000)
    return turn


def outputs(turn: RunningTurn) -> list[str]:
    return [item["output"] for row in turn.transcript.rows for item in row.model_items if "output" in item]


def kinds(turn: RunningTurn) -> list[str]:
    return [row.kind for row in turn.transcript.turn_rows()]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [(StopReason.INTERRUPT, Interrupted), (StopReason.DRAIN, Drained), (StopReason.REVOKED, ClaimLost)],
)
def test_a_requested_stop_leaves_the_step_before_it_reads_or_asks_anything(
    bench: Bench, reason: StopReason, stop: type[Exception]
) -> None:
    bench.begin(bench.thread(), "hello")
    turn = bench.claim()

    turn.signal.request(reason)
    with pytest.raises(stop):
        loop.step(turn)

    assert turn.transcript.rows == []
    assert bench.model.requests == []


def test_an_interrupt_in_the_store_ends_the_turn_without_a_signal(bench: Bench) -> None:
    thread = bench.thread()
    started = bench.begin(thread, "hello")
    turn = bench.claim()
    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, started.id)

    with pytest.raises(Interrupted):
        loop.step(turn)

    assert bench.model.requests == []


def test_a_step_withdraws_a_steer_and_reads_its_input(bench: Bench) -> None:
    bench.begin(bench.thread(), "hello")
    turn = bench.claim()
    turn.signal.request(StopReason.STEER)

    assert loop.step(turn) is False

    assert StopReason.STEER not in turn.signal
    assert turn.signal.seen_input_id > 0
    assert kinds(turn) == ["context", "userMessage", "agentMessage", "answer"]


def test_open_calls_are_answered_before_the_model_is_asked_again(bench: Bench) -> None:
    turn = with_answer(bench, open_call(1, cmd="echo one"), open_call(2, cmd="echo two"))

    assert loop.step(turn) is True

    assert bench.model.requests == []
    assert turn.transcript.open_calls() == []
    assert [("one" in output, "two" in output) for output in outputs(turn)] == [(True, False), (False, True)]


def test_a_stop_between_two_calls_leaves_the_second_one_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = with_answer(bench, open_call(1, cmd="true"), open_call(2, cmd="true"))
    begin_call = tool_calls.begin_call

    def begin_then_stop(*args: Any) -> None:
        begin_call(*args)
        turn.signal.request(StopReason.DRAIN)

    monkeypatch.setattr(tool_calls, "begin_call", begin_then_stop)
    with pytest.raises(Drained):
        loop.step(turn)

    assert [row.call_id for row in turn.transcript.open_calls()] == ["c2"]


def test_an_answered_turn_asks_the_model_for_nothing(bench: Bench) -> None:
    turn = with_answer(bench)

    assert loop.step(turn) is False

    assert bench.model.requests == []


def test_input_after_the_answer_is_answered_too(bench: Bench) -> None:
    turn = with_answer(bench)
    thread = bench.workers[0].store.threads.get(turn.transcript.claim.thread_id, turn.transcript.claim.owner)
    bench.begin(thread, "and now?")

    loop.run(turn)

    assert len(bench.model.requests) == 1
    assert kinds(turn)[-3:] == ["userMessage", "agentMessage", "answer"]


@pytest.mark.parametrize(
    ("kind", "text", "needed"),
    [("shell", None, False), ("compact", None, False), ("shell", "hello", True), ("review", "hello", True)],
)
def test_only_a_turn_with_a_message_needs_an_answer(bench: Bench, kind: str, text: str | None, needed: bool) -> None:
    turn_of_kind(bench, kind, text, review="r")
    turn = bench.claim()
    turn.transcript.load()
    turn.transcript.add_pending_inputs()

    assert loop.needs_answer(turn) is needed


def test_a_review_begins_with_its_item_and_ends_with_what_the_model_found(bench: Bench) -> None:
    turn_of_kind(bench, "review", "[[say No bugs.]]", review="the last commit")
    turn = bench.claim()

    loop.run(turn)

    rows = {row.kind: row.item for row in turn.transcript.turn_rows()}
    assert rows["enteredReviewMode"] == {"review": "the last commit"}
    assert rows["exitedReviewMode"] == {"review": "No bugs."}


def test_closing_explains_each_open_call_by_what_is_known_of_it(bench: Bench) -> None:
    turn = with_answer(bench, open_call(1, cmd="true"), open_call(2, cmd="true"))
    first = turn.transcript.open_calls()[0]
    turn.transcript.begin_call(first, PreparedCall(ToolCall(first.id, "c1", "exec_command", "{}"), item=COMMAND))

    loop.close_calls(turn, "The turn failed.")

    assert outputs(turn) == [tool_calls.UNKNOWN_OUTCOME, "The turn failed. This call was not run."]
    assert turn.transcript.open_calls() == []


def test_closing_keeps_input_that_no_step_has_read(bench: Bench) -> None:
    bench.begin(bench.thread(), "never read")
    turn = bench.claim()

    loop.close_calls(turn, "The user interrupted the turn.")

    assert kinds(turn) == ["userMessage"]


@pytest.fixture
def recovered(bench: Bench) -> Callable[[], RunningTurn]:
    """Returns a turn that another worker claimed after the first one was lost with a command that ran on."""

    def recover() -> RunningTurn:
        lost = with_answer(bench, open_call(1, cmd="sleep 60"))
        row = lost.transcript.open_calls()[0]
        lost.transcript.begin_call(row, PreparedCall(ToolCall(row.id, "c1", "exec_command", "{}"), item=COMMAND))
        lost.transcript.end_call(row, ToolResult("Process running with session ID 7", item=COMMAND, goes_on=True))
        other = bench.worker()
        bench.lose(lost.transcript.claim.turn, other)
        return bench.claim(other)

    return recover


def test_a_recovered_turn_fails_the_commands_that_were_lost_and_reports_them(
    recovered: Callable[[], RunningTurn],
) -> None:
    turn = recovered()

    loop.resume_after_loss(turn)

    command = next(row for row in turn.transcript.rows if row.kind == "commandExecution")
    assert command.item is not None
    assert (command.item["status"], command.completed_at_ms is not None) == ("failed", True)
    report = turn.transcript.rows[-1]
    assert report.kind == "context"
    assert "`sleep 60`" in json.dumps(report.model_items)


def test_a_recovered_turn_with_nothing_lost_adds_nothing(bench: Bench) -> None:
    lost = with_answer(bench)
    lost.transcript.writer.settle()
    other = bench.worker()
    bench.lose(lost.transcript.claim.turn, other)
    turn = bench.claim(other)

    loop.resume_after_loss(turn)

    assert [row.kind for row in turn.transcript.rows] == ["userMessage", "agentMessage", "answer"]


def test_a_recovered_turn_publishes_the_usage_that_the_lost_attempt_stored(bench: Bench) -> None:
    lost = with_answer(bench)
    lost.transcript.writer.settle()
    other = bench.worker()
    bench.lose(lost.transcript.claim.turn, other)
    turn = bench.claim(other)
    published: list[str] = []

    loop.resume_after_loss(turn)
    turn.transcript.writer.publish = lambda method, params: published.append(method)  # type: ignore[method-assign]
    turn.transcript.usage.publish()

    assert published == ["thread/tokenUsage/updated"]
