"""The scripted model server, on which all other tests rely."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_server import ModelServer, parse
from tests.workers.models.asking import provider_of, user
from tests.workers.models.test_client import ask, text_of

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def post(server: ModelServer, path: str, body: dict[str, Any]) -> tuple[int, str]:
    request = urllib.request.Request(
        f"{server.base_url}{path}", json.dumps({"model": "m", "stream": True} | body).encode()
    )
    try:
        with OPENER.open(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_script_is_split_into_answers_after_its_calls() -> None:
    answers = parse('x [[reason a]] [[say b c]] [[run d]]+[[run e]] [[patch f\ng]][[tool h {"i": [[1]]}]] [[say j]]')

    assert [[(step.verb, step.text) for step in answer] for answer in answers] == [
        [("reason", "a"), ("say", "b c"), ("run", "d"), ("run", "e")],
        [("patch", "f\ng")],
        [("tool", 'h {"i": [[1]]}')],
        [("say", "j")],
    ]


def test_options_come_first_and_variables_of_a_command_are_no_options() -> None:
    (say, run), *_ = parse("[[say n=3 delay_ms=2 a=b c]][[run n=3 env]]")

    assert (say.options, say.text) == ({"n": "3", "delay_ms": "2"}, "a=b c")
    assert (run.options, run.text) == ({}, "n=3 env")


CALL = {"type": "function_call", "call_id": "a", "name": "x", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "a", "output": ""}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([CALL], "No tool output found for function call a."),
        ([OUTPUT], "No tool call found for function call output with call_id a."),
        ([OUTPUT, CALL], "No tool call found for function call output with call_id a."),
        ([CALL, OUTPUT, CALL, OUTPUT], "Duplicate call_id a."),
        ([CALL, {**OUTPUT, "type": "custom_tool_call_output"}], "answers a function_call"),
    ],
)
def test_input_that_the_real_api_would_refuse_is_refused(
    server: ModelServer, items: list[dict[str, Any]], expected: str
) -> None:
    status, body = post(server, "/responses", {"input": [user("hi"), *items]})

    assert status == 400
    assert expected in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}]}],
        [{"role": "tool", "tool_call_id": "a", "content": ""}],
        [{"role": "user", "content": "hi"}, {"role": "system", "content": "late"}],
    ],
)
def test_messages_that_a_template_would_refuse_are_refused(server: ModelServer, messages: list[dict[str, Any]]) -> None:
    assert post(server, "/chat/completions", {"messages": messages})[0] == 400


def test_requests_are_recorded_for_this_process_and_others(server: ModelServer) -> None:
    post(server, "/responses", {"input": [user("hi")]})

    with OPENER.open(f"{server.base_url}/requests", timeout=5) as response:
        recorded = json.load(response)
    assert recorded[0]["body"] == server.requests[0].body == {"model": "m", "stream": True, "input": [user("hi")]}


def test_schema_is_followed_instead_of_the_script(server: ModelServer) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string", "maxLength": 5}}}
    body = {"input": [user("Title for:\n[[run rm]]")], "text": {"format": {"type": "json_schema", "schema": schema}}}

    _, stream = post(server, "/responses", body)

    assert r"{\"title\":\"[[run\"}" in stream


def test_file_releases_a_pause(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with ModelServer(gate_dir=tmp_path) as server:
        assert text_of(ask(provider_of(server), "[[say a]][[pause go]][[say b]]")) == "ab"

    assert (tmp_path / "go.reached").read_text() == "1"


def test_injected_context_is_not_mistaken_for_the_users_message(server: ModelServer) -> None:
    _, stream = post(server, "/responses", {"input": [user("[[say a]]"), user("<environment_context/>")]})

    assert '"text":"a"' in stream
