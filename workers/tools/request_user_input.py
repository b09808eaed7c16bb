"""request_user_input: questions to the user, whose answers are the output (PROTOCOL 8.3). Offered in plan mode.

An answer may be a secret: it goes to the model and into the thread, and nowhere else.
"""

from __future__ import annotations

import json
from typing import Any

from shared.errors import ToolError
from shared.protocol import frames
from workers.tools.base import Call, Outcome, Plan, Request, ToolContext

NAME = "request_user_input"
PURE = True  # run() only reads an answer that is stored
METHOD = "item/tool/requestUserInput"
MAX_QUESTIONS = 3
MAX_OPTIONS = 10

SPEC: dict[str, Any] = {
    "type": "function",
    "name": NAME,
    "description": "Ask the user one to three short questions, and wait for the answers.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "questions": {
                "type": "array",
                "description": f"At most {MAX_QUESTIONS}",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "description": "Names the answer, in snake_case"},
                        "header": {"type": "string", "description": "A label of at most 12 characters"},
                        "question": {"type": "string", "description": "One sentence"},
                        "options": {
                            "type": "array",
                            "description": "Two or three choices that exclude each other, the best one first; "
                            "the user may always answer something else",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "label": {"type": "string", "description": "One to five words"},
                                    "description": {"type": "string", "description": "What choosing it means"},
                                },
                                "required": ["label", "description"],
                                "additionalProperties": False,
                            },
                        },
                        "isSecret": {"type": "boolean", "description": "The answer is not shown while it is typed"},
                    },
                    "required": ["id", "header", "question"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["questions"],
        "additionalProperties": False,
    },
}


def plan(call: Call, ctx: ToolContext) -> Plan:
    """No item: clients see the request alone. data: the ids of the questions."""
    try:
        given = frames.decode(call.arguments.encode(errors="replace"))
    except ValueError as error:
        raise ToolError(f"{NAME}: the arguments are not JSON: {error}") from None
    questions = given.get("questions") if isinstance(given, dict) else None
    if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_QUESTIONS:
        raise ToolError(f"{NAME}: questions: expected one to {MAX_QUESTIONS} of them")
    asked = [_question(one) for one in questions]
    ids = [one["id"] for one in asked]
    if len(set(ids)) < len(ids):
        raise ToolError(f"{NAME}: two questions have the same id")
    params = {"itemId": call.item_id, "questions": asked, "isBlocking": True, "autoResolutionMs": None}
    return Plan(call, item=None, request=Request(METHOD, params), data=ids)


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """{"answers": {id: {"answers": [text]}}} of the questions that were asked."""
    answers = ctx.answer.get("answers")
    given = {name: answers[name] for name in plan.data if name in answers} if isinstance(answers, dict) else {}
    told = {name: {"answers": texts} for name, one in given.items() if (texts := _texts(one)) is not None}
    if not told:
        return Outcome("The user did not answer. Go on without, or end your turn with what you need to know.")
    return Outcome(json.dumps({"answers": told}, ensure_ascii=False))


def _question(one: Any) -> dict[str, Any]:
    match one:
        case {"id": str(name), "header": str(header), "question": str(question)}:
            options = [_option(option) for option in (one.get("options") or [])[:MAX_OPTIONS]] or None
            asked = {"id": name, "header": header, "question": question}
            return {**asked, "isOther": True, "isSecret": one.get("isSecret") is True, "options": options}
    raise ToolError(f"{NAME}: a question needs id, header and question")


def _option(one: Any) -> dict[str, str]:
    match one:
        case {"label": str(label)}:
            return {"label": label, "description": str(one.get("description", ""))}
    raise ToolError(f"{NAME}: an option needs label and description")


def _texts(answer: Any) -> list[str] | None:
    match answer:
        case {"answers": list(texts)}:
            return [str(text) for text in texts]
    return None
