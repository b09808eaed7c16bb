"""The transcript alone: rows and events of one claimed turn, without a loop, a model or a tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import ClaimLost
from shared.protocol.user_input import SHELL_COMMAND
from shared.store.items import Item
from shared.store.writes import Published, Write
from tests.builders import unread_inputs
from tests.support.wait import until
from tests.workers.builders import Bench
from workers.agent.answer_recorder import record_answer
from workers.agent.transcript import Transcript
from workers.models.chunks import Chunk, Closed, Opened, TextDelta, TokenUsage
from workers.models.output import message
from workers.tools.base import PreparedCall, ToolCall, ToolResult

WINDOW = 1000
CALL: Any = {"type": "function_call", "name": "exec_command", "call_id": "c1", "arguments": "{}"}
COMMAND: Any = {"type": "commandExecution", "command": "ls", "status": "inProgress", "aggregatedOutput": None}
SPOKEN: list[Chunk] = [Opened("message"), TextDelta("Look."), Closed(message("Look."))]


def claimed(bench: Bench, text: str = "hello") -> Transcript:
    """A transcript of a new turn, loaded, with its input read."""
    bench.begin(bench.thread(), text)
    transcript = bench.claim().transcript
    transcript.load()
    transcript.add_pending_inputs()
    transcript.writer.settle()  # else a claim that is lost at once takes the message with it
    return transcript


def called(transcript: Transcript) -> Item:
    """The open call of an answer that the transcript records."""
    assert record_answer(transcript, [Closed(CALL), TokenUsage(total_tokens=10)], WINDOW)
    return transcript.open_calls()[0]


def prepared(row: Item) -> PreparedCall:
    return PreparedCall(ToolCall(row.id, "c1", "exec_command", "{}"), item=COMMAND)


def methods(bench: Bench, transcript: Transcript) -> list[str]:
    """The methods of the events that the log has, once everything that was stored is published."""
    transcript.writer.publish("mark", {})
    log = bench.workers[0].log

    def found() -> list[str]:
        return [entry.method for entry in log.read(transcript.claim.thread_id, "0-0", 1000)]

    until(lambda: "mark" in found())
    return [method for method in found() if method != "mark"]


def test_input_is_added_once_and_read(bench: Bench) -> None:
    transcript = claimed(bench, "hello")

    transcript.add_pending_inputs()
    transcript.load()

    assert [(row.kind, row.item and row.item["content"][0]["text"]) for row in transcript.rows] == [
        ("userMessage", "hello")
    ]
    assert transcript.pending_inputs == []
    assert unread_inputs(bench.workers[0].store, transcript.claim.turn_id) == []


def test_a_typed_command_becomes_an_open_call_that_clients_do_not_see(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "hello")
    transcript = bench.claim().transcript
    transcript.load()
    command = {"type": SHELL_COMMAND, "command": "ls", "timeoutMs": None}
    transcript.pending_inputs[0].input[:] = [command]

    transcript.add_pending_inputs()
    transcript.load()

    (row,) = transcript.open_calls()
    assert (row.turn_id, row.item, row.model_items) == (turn.id, None, [command])


def test_the_turn_is_answered_until_the_user_sends_more(bench: Bench) -> None:
    transcript = claimed(bench)
    assert not transcript.is_answered

    assert record_answer(transcript, [*SPOKEN, TokenUsage(total_tokens=10)], WINDOW)
    assert transcript.is_answered
    assert transcript.last_message == "Look."

    transcript.store_rows([transcript.new_row("userMessage", item={"clientId": None, "content": []})])
    assert not transcript.is_answered


def test_an_answer_with_calls_is_stored_in_one_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    transcript = claimed(bench)
    writes: list[list[str]] = []
    store = transcript.writer.store

    def recorded(write: Write, *events: Any, **more: Any) -> None:
        writes.append([row.kind for row in write.append])
        store(write, *events, **more)

    monkeypatch.setattr(transcript.writer, "store", recorded)
    chunks = [*SPOKEN, *SPOKEN, Closed(CALL), TokenUsage(total_tokens=10)]

    assert record_answer(transcript, chunks, WINDOW)

    # The first message is stored when the second begins; the second one only together with its call.
    assert writes == [["agentMessage"], ["agentMessage", "call"]]


def test_a_cut_answer_keeps_complete_items_and_drops_the_open_one(bench: Bench) -> None:
    transcript = claimed(bench)

    assert not record_answer(transcript, [*SPOKEN, Opened("message"), TextDelta("half")], WINDOW)
    transcript.load()

    assert [row.kind for row in transcript.rows] == ["userMessage", "agentMessage"]
    assert not transcript.is_answered
    assert methods(bench, transcript)[-2:] == ["item/started", "item/agentMessage/delta"]
    assert bench.workers[0].log.snapshot(transcript.claim.thread_id).open_items == []


def test_a_stream_that_breaks_keeps_complete_items(bench: Bench) -> None:
    transcript = claimed(bench)

    def broken() -> Iterator[Chunk]:
        yield from SPOKEN
        raise RuntimeError("the stream broke")

    with pytest.raises(RuntimeError):
        record_answer(transcript, broken(), WINDOW)
    transcript.load()

    assert [row.kind for row in transcript.rows] == ["userMessage", "agentMessage"]


def test_item_started_of_a_call_is_published_once(bench: Bench) -> None:
    transcript = claimed(bench)
    row = called(transcript)

    transcript.publish_item_started(row, prepared(row))
    transcript.begin_call(transcript.row(row.id), prepared(row))

    assert methods(bench, transcript).count("item/started") == 2  # the user's message, and the call
    assert transcript.row(row.id).begun_at_ms is not None


def test_the_output_of_a_call_ends_its_item(bench: Bench) -> None:
    transcript = claimed(bench)
    row = called(transcript)
    transcript.begin_call(row, prepared(row))
    result = ToolResult("done", item={**COMMAND, "status": "completed"}, notifications=[("turn/plan/updated", {})])

    transcript.end_call(row, result)
    transcript.load()

    (ended,) = [one for one in transcript.rows if one.id == row.id]
    assert (ended.answered, ended.kind, ended.completed_at_ms is not None) == (True, "commandExecution", True)
    assert [item["type"] for item in ended.model_items] == ["function_call", "function_call_output"]
    assert methods(bench, transcript)[-3:] == ["item/started", "item/completed", "turn/plan/updated"]


def test_a_command_that_runs_on_completes_its_item_later_and_once(bench: Bench) -> None:
    transcript = claimed(bench)
    row = called(transcript)
    transcript.begin_call(row, prepared(row))
    transcript.end_call(row, ToolResult("still running", item=COMMAND, goes_on=True))
    assert transcript.open_calls() == []
    assert transcript.row(row.id).completed_at_ms is None

    transcript.complete_later(row.id, {**COMMAND, "status": "completed"})
    transcript.complete_later(row.id, {**COMMAND, "status": "failed"})

    item = transcript.row(row.id).item
    assert item is not None
    assert item["status"] == "completed"
    assert methods(bench, transcript).count("item/completed") == 2  # the user's message, and the command


def test_rows_of_the_turn_include_those_before_a_compaction(bench: Bench) -> None:
    transcript = claimed(bench)
    transcript.store_rows([transcript.new_row("contextCompaction", item={}, started_at_ms=1, completed_at_ms=1)])
    transcript.load()

    assert [row.kind for row in transcript.rows] == ["contextCompaction"]
    assert [row.kind for row in transcript.turn_rows()] == ["userMessage", "contextCompaction"]


def test_a_turn_with_unread_input_does_not_end(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "one")
    transcript = bench.claim().transcript
    transcript.load()
    transcript.add_pending_inputs()
    bench.begin(thread, "two")

    assert not transcript.finish("completed")
    transcript.load()
    transcript.add_pending_inputs()
    assert transcript.finish("completed")

    assert bench.turn(turn).status == "completed"


def test_a_turn_begins_for_clients_once_and_before_all_else_also_if_its_end_is_refused(bench: Bench) -> None:
    bench.begin(bench.thread(), "one")
    transcript = bench.claim().transcript
    transcript.load()

    transcript.begin()
    assert not transcript.finish("completed")
    transcript.add_pending_inputs()

    begun = ["thread/status/changed", "turn/started"]
    assert methods(bench, transcript) == [*begun, "item/started", "item/completed"]


def test_parking_stores_the_request_and_releases_the_turn(bench: Bench) -> None:
    transcript = claimed(bench)
    row = called(transcript)

    transcript.park(row, "item/tool/call", {"itemId": row.id}, (), 60_000)

    store, claim = bench.workers[0].store, transcript.claim
    approval = store.approvals.find_for_item(row.id)
    assert approval is not None
    assert (approval.state, approval.params["turnId"]) == ("pending", claim.turn_id)
    assert store.turns.get(claim.turn_id, claim.owner).phase == "parked"
    assert methods(bench, transcript)[-2:] == ["thread/status/changed", "item/tool/call"]


def test_usage_is_published_when_it_changed_or_an_earlier_attempt_may_have_kept_it(bench: Bench) -> None:
    transcript = claimed(bench)
    usage = transcript.usage
    called(transcript)
    usage.publish()
    usage.publish()
    usage.mark_unpublished()
    usage.publish()

    assert methods(bench, transcript).count("thread/tokenUsage/updated") == 2
    assert usage.context_tokens == 10


def test_totals_add_up_and_an_estimate_replaces_only_the_last(bench: Bench) -> None:
    usage = claimed(bench).usage

    usage.count_answer(TokenUsage(input_tokens=3, output_tokens=4), WINDOW, None)
    usage.count_answer(TokenUsage(input_tokens=5, output_tokens=6), WINDOW, None)
    usage.set_context_tokens(2, WINDOW)

    assert usage.current is not None
    assert (usage.current["total"]["totalTokens"], usage.current["last"]["totalTokens"]) == (18, 2)
    assert usage.current["modelContextWindow"] == WINDOW


def test_a_new_attempt_publishes_what_the_lost_one_stored_and_did_not_publish(bench: Bench) -> None:
    bench.begin(bench.thread(), "hello")
    lost = bench.claim().transcript
    lost.load()
    rows = [lost.new_row("agentMessage", item={"text": "stored"}, started_at_ms=1, completed_at_ms=1)]
    bench.workers[0].store.commit([Write(lost.claim, append=rows)], Published())
    bench.lose(lost.claim.turn, bench.worker())

    transcript = bench.claim(bench.workers[1]).transcript
    transcript.begin()

    assert methods(bench, transcript) == [
        "thread/status/changed",
        "turn/started",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "thread/status/changed",
    ]


def test_a_lost_claim_stores_and_publishes_nothing(bench: Bench) -> None:
    transcript = claimed(bench)
    other = bench.worker()
    bench.lose(transcript.claim.turn, other)
    successor = bench.claim(other).transcript
    successor.load()

    transcript.add_context([message("too late")])
    with pytest.raises(ClaimLost):
        transcript.load()
    with pytest.raises(ClaimLost):
        transcript.writer.check_authority()

    assert "too late" not in json.dumps([row.model_items for row in successor.rows])
    assert [row.kind for row in bench.workers[0].store.items.of_turn(transcript.claim.turn_id)] == ["userMessage"]
