"""A model that starts its answer again after it was cut says no whole item twice, over both APIs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.protocol.model_items import FunctionCall, ReasoningItem
from tests.support import order
from tests.support.turns import command
from tests.workers.builders import DEADLINE_SECONDS, Bench, Freeze
from workers.agent.repeated_items import Said, leave_out_repeated
from workers.control import fault_points
from workers.models.chunks import (
    Chunk,
    Closed,
    Opened,
    ReasoningDelta,
    SummaryDelta,
    SummaryPart,
    TextDelta,
    TokenUsage,
)
from workers.models.output import message

CALL = FunctionCall(type="function_call", call_id="1", name="exec_command", arguments="{}")

over_both_apis = pytest.mark.parametrize("wire_api", ["responses", "chat"])


def said(*pieces: str) -> list[Chunk]:
    return [Opened("message"), *map(TextDelta, pieces), Closed(message("".join(pieces)))]


def thought(summary: str, content: str = "") -> list[Chunk]:
    item: ReasoningItem = {"type": "reasoning", "summary": [{"type": "summary_text", "text": summary}]}
    deltas: list[Chunk] = [SummaryPart(0), SummaryDelta(0, summary)]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": content}]
        deltas.append(ReasoningDelta(0, content))
    return [Opened("reasoning"), *deltas, Closed(item)]


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [item.get("text") or "".join(item["summary"] + item["content"]) for item in items]


@pytest.mark.parametrize(
    ("before", "repeated", "new"),
    [
        ([("message", "A b")], said("A ", "b"), said("C")),
        ([("message", "A b")], [], said("A ", "c")),
        ([("message", "A b")], [], said("A ", "b", " c")),
        ([("message", "A b")], [], said("A ")),
        ([("message", "A")], [], thought("A")),
        ([("message", "A")], said("A"), said("A")),
        ([("reasoning", "Hm.So")], thought("Hm.", "So"), said("A")),
        ([("reasoning", "Hm.")], [], thought("Hm.", "So")),
        ([("message", "B"), ("reasoning", "A")], [*thought("A"), *said("B")], [Closed(CALL)]),
        ([("message", "A")], said("A"), []),
        ([("message", "A")], [], [Opened("message"), Closed(message(""))]),
    ],
)
def test_only_items_that_are_repeated_word_for_word_are_left_out(
    before: Said, repeated: list[Chunk], new: list[Chunk]
) -> None:
    end = TokenUsage()

    assert list(leave_out_repeated([*repeated, *new, end], before)) == [*new, end]


def test_a_new_item_streams_as_soon_as_it_differs() -> None:
    opened, first, second, *_ = said("A ", "x", "y")
    chunks = iter([opened, first, second])

    left = leave_out_repeated(chunks, [("message", "A b")])

    assert [next(left), next(left), next(left)] == [opened, first, second]


@over_both_apis
@pytest.mark.parametrize("break_", ["drop", "close", "garbage", "fail server_error"])
def test_whole_items_of_a_cut_answer_are_not_said_again(
    open_bench: Callable[..., Bench], wire_api: str, break_: str
) -> None:
    bench = open_bench(wire_api=wire_api)
    thread = bench.thread()
    verb, _, code = break_.partition(" ")

    script = f"[[say One.]][[think Two.]][[say Three.]][[think Four.]][[{verb} times=2 {code}]][[say Five.]]"
    turn = bench.run_turn(thread, script + command("true") + "[[say Six.]]")

    assert turn.status == "completed"
    log = order.check(bench.events(thread))
    shown = [item for item in bench.shown(thread) if item["type"] in ("agentMessage", "reasoning")]
    assert texts(shown) == ["One.", "Two.", "Three.", "Four.", "Five.", "Six."]
    completed = [item for item in log.completed.values() if item["type"] in ("agentMessage", "reasoning")]
    assert texts(completed) == texts(shown)
    assert len(bench.model.requests) == 4


@over_both_apis
def test_whole_items_of_a_lost_workers_answer_are_not_said_again(
    open_bench: Callable[..., Bench], wire_api: str
) -> None:
    bench = open_bench(wire_api=wire_api)
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[think One.]][[say Two.]]")
    freeze = Freeze()
    fault_points.call_at("mid_stream", freeze)  # the reasoning is stored, and the message begins
    bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    lost.journal.stop(5)

    bench.lose(turn, other)
    bench.run(other)

    assert bench.turn(turn).status == "completed"
    assert texts(bench.shown(thread)[1:]) == ["One.", "Two."]
    log = order.check(bench.events(thread), lost=True)
    assert texts(list(log.completed.values())[1:]) == ["One.", "Two."]


@over_both_apis
def test_an_answer_that_is_cut_behind_its_last_item_is_whole_when_it_is_said_again(
    open_bench: Callable[..., Bench], wire_api: str
) -> None:
    bench = open_bench(wire_api=wire_api)
    thread = bench.thread()

    bench.run_turn(thread, "[[think One.]][[say Two.]][[think Three.]][[drop times=1]]")
    next_turn = bench.run_turn(thread, "[[say Four.]]")

    assert next_turn.status == "completed"
    shown = [item for item in bench.shown(thread) if item["type"] != "userMessage"]
    assert texts(shown) == ["One.", "Two.", "Three.", "Four."]


def test_a_proposed_plan_is_not_proposed_again(bench: Bench) -> None:
    mode = {"mode": "plan", "settings": {"model": "mock-model"}}
    thread = bench.thread(collaborationMode=mode)

    bench.run_turn(thread, "[[say <proposed_plan>Do it.</proposed_plan>]][[think Hm.]][[drop times=1]][[say Fine?]]")

    shown = [item for item in bench.shown(thread) if item["type"] in ("plan", "agentMessage", "reasoning")]
    assert [item["type"] for item in shown] == ["agentMessage", "plan", "reasoning", "agentMessage"]


def test_the_same_words_in_a_later_answer_are_kept(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "[[say Look.]]" + command("true") + "[[say Look.]]")

    assert [item["text"] for item in bench.shown(thread) if item["type"] == "agentMessage"] == ["Look.", "Look."]
