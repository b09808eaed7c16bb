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
from api.cli.mcp_server.tools import shorten
from shared.protocol import server_requests

DECISIONS = ("accept", "acceptForSession")  # of an approval; an elicitation says "decline" and "cancel" itself
MAX_DIFF = 8_000  # characters
APPROVALS = (server_requests.COMMAND_APPROVAL, server_requests.PATCH_APPROVAL)

Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the user.

    message: for the user
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
    try:
        answer = await session.elicit_form(question.message, question.schema)
    except (MCPError, ValidationError):
        answer = ElicitResult(action="decline")
    return question.read(answer)


def question(event: EventData, item: Any) -> Question | None:
    """Return the question for a request of the server; None: the user cannot be asked this.

    item: the item that needs approval, if it is known
    """
    params = event["params"]
    match event["method"]:
        case server_requests.COMMAND_APPROVAL:
            reason = f"\n{params['reason']}" if params.get("reason") else ""
            command = shorten(params["command"])
            message = f"Allow the agent to run this command in {params['cwd']}?{reason}\n{command}"
            return Question(message, _decision_form(), _decision)
        case server_requests.PATCH_APPROVAL:
            reason = f"\n{params['reason']}" if params.get("reason") else ""
            message = f"Allow the agent to apply this patch?{reason}{_changes(item)}"
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


def _changes(item: Any) -> str:
    if item is None:
        return ""
    diffs = "\n".join(f"{change['kind']['type']} {change['path']}\n{change['diff']}" for change in item["changes"])
    return "\n" + shorten(diffs, MAX_DIFF)


def _user_input(questions: list[Any]) -> Question:
    properties: dict[str, Any] = {}
    for asked in questions:
        options = "; ".join(
            f"{option['label']}: {option['description']}" if option["description"] else option["label"]
            for option in asked["options"] or ()
        )
        description = f"{asked['question']} ({options})" if options else asked["question"]
        properties[asked["id"]] = {"type": "string", "title": asked["header"], "description": description}
    message = "\n".join(asked["question"] for asked in questions)

    def read(answer: ElicitResult) -> Answer:
        given = (answer.content or {}) if answer.action == "accept" else {}
        answers = {name: {"answers": [str(given[name])]} for name in properties if given.get(name)}
        return {"answers": answers} if answers else {}

    return Question(message, {"type": "object", "properties": properties}, read)


def _elicitation(params: Any) -> Question:
    """Pass a question of an MCP server on, or whether one of its tools may be called with these arguments.

    A form stands for the mode "url", too: not all clients have that.
    """
    arguments = (params["_meta"] or {}).get("tool_params")
    shown = f"\n{shorten(json.dumps(arguments, ensure_ascii=False))}" if arguments else ""
    address = f"\nOpen {params['url']} and accept when you are done there." if params["mode"] == "url" else ""
    schema = params.get("requestedSchema") or {"type": "object", "properties": {}}

    def read(answer: ElicitResult) -> Answer:
        content = (answer.content or {}) if answer.action == "accept" and params["mode"] == "form" else None
        return {"action": answer.action, "content": content}

    return Question(f"{params['message']}{shown}{address}", schema, read)
