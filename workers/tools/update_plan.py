"""update_plan: show clients the model's list of steps."""

from __future__ import annotations

from shared.errors import ToolError
from shared.protocol.model_items import ToolDefinition
from workers.tools.arguments import read_arguments
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult

NAME = "update_plan"
PURE = True
PARALLEL = False
MAX_STEPS = 100
STATUSES = {"pending": "pending", "in_progress": "inProgress", "completed": "completed"}  # the model's → the wire's

SPEC: ToolDefinition = {
    "type": "function",
    "name": NAME,
    "description": (
        "Show the user your plan: short steps, each with a status. Send the whole plan again whenever a step's status "
        "changes. At most one step is in_progress at a time."
    ),
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "explanation": {"type": "string", "description": "Why the plan changed, in a sentence"},
            "plan": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "step": {"type": "string"},
                        "status": {"type": "string", "enum": list(STATUSES)},
                    },
                    "required": ["step", "status"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["plan"],
        "additionalProperties": False,
    },
}


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. data: params of `turn/plan/updated` (PROTOCOL 6) without the ids."""
    arguments = read_arguments(call.arguments, NAME)
    if not isinstance(steps := arguments.get("plan"), list):
        raise ToolError('update_plan: expected {"plan": [{"step", "status"}]}')
    explanation = arguments.get("explanation")
    if explanation is not None and not isinstance(explanation, str):
        raise ToolError("update_plan: explanation: expected a string")
    if len(steps) > MAX_STEPS:
        raise ToolError(f"update_plan: more than {MAX_STEPS} steps")
    shown = [_step(index, step) for index, step in enumerate(steps)]
    if sum(step["status"] == "inProgress" for step in shown) > 1:
        raise ToolError("update_plan: more than one step is in_progress")
    return PreparedCall(call, item=None, data={"explanation": explanation, "plan": shown})


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    return ToolResult("Plan updated", notifications=[("turn/plan/updated", prepared.data)])


def _step(index: int, step: object) -> dict[str, str]:
    if not isinstance(step, dict) or not isinstance(text := step.get("step"), str) or not text.strip():
        raise ToolError(f"update_plan: plan[{index}]: expected a step with text")
    status = step.get("status")
    if not isinstance(status, str) or status not in STATUSES:
        raise ToolError(f"update_plan: plan[{index}].status: expected one of {', '.join(STATUSES)}, found {status!r}")
    return {"step": text, "status": STATUSES[status]}
