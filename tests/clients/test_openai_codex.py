"""The official Python SDK, which speaks over the pipes of a process: `threadhouse app-server`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, logs_shown_on_failure

try:
    import openai_codex as sdk
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("openai-codex is not installed (`make clients` installs it)", allow_module_level=True)

THREADHOUSE = Path(sys.executable).with_name("threadhouse")


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server")) as deployment:
        yield deployment


@pytest.fixture
def server(shared_server: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(shared_server):
        yield shared_server


def config(server: Deployment) -> sdk.CodexConfig:
    return sdk.CodexConfig(
        codex_bin=str(THREADHOUSE), config_overrides=("model=x",), env={"THREADHOUSE_URL": server.urls[0]}
    )


@pytest.fixture
def start(server: Deployment) -> Iterator[Callable[[], sdk.Codex]]:
    """A function that starts a client with its own process."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(sdk.Codex(config(server)))


@pytest.fixture
def codex(start: Callable[[], sdk.Codex]) -> sdk.Codex:
    return start()


def kinds(result: sdk.TurnResult) -> list[str]:
    return [item.root.type for item in result.items]


def model_messages(server: Deployment) -> list[tuple[str, str]]:
    """Return (role, text) of the messages in the last model request, without injected ones."""
    messages = [item for item in server.model.requests[-1].body["input"] if item.get("type", "message") == "message"]
    texts = [(one["role"], "".join(part["text"] for part in one["content"])) for one in messages]
    return [(role, text) for role, text in texts if role != "developer" and not text.startswith("<")]


def text_of(events: list[Any]) -> str:
    return "".join(event.payload.delta for event in events if event.method == "item/agentMessage/delta")


def test_a_turn_runs_on_a_new_thread(codex: sdk.Codex) -> None:
    assert (codex.metadata.userAgent or "").startswith("threadhouse/")

    result = codex.thread_start().run("[[say Hello there.]]")

    assert result.final_response == "Hello there."
    assert result.status.value == "completed"
    assert result.error is None
    assert kinds(result) == ["userMessage", "agentMessage"]
    assert result.usage is not None
    assert result.usage.total.total_tokens > 0
    assert result.duration_ms is not None


def test_the_notifications_of_a_turn_are_streamed(codex: sdk.Codex) -> None:
    turn = codex.thread_start().turn("[[reason Hm.]][[say n=50 delay_ms=2]]")

    events = list(turn.stream())

    assert text_of(events) == "".join(f"w{number} " for number in range(50))
    methods = [event.method for event in events]
    assert methods[0] == "turn/started"
    assert methods[-1] == "turn/completed"
    assert "item/reasoning/summaryTextDelta" in methods
    assert not [event for event in events if type(event.payload).__name__ == "UnknownNotification"]


def test_a_command_is_an_item_of_the_result(codex: sdk.Codex) -> None:
    call = json.dumps({"cmd": "echo $((6 * 7))", "login": False})
    result = codex.thread_start(sandbox=sdk.Sandbox.workspace_write).run(
        f"[[tool exec_command {call}]][[say Done so.]]"
    )

    assert kinds(result) == ["userMessage", "commandExecution", "agentMessage"]
    assert result.items[1].model_dump()["aggregated_output"] == "42\n"
    assert result.final_response == "Done so."


def test_the_model_gets_the_first_turn_with_the_second(server: Deployment, codex: sdk.Codex) -> None:
    thread = codex.thread_start()
    thread.run("My name is Ada.")

    result = thread.run("What is my name?")

    assert result.final_response == "You said: What is my name?"
    assert model_messages(server) == [
        ("user", "My name is Ada."),
        ("assistant", "You said: My name is Ada."),
        ("user", "What is my name?"),
    ]


def test_another_process_resumes_a_thread(server: Deployment, start: Callable[[], sdk.Codex]) -> None:
    first = start()
    thread = first.thread_start()
    thread.run("one")
    first.close()

    again = start().thread_resume(thread.id, include_turns=False)
    again.run("two")

    assert [text for role, text in model_messages(server) if role == "user"] == ["one", "two"]
    turns = again.read(include_turns=True).thread.turns
    assert [[item.root.type for item in turn.items] for turn in turns] == [["userMessage", "agentMessage"]] * 2


def test_threads_are_listed_named_and_archived(codex: sdk.Codex) -> None:
    threads = [codex.thread_start() for _ in range(3)]
    for number, thread in enumerate(threads):
        thread.run(f"preview {number}")
    threads[0].set_name("the blue one")

    first = codex.thread_list(limit=2)
    rest = codex.thread_list(limit=2, cursor=first.next_cursor)
    assert [row.id for row in first.data] == [threads[2].id, threads[1].id]
    assert rest.data[0].id == threads[0].id
    assert (rest.data[0].name, rest.data[0].preview) == ("the blue one", "preview 0")
    assert [row.id for row in codex.thread_list(search_term="blue one").data] == [threads[0].id]

    codex.thread_archive(threads[1].id)
    assert [row.id for row in codex.thread_list(archived=True).data] == [threads[1].id]
    assert codex.thread_unarchive(threads[1].id).id == threads[1].id
    assert threads[1].id in [row.id for row in codex.thread_list().data]


def test_a_fork_has_the_history_of_its_thread(server: Deployment, codex: sdk.Codex) -> None:
    thread = codex.thread_start()
    thread.run("the trunk")

    fork = codex.thread_fork(thread.id)
    fork.run("a branch")

    assert [text for role, text in model_messages(server) if role == "user"] == ["the trunk", "a branch"]
    assert fork.read().thread.forked_from_id == thread.id
    assert len(fork.read(include_turns=True).thread.turns) == 2
    assert len(thread.read(include_turns=True).thread.turns) == 1


def test_interrupt_ends_a_running_turn(server: Deployment, codex: sdk.Codex) -> None:
    turn = codex.thread_start().turn("[[say Begun.]][[pause interrupted]]")
    server.model.wait_reached("interrupted")

    turn.interrupt()

    result = turn.run()
    assert result.status.value == "interrupted"
    assert result.final_response is None
    with pytest.raises(sdk.InvalidRequestError, match="no active turn"):
        turn.interrupt()


def test_steering_adds_input_to_a_running_turn(server: Deployment, codex: sdk.Codex) -> None:
    turn = codex.thread_start().turn("[[say Left]][[pause steered]]")
    server.model.wait_reached("steered")

    assert turn.steer("[[say Right.]]").turn_id == turn.id

    result = turn.run()
    assert result.final_response == "Right."
    assert kinds(result) == ["userMessage", "userMessage", "agentMessage"]


def test_the_output_schema_reaches_the_model(server: Deployment, codex: sdk.Codex) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}
    schema |= {"required": ["answer"], "additionalProperties": False}

    result = codex.thread_start().run("forty-two", output_schema=schema)

    assert result.final_response is not None
    assert json.loads(result.final_response) == {"answer": "forty-two"}
    assert server.model.requests[-1].body["text"]["format"]["schema"] == schema


def test_a_failed_turn_raises_with_the_reason(codex: sdk.Codex) -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        codex.thread_start().run("[[status 400 no such luck]]")


def test_errors_of_the_server_are_exceptions_of_the_sdk(codex: sdk.Codex) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="no rollout found"):
        codex.thread_resume("01a20000-0000-7000-8000-000000000000")
    with pytest.raises(sdk.InvalidParamsError):
        codex.thread_start(config={"notify": ["sh", "-c", "true"]})


def test_account_and_models_can_be_read(codex: sdk.Codex) -> None:
    assert codex.account().requires_openai_auth is False
    assert [model for model in codex.models().data if model.is_default]


def test_the_async_client_runs_a_turn(server: Deployment) -> None:
    async def run() -> str | None:
        async with sdk.AsyncCodex(config(server)) as codex:
            thread = await codex.thread_start()
            return (await thread.run("[[say Later.]]")).final_response

    assert asyncio.run(run()) == "Later."


def test_a_restart_of_the_api_process_is_not_visible_to_the_client(server: Deployment, codex: sdk.Codex) -> None:
    thread = codex.thread_start()
    turn = thread.turn("[[say n=5]][[pause killed]][[say n=5]]")
    server.model.wait_reached("killed")

    server.api[0].kill()
    server.model.release("killed")
    server.api[0].start()

    events = list(turn.stream())
    assert text_of(events) == "w0 w1 w2 w3 w4 " * 2
    assert [event.method for event in events].count("turn/completed") == 1
    assert thread.run("[[say And on.]]").final_response == "And on."
