"""The tools of `threadhouse mcp-server`, and the questions that it puts to the user of its client."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import ElicitResult
from pydantic import ValidationError

from api.cli.mcp_server import elicitations, tools
from api.cli.mcp_server.tools import CodexArguments, ReplyArguments

QUESTION = {"id": "color", "header": "Color", "question": "Which color?", "isSecret": False, "options": None}


def command(**more: object) -> Any:
    params = {"command": "rm -r x", "cwd": "/srv", **more}
    return {"id": 1, "method": "item/commandExecution/requestApproval", "params": params}


def patch() -> Any:
    return {"id": 1, "method": "item/fileChange/requestApproval", "params": {"itemId": "i", "reason": None}}


def user_input(*questions: object) -> Any:
    return {"id": 1, "method": "item/tool/requestUserInput", "params": {"questions": list(questions)}}


def answered(event: Any, action: Any, content: Any = None) -> object:
    question = elicitations.question(event, None)
    assert question is not None
    return question.read(ElicitResult(action=action, content=content))


def test_codex_takes_the_arguments_of_the_original_and_ignores_others() -> None:
    properties = tools.CODEX.input_schema["properties"]
    assert set(properties) == {
        "prompt",
        "cwd",
        "model",
        "sandbox",
        "approval-policy",
        "base-instructions",
        "developer-instructions",
        "config",
    }
    assert tools.CODEX.input_schema["required"] == ["prompt"]
    assert properties["approval-policy"]["enum"] == ["untrusted", "on-request", "never"]
    assert all(
        set(found) <= {"type", "enum", "description", "minLength", "additionalProperties"}
        for found in properties.values()
    )

    given = {"prompt": "p", "approval-policy": "never", "base-instructions": "b", "profile": "x", "config": {"a": 1}}
    arguments = CodexArguments.model_validate(given)

    assert arguments.thread_settings() == {"approvalPolicy": "never", "baseInstructions": "b", "config": {"a": 1}}


@pytest.mark.parametrize("given", [{}, {"prompt": ""}, {"prompt": "p", "sandbox": "all"}, {"prompt": 1}])
def test_wrong_arguments_are_described(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        CodexArguments.model_validate(given)

    assert tools.describe_errors(raised.value).split(":")[0] in ("prompt", "sandbox")
    assert ReplyArguments.model_validate({"prompt": "p", "conversationId": "c"}).conversationId == "c"


@pytest.mark.parametrize(
    ("action", "content", "decision"),
    [
        ("accept", None, "accept"),
        ("accept", {"decision": "acceptForSession"}, "acceptForSession"),
        ("accept", {"decision": "acceptWithExecpolicyAmendment"}, "decline"),
        ("accept", {"decision": True}, "decline"),
        ("decline", {"decision": "accept"}, "decline"),
        ("cancel", None, "cancel"),
    ],
)
def test_only_an_explicit_approval_approves(action: str, content: Any, decision: str) -> None:
    assert answered(command(), action, content) == {"decision": decision}
    assert answered(patch(), action, content) == {"decision": decision}


def test_the_question_shows_what_runs_and_what_a_patch_changes() -> None:
    asked = elicitations.question(command(reason="because"), None)
    assert asked is not None
    assert asked.message == "Allow the agent to run this command in /srv?\nbecause\nrm -r x"

    change = {"path": "/srv/a", "kind": {"type": "add"}, "diff": "+a" * 10_000}
    asked = elicitations.question(patch(), {"changes": [change]})
    assert asked is not None
    assert asked.message.startswith("Allow the agent to apply this patch?\nadd /srv/a\n+a+a")
    assert asked.message.endswith("more characters)")
    assert len(asked.message) < 9_000


def test_questions_of_the_model_are_a_form() -> None:
    options = [{"label": "red", "description": "warm"}, {"label": "blue", "description": ""}]
    event = user_input({**QUESTION, "options": options}, {**QUESTION, "id": "size", "question": "Which size?"})

    asked = elicitations.question(event, None)

    assert asked is not None
    assert asked.message == "Which color?\nWhich size?"
    assert asked.schema["properties"]["color"]["description"] == "Which color? (red: warm; blue)"
    assert answered(event, "accept", {"color": "red", "size": ""}) == {"answers": {"color": {"answers": ["red"]}}}
    assert answered(event, "accept", None) == {}
    assert answered(event, "decline", {"color": "red"}) == {}


def test_what_no_form_may_ask_is_refused() -> None:
    secret = user_input({**QUESTION, "isSecret": True})
    tool: Any = {"id": 1, "method": "item/tool/call", "params": {"tool": "mine"}}

    assert elicitations.question(secret, None) is None
    assert elicitations.question(tool, None) is None
    assert [elicitations.refusal(event) for event in (secret, tool)] == [{}, {}]
    assert elicitations.refusal(patch()) == {"decision": "decline"}


def elicitation(**more: object) -> Any:
    params = {"serverName": "demo", "mode": "form", "_meta": None, "message": "Which branch?", **more}
    return {"id": 1, "method": "mcpServer/elicitation/request", "params": params}


def test_questions_of_mcp_servers_are_passed_on() -> None:
    schema = {"type": "object", "properties": {"branch": {"type": "string"}}}
    form = elicitation(requestedSchema=schema)
    asked = elicitations.question(form, None)
    assert asked is not None
    assert (asked.message, asked.schema) == ("Which branch?", schema)
    assert answered(form, "accept", {"branch": "main"}) == {"action": "accept", "content": {"branch": "main"}}
    assert answered(form, "cancel", {"branch": "main"}) == {"action": "cancel", "content": None}
    assert elicitations.refusal(form) == {"action": "decline", "content": None}

    call = elicitation(message="Allow it?", _meta={"tool_params": {"path": "/etc"}}, requestedSchema={})
    asked = elicitations.question(call, None)
    assert asked is not None
    assert asked.message == 'Allow it?\n{"path": "/etc"}'
    assert answered(call, "accept", None) == {"action": "accept", "content": {}}

    address = elicitation(mode="url", url="https://a.example/x", elicitationId="e")
    asked = elicitations.question(address, None)
    assert asked is not None
    assert "https://a.example/x" in asked.message
    assert answered(address, "accept", None) == {"action": "accept", "content": None}
