"""request_user_input: ask the user questions, whose answers are the output (PROTOCOL 8.3). Offered in plan mode only.

An answer may be secret: it goes to the model and into the thread, and nowhere else.
"""

from __future__ import annotations

import json
from typing import Any

from shared.errors import ToolError
from shared.protocol.model_items import ToolDefinition
from shared.protocol.server_requests import USER_INPUT, Question, QuestionOption, UserInputParams
from workers.tools.arguments import read_arguments
from workers.tools.base import ClientRequest, PreparedCall, ToolCall, ToolContext, ToolResult

NAME = "request_user_input"
PURE = True  # run() only reads a stored answer
PARALLEL = False
MAX_QUESTIONS = 3
MAX_OPTIONS = 10

SPEC: ToolDefinition = {
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


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. There is no item, as clients see only the request; data: the ids of the questions."""
    questions = read_arguments(call.arguments, NAME).get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_QUESTIONS:
        raise ToolError(f"{NAME}: questions: expected one to {MAX_QUESTIONS} questions")
    asked = [_question(question) for question in questions]
    ids = [question["id"] for question in asked]
    if len(set(ids)) < len(ids):
        raise ToolError(f"{NAME}: two questions have the same id")
    params: UserInputParams = {"itemId": call.item_id, "questions": asked, "isBlocking": True, "autoResolutionMs": None}
    return PreparedCall(call, item=None, request=ClientRequest(USER_INPUT, params), data=ids)


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Return {"answers": {id: {"answers": [text]}}} for the questions that were asked."""
    answers = ctx.answer.get("answers")
    given = {name: answers[name] for name in prepared.data if name in answers} if isinstance(answers, dict) else {}
    valid = {name: {"answers": texts} for name, answer in given.items() if (texts := _texts(answer)) is not None}
    if not valid:
        return ToolResult("The user did not answer. Go on without, or end your turn with what you need to know.")
    return ToolResult(json.dumps({"answers": valid}, ensure_ascii=False))


def _question(given: Any) -> Question:
    match given:
        case {"id": str(name), "header": str(header), "question": str(question)}:
            listed = given.get("options") or []
            if not isinstance(listed, list):
                raise ToolError(f"{NAME}: options: expected a list")
            options = [_option(option) for option in listed[:MAX_OPTIONS]] or None
            return {
                "id": name,
                "header": header,
                "question": question,
                "isOther": True,
                "isSecret": given.get("isSecret") is True,
                "options": options,
            }
    raise ToolError(f"{NAME}: a question needs id, header and question")


def _option(given: Any) -> QuestionOption:
    match given:
        case {"label": str(label)}:
            return {"label": label, "description": str(given.get("description", ""))}
    raise ToolError(f"{NAME}: an option needs label and description")


def _texts(answer: object) -> list[str] | None:
    match answer:
        case {"answers": list(texts)}:
            return [str(text) for text in texts]
    return None
