"""Plan mode: the instructions to the model, and the plan as an item of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import order
from tests.workers.agent.test_turn import inputs, texts, types
from tests.workers.builders import Bench
from workers.agent import prompt
from workers.agent.proposed_plan import PlanSplitter, split

TEXT = "Here: <proposed_plan>\n# Do it\n1. so\n</proposed_plan> Fine?"


def mode(name: str, instructions: str | None = None) -> dict[str, Any]:
    settings = {"model": "mock-model", "reasoning_effort": None, "developer_instructions": instructions}
    return {"mode": name, "settings": settings}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (mode("default"), None),
        (mode("default", "be kind"), "be kind"),
        (mode("plan"), prompt.PLAN_INSTRUCTIONS),
        (mode("plan", "plan as I say"), "plan as I say"),
    ],
)
def test_mode_adds_its_instructions(bench: Bench, given: dict[str, Any] | None, expected: str | None) -> None:
    bench.run_turn(bench.thread(collaborationMode=given), "hello")

    assert texts(bench, "developer")[1:] == ([expected] if expected else [])


def test_plan_is_an_item_beside_the_message(bench: Bench) -> None:
    thread = bench.thread(collaborationMode=mode("plan"))

    turn = bench.run_turn(thread, f"[[say {TEXT}]]")

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    _, message, plan = bench.shown(thread)
    assert (message["type"], message["text"]) == ("agentMessage", "Here:  Fine?")
    assert (plan["type"], plan["text"]) == ("plan", "# Do it\n1. so")
    streamed = "".join(params["delta"] for method, params in bench.events(thread) if method == "item/plan/delta")
    assert streamed.strip() == plan["text"]
    shown = [params["delta"] for method, params in bench.events(thread) if method == "item/agentMessage/delta"]
    assert "".join(shown) == message["text"]
    assert bench.workers[0].log.snapshot(thread.id).open_items == []

    bench.run_turn(thread, "go")
    assert texts(bench, "assistant") == [TEXT]
    assert len([item for item in inputs(bench) if item.get("role") == "assistant"]) == 1


def test_cut_plan_is_abandoned_with_its_message(bench: Bench) -> None:
    thread = bench.thread(collaborationMode=mode("plan"))

    bench.run_turn(thread, "[[say <proposed_plan>half]][[drop times=1]][[say  a plan</proposed_plan>]]")

    seen = order.check(bench.events(thread))
    left = [item for item_id, item in seen.started.items() if item_id not in seen.completed]
    assert sorted(types(left)) == ["agentMessage", "plan"]
    assert [item["text"] for item in bench.shown(thread) if item["type"] == "plan"] == ["half a plan"]


def test_tags_are_text_outside_of_plan_mode(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, f"[[say {TEXT}]]")

    assert bench.shown(thread)[1]["text"] == TEXT


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "text", [TEXT, "a < b <proposed", "<proposed_plan>open", "</proposed_plan>", "<<proposed_plan>x"]
)
def test_splitting_does_not_depend_on_where_pieces_end(text: str, size: int) -> None:
    splitter = PlanSplitter()

    pieces = [piece for at in range(0, len(text), size) for piece in splitter.feed(text[at : at + size])]
    pieces += splitter.flush()

    rest = "".join(piece for is_plan, piece in pieces if not is_plan)
    plan = "".join(piece for is_plan, piece in pieces if is_plan).strip() or None
    assert (rest, plan) == split(text)


def test_what_looked_like_a_tag_is_published_at_the_end_of_its_message(bench: Bench) -> None:
    thread = bench.thread(collaborationMode=mode("plan"))

    bench.run_turn(thread, "[[say No plan: <propo]]")

    shown = [params["delta"] for method, params in bench.events(thread) if method == "item/agentMessage/delta"]
    assert "".join(shown) == bench.shown(thread)[-1]["text"] == "No plan: <propo"
