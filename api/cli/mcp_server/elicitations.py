"""Requests of the server, such as approval requests, as questions to the user of the MCP client, and the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp import MCPError
from mcp.server.session import ServerSession
from mcp.types import ElicitResult
from pydantic import ValidationError

from api.cli.client import EventData
from api.cli.visible import visible
from shared.protocol import server_requests

DECISIONS = ("accept", "acceptForSession")  # of an approval; an elicitation says "decline" and "cancel" itself
MAX_PART = 8_000  # characters of a message; a longer one is asked in parts, so that all of it is seen
APPROVALS = (server_requests.COMMAND_APPROVAL, server_requests.PATCH_APPROVAL)

Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the user.

    message: for the user, whole
    schema:  of the form, a JSON Schema with properties that are no objects
    read:    returns the answer for the server
    """

    message: str
    schema: dict[str, Any]
    read: Callable[[ElicitResult], Answer]


def can_ask(session: ServerSession) -> bool:
    """Return whether the client can show its user a form."""
    capabilities = session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    # Before the two modes there was only the form.
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def ask(session: ServerSession, question: Question) -> Answer:
    """Return what the user answers. A client that fails to ask, or answers something else, declines."""
    *before, last = _parts(question.message)
    try:
        for part in before:
            answer = await session.elicit_form(part, {"type": "object", "properties": {}})
            if answer.action != "accept":
                return question.read(answer)
        answer = await session.elicit_form(last, question.schema)
    except (MCPError, ValidationError):
        answer = ElicitResult(action="decline")
    return question.read(answer)


def _parts(message: str) -> list[str]:
    """Return a message in parts that a person can read; accepting one of them shows the next."""
    texts = [message[at : at + MAX_PART] for at in range(0, len(message), MAX_PART)]
    if len(texts) < 2:
        return [message]
    heads = [f"Part {number} of {len(texts)}" for number in range(1, len(texts) + 1)]
    asked = [f"{head}; accept to see the next one, which approves nothing yet" for head in heads[:-1]]
    return [f"{head}:\n{text}" for head, text in zip([*asked, heads[-1]], texts, strict=True)]


def question(event: EventData, item: Any) -> Question | None:
    """Return the question for a request of the server; None: the user cannot be asked this.

    item: the item that needs approval, if it is known
    """
    params = event["params"]
    match event["method"]:
        case server_requests.COMMAND_APPROVAL:
            cwd, command = visible(params["cwd"], kept=""), visible(params["command"])
            message = f"Allow the agent to run this command in {cwd}?{_reason(params)}\n{command}"
            return Question(message, _decision_form(), _decision)
        case server_requests.PATCH_APPROVAL:
            if item is None:
                return None  # nobody approves what they do not see
            message = f"Allow the agent to apply this patch?{_reason(params)}{_changes(item)}"
            return Question(message, _decision_form(), _decision)
        case server_requests.USER_INPUT:
            # A form may not ask for secrets (MCP, elicitation): its answers pass through the calling agent.
            if any(asked["isSecret"] for asked in params["questions"]):
                return None
            return _user_input(params["questions"])
        case server_requests.ELICITATION:
            return _elicitation(params)
    return None


def refusal(event: EventData) -> Answer:
    """Return the answer that declines a request of the server."""
    if event["method"] == server_requests.ELICITATION:
        return {"action": "decline", "content": None}
    return {"decision": "decline"} if event["method"] in APPROVALS else {}


def _decision_form() -> dict[str, Any]:
    decision = {
        "type": "string",
        "title": "Decision",
        "description": "accept: once; acceptForSession: whenever this thread wants the same",
        "enum": list(DECISIONS),
        "default": "accept",
    }
    return {"type": "object", "properties": {"decision": decision}}


def _decision(answer: ElicitResult) -> Answer:
    """Return the decision: that of the form, of which a client may leave out a member with a default."""
    if answer.action != "accept":
        return {"decision": answer.action}
    decision = (answer.content or {}).get("decision", "accept")
    return {"decision": decision if decision in DECISIONS else "decline"}


def _reason(params: Any) -> str:
    """Return the reason as a line of its own, which cannot be taken for what is approved."""
    return f"\n{visible(params['reason'], kept='')}" if params.get("reason") else ""


def _changes(item: Any) -> str:
    return "".join(
        _change(change["kind"], visible(change["path"], kept=""), change["diff"]) for change in item["changes"]
    )


def _change(kind: Any, path: str, diff: str) -> str:
    to = f" to {visible(kind['move_path'], kept='')}" if kind.get("move_path") else ""
    return f"\n{kind['type']} {path}{to}\n{visible(diff)}"


def _user_input(questions: list[Any]) -> Question | None:
    properties: dict[str, Any] = {}
    for asked in questions:
        options = "; ".join(
            f"{option['label']}: {option['description']}" if option["description"] else option["label"]
            for option in asked["options"] or ()
        )
        description = f"{asked['question']} ({options})" if options else asked["question"]
        properties[asked["id"]] = {"type": "string", "title": asked["header"], "description": description}
    message = visible("\n".join(asked["question"] for asked in questions))
    schema = _seen({"type": "object", "properties": properties})

    def read(answer: ElicitResult) -> Answer:
        given = (answer.content or {}) if answer.action == "accept" else {}
        answers = {name: {"answers": [str(given[name])]} for name in properties if given.get(name)}
        return {"answers": answers} if answers else {}

    return None if schema is None else Question(message, schema, read)


def _elicitation(params: Any) -> Question | None:
    """Pass a question of an MCP server on, or whether one of its tools may be called with these arguments.

    A form stands for the mode "url", too: not all clients have that.
    """
    arguments = (params["_meta"] or {}).get("tool_params")
    shown = f"\n{visible(json.dumps(arguments, ensure_ascii=False))}" if arguments else ""
    address = (
        f"\nOpen {visible(params['url'], kept='')} and accept when you are done there."
        if params["mode"] == "url"
        else ""
    )
    schema = _seen(params.get("requestedSchema") or {"type": "object", "properties": {}})

    def read(answer: ElicitResult) -> Answer:
        content = (answer.content or {}) if answer.action == "accept" and params["mode"] == "form" else None
        return {"action": answer.action, "content": content}

    return None if schema is None else Question(f"{visible(params['message'])}{shown}{address}", schema, read)


def _seen(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a form as it must be seen; None: its names or values, which are answered, have more."""
    try:
        return {name: _seen_value(value, name) for name, value in schema.items()}
    except ValueError:
        return None


def _seen_value(value: Any, name: str) -> Any:
    """Errors: ValueError (it is no text for people, and has what is not seen)."""
    if isinstance(value, str):
        written = visible(value)
        if written != value and name not in ("title", "description"):
            raise ValueError(name)
        return written
    if isinstance(value, list):
        return [_seen_value(one, name) for one in value]
    if isinstance(value, dict):
        return {_seen_value(key, ""): _seen_value(one, key) for key, one in value.items()}
    return value
