"""The tools of `threadhouse mcp-server`, and the questions that it puts to the user of its client."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp.types import ElicitResult
from pydantic import ValidationError

from api.cli.mcp_server import elicitations, tools
from api.cli.mcp_server.tools import CodexArguments, ReplyArguments
from api.cli.visible import visible

QUESTION = {"id": "color", "header": "Color", "question": "Which color?", "isSecret": False, "options": None}


def command(**more: object) -> Any:
    params = {"command": "rm -r x", "cwd": "/srv", **more}
    return {"id": 1, "method": "item/commandExecution/requestApproval", "params": params}


def patch() -> Any:
    return {"id": 1, "method": "item/fileChange/requestApproval", "params": {"itemId": "i", "reason": None}}


def user_input(*questions: object) -> Any:
    return {"id": 1, "method": "item/tool/requestUserInput", "params": {"questions": list(questions)}}


CHANGED: Any = {"changes": [{"path": "/srv/a", "kind": {"type": "add"}, "diff": "a"}]}


def answered(event: Any, action: Any, content: Any = None) -> object:
    question = elicitations.question(event, CHANGED)
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

    change = {"path": "/srv/a", "kind": {"type": "update", "move_path": "/srv/b"}, "diff": "-a\n+b\n"}
    asked = elicitations.question(patch(), {"changes": [change]})
    assert asked is not None
    assert asked.message == "Allow the agent to apply this patch?\nupdate /srv/a to /srv/b\n-a\n+b\n"
    assert elicitations.question(patch(), None) is None, "nobody approves what is not known"


class Person:
    """A client whose user gives these answers, the last one again and again."""

    def __init__(self, *actions: Any) -> None:
        self.actions = list(actions)
        self.asked: list[tuple[str, Any]] = []

    async def elicit_form(self, message: str, schema: Any) -> ElicitResult:
        self.asked.append((message, schema))
        return ElicitResult(action=self.actions.pop(0) if len(self.actions) > 1 else self.actions[0])


def decided(person: Any, event: Any) -> object:
    question = elicitations.question(event, CHANGED)
    assert question is not None
    return anyio.run(elicitations.ask, person, question)


def test_a_long_question_is_seen_whole_before_it_is_answered() -> None:
    long = command(command="echo " + "x" * 20_000 + "; rm -r y")
    person = Person("accept")

    assert decided(person, long) == {"decision": "accept"}
    assert [message.split("\n")[0].split(";")[0].rstrip(":") for message, _ in person.asked] == [
        "Part 1 of 3",
        "Part 2 of 3",
        "Part 3 of 3",
    ]
    assert "".join(message.split(":\n", 1)[1] for message, _ in person.asked).endswith("x; rm -r y")
    assert [bool(schema["properties"]) for _, schema in person.asked] == [False, False, True]

    for action in ("decline", "cancel"):
        person = Person("accept", action)
        assert decided(person, long) == {"decision": action}
        assert len(person.asked) == 2


HIDING = "a\u202eb\u200b\x1b[2K\rc\u00a0\u3164\ufe0f\u2028\ud800"
WRITTEN = r"a\u{202e}b\u{200b}\u{1b}[2K\u{d}c\u{a0}\u{3164}\u{fe0f}\u{2028}\u{d800}"


def test_what_would_hide_or_reorder_text_is_written_out() -> None:
    message = "Allow the agent to run this command in {0}?\n{0}\\u{{a}}x\n{0}"
    asked = elicitations.question(command(command=HIDING, cwd=HIDING, reason=HIDING + "\nx"), None)
    assert asked is not None
    assert asked.message == message.format(WRITTEN)

    change = {"path": HIDING, "kind": {"type": "update", "move_path": HIDING}, "diff": HIDING}
    asked = elicitations.question(patch(), {"changes": [change]})
    assert asked is not None
    assert asked.message.count(WRITTEN) == 3

    for given in (
        {"message": HIDING},
        {"_meta": {"tool_params": {"path": "\u202e"}}},
        {"mode": "url", "url": "https://a.example/\u202e", "elicitationId": "e"},
        {"requestedSchema": {"properties": {"a": {"title": "\u202e"}}}},
    ):
        asked = elicitations.question(elicitation(**given), None)
        assert asked is not None
        shown = asked.message + str(asked.schema)
        assert "u{202e}" in shown
        assert "\u202e" not in shown
    assert visible("Grüße, 世界, שלום 👍\n\tx") == "Grüße, 世界, שלום 👍\n\tx"


@pytest.mark.parametrize("field", [{"\u202e": {}}, {"a": {"enum": ["x", "x\u200b"]}}, {"a": {"default": "\u2066"}}])
def test_a_form_whose_answers_cannot_be_seen_is_refused(field: Any) -> None:
    assert elicitations.question(elicitation(requestedSchema={"type": "object", "properties": field}), None) is None
    assert elicitations.question(user_input({**QUESTION, "id": "\u202e"}), None) is None


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
