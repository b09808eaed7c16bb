"""update_plan: the model's steps as clients see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from tests.workers.tools.context import make_call, make_context
from workers.tools import update_plan


def test_plan_is_published_with_wire_statuses(tmp_path: Path) -> None:
    arguments = {
        "explanation": "why",
        "plan": [
            {"step": "one", "status": "completed"},
            {"step": "two", "status": "in_progress"},
            {"step": "three", "status": "pending"},
        ],
    }
    ctx = make_context(tmp_path)

    plan = update_plan.prepare(make_call("update_plan", json.dumps(arguments)), ctx)
    outcome = update_plan.run(plan, ctx)

    assert plan.item is None
    assert plan.requirement is None
    assert outcome.item is None
    assert outcome.output == "Plan updated"
    steps = [("one", "completed"), ("two", "inProgress"), ("three", "pending")]
    shown = [{"step": step, "status": status} for step, status in steps]
    assert outcome.notifications == [("turn/plan/updated", {"explanation": "why", "plan": shown})]


def test_the_explanation_may_be_missing(tmp_path: Path) -> None:
    ctx = make_context(tmp_path)

    outcome = update_plan.run(update_plan.prepare(make_call("update_plan", '{"plan": []}'), ctx), ctx)

    assert outcome.notifications == [("turn/plan/updated", {"explanation": None, "plan": []})]


DOING = {"step": "a", "status": "in_progress"}
BAD: dict[str, tuple[Any, str]] = {
    "not an object": ([], "not a JSON object"),
    "no plan": ({}, "expected {"),
    "plan is text": ({"plan": "do it"}, "expected {"),
    "explanation is a list": ({"plan": [], "explanation": []}, "explanation"),
    "step is text": ({"plan": ["a"]}, "plan[0]"),
    "empty step": ({"plan": [DOING, {"step": " ", "status": "pending"}]}, "plan[1]"),
    "unknown status": ({"plan": [{"step": "a", "status": "inProgress"}]}, "plan[0].status: expected one of pending"),
    "status is a list": ({"plan": [{"step": "a", "status": []}]}, "plan[0].status"),
    "two at once": ({"plan": [DOING, DOING]}, "more than one step is in_progress"),
    "endless": ({"plan": [{"step": "a", "status": "pending"}] * 101}, "more than 100 steps"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_invalid_plan_is_refused(tmp_path: Path, arguments: object, message: str) -> None:
    with pytest.raises(ToolError) as error:
        update_plan.prepare(make_call("update_plan", json.dumps(arguments)), make_context(tmp_path))

    assert message in str(error.value)


def test_arguments_that_are_not_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="not JSON"):
        update_plan.prepare(make_call("update_plan", "plan: a"), make_context(tmp_path))
