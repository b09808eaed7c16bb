"""`threadhouse mcp-server` as other agents use it, with the official SDK's client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from anyio import to_thread
from mcp.types import ElicitRequestParams, ElicitResult

from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.mcp_client import connected, text_of
from tests.support.wait import until

CLIENT = {"clientInfo": {"name": "test", "version": "1"}}


@pytest.fixture
def server(sqlite_deployment: Deployment) -> Any:
    with logs_shown_on_failure(sqlite_deployment):
        yield sqlite_deployment


def turns(server: Deployment, thread_id: str) -> list[dict[str, Any]]:
    found = server.http().call("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"]
    return list(found)


def test_a_thread_is_started_continued_listed_and_read(server: Deployment, tmp_path: Path) -> None:
    shown: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        shown.append(message or "")

    async def story() -> None:
        async with connected(server) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == ["codex", "codex-reply", "codex-list", "codex-read"]
            prompt = "find it [[say Let me look.]] [[run echo $((6 * 7)); exit 3]] [[say Found.]]"
            first = await client.call_tool(
                "codex", {"prompt": prompt, "cwd": str(tmp_path), "model": "other"}, progress_callback=progress
            )
            thread_id = first.structured_content["threadId"]
            assert first.structured_content == {"threadId": thread_id, "content": "Found."}
            assert (text_of(first), first.is_error) == ("Found.", False)
            assert shown[0] == f"thread {thread_id}"
            command = "/bin/bash -lc 'echo $((6 * 7)); exit 3'"
            assert shown[1:4] == ["Let me look.", f"$ {command}", f"exit code 3: {command}"]

            second = await client.call_tool("codex-reply", {"threadId": thread_id, "prompt": "[[say Again.]]"})
            assert second.structured_content == {"threadId": thread_id, "content": "Again."}

            page = (await client.call_tool("codex-list", {"limit": 1})).structured_content
            assert [thread["threadId"] for thread in page["threads"]] == [thread_id]
            assert page["threads"][0]["cwd"] == str(tmp_path)
            read = (await client.call_tool("codex-read", {"threadId": thread_id})).structured_content
            kinds = [[item["type"] for item in turn["items"]] for turn in read["turns"]]
            assert kinds[0] == ["user_message", "agent_message", "command_execution", "agent_message"]
            assert read["turns"][1]["items"][1]["text"] == "Again."

            failed = await client.call_tool("codex", {"prompt": "[[status 400 the model refuses]]"})
            assert failed.is_error
            assert "the model refuses" in text_of(failed)
            unknown = await client.call_tool("codex-reply", {"threadId": "nope", "prompt": "go on"})
            assert unknown.is_error
            wrong = await client.call_tool("codex", {"prompt": "x", "sandbox": "none"})
            assert wrong.is_error
            assert "sandbox" in text_of(wrong)

    anyio.run(story)


def test_approvals_are_put_to_the_users_of_the_client(server: Deployment, tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        if "touch declined" in params.message:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"decision": "accept"})

    patch = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
    prompt = f"[[run touch declined]] [[run touch made]] [[patch {patch}]] [[say Done.]]"

    async def story() -> None:
        async with connected(server, answer) as client:
            result = await client.call_tool(
                "codex", {"prompt": prompt, "cwd": str(tmp_path), "approval-policy": "untrusted"}
            )
            assert text_of(result) == "Done."

    anyio.run(story)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "new.txt"]
    assert [message.splitlines()[-1] for message in asked[:2]] == [
        f"/bin/bash -lc 'touch {name}'" for name in ("declined", "made")
    ]
    assert "new.txt" in asked[2]
    assert "hello" in asked[2]


def test_without_elicitation_what_needs_approval_is_declined_and_said(server: Deployment, tmp_path: Path) -> None:
    async def story() -> None:
        async with connected(server) as client:
            given = {"prompt": "[[run touch made]] [[say Done.]]", "cwd": str(tmp_path), "approval-policy": "untrusted"}
            result = await client.call_tool("codex", given)
            assert result.structured_content["content"] == "Done."
            assert "offers no elicitation" in text_of(result)
            assert "touch made" in text_of(result)

    anyio.run(story)

    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_call_interrupts_its_turn_and_an_answer_from_elsewhere_ends_a_question(
    server: Deployment, tmp_path: Path
) -> None:
    questions = anyio.Event()

    async def answer(params: ElicitRequestParams) -> ElicitResult:
        questions.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def story() -> str:
        async with connected(server, answer) as client, anyio.create_task_group() as tasks:
            ids: list[str] = []

            async def progress(done: float, total: float | None, message: str | None) -> None:
                ids.append((message or "").removeprefix("thread "))

            elsewhere = server.connect()
            tasks.start_soon(_answer_elsewhere, server, elsewhere, questions, ids)
            given = {
                "prompt": "[[run echo ran]] [[say After.]]",
                "cwd": str(tmp_path),
                "approval-policy": "untrusted",
            }
            result = await client.call_tool("codex", given, progress_callback=progress)
            assert text_of(result) == "After."

            ids.clear()
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    await to_thread.run_sync(server.model.wait_reached, "mcp-cancel")
                    scope.cancel()

                tasks.start_soon(cancel)
                await client.call_tool("codex", {"prompt": "[[pause mcp-cancel]]"}, progress_callback=progress)
            return ids[0]

    thread_id = anyio.run(story)

    until(lambda: [turn["status"] for turn in turns(server, thread_id)] == ["interrupted"])


async def _answer_elsewhere(server: Deployment, client: Any, asked: anyio.Event, ids: list[str]) -> None:
    await asked.wait()

    def approve() -> None:
        client.request("thread/resume", {"threadId": ids[0]})
        request = client.wait_for_method("item/commandExecution/requestApproval")
        client.send({"id": request["id"], "result": {"decision": "accept"}})

    await to_thread.run_sync(approve)


@pytest.mark.parametrize("end", ["stdin", "SIGTERM"])
def test_the_end_of_stdin_or_a_signal_ends_the_process_and_its_turn(server: Deployment, end: str) -> None:
    messages = [
        {"id": 1, "method": "initialize", "params": {**CLIENT, "protocolVersion": "2025-06-18", "capabilities": {}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "codex", "arguments": {"prompt": f"[[pause mcp-{end}]]"}}},
    ]
    command = [sys.executable, "-P", "-m", "api.cli", "mcp-server"]
    environ = {**server.environ, "THREADHOUSE_URL": server.urls[0]}
    with subprocess.Popen(command, env=environ, cwd="/", stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        process.stdin.writelines(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages)
        process.stdin.flush()
        server.model.wait_reached(f"mcp-{end}")
        if end == "stdin":
            process.stdin.close()
        else:
            process.terminate()

        assert process.wait(60) == 0

    thread_id = server.http().call("thread/list", {"limit": 1, "sortKey": "recency_at"})["data"][0]["id"]
    until(lambda: [turn["status"] for turn in turns(server, thread_id)] == ["interrupted"])
