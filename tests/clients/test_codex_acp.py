"""The adapter that brings Codex into editors (Agent Client Protocol), with `threadhouse app-server` as its Codex."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import mcp_program, originals
from tests.support.deployment import Deployment
from tests.support.originals import CODEX_ACP
from tests.support.wait import until

DEADLINE_S = 60.0
THREADHOUSE = Path(sys.executable).with_name("threadhouse")


class Editor:
    """An editor that started the adapter: requests, and what the adapter has sent. A context manager.

    decision: the kind of the option that it selects when it is asked for a permission
    asked:    the permissions that it was asked for
    """

    def __init__(self, server: Deployment, home: Path) -> None:
        self.decision = "allow_once"
        self.asked: list[dict[str, Any]] = []
        self._received: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._ids = itertools.count(1)
        wrapper = home / "codex"
        wrapper.write_text(f'#!/bin/sh\nexec {THREADHOUSE} "$@"\n')
        wrapper.chmod(0o755)
        environ = originals.environ(home) | {
            "CODEX_PATH": str(wrapper),
            "THREADHOUSE_URL": server.urls[0],
            "INITIAL_AGENT_MODE": "workspace-write",  # its default asks an automatic reviewer, not the user
        }
        self._process = subprocess.Popen(
            [str(CODEX_ACP)], env=environ, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Editor:
        self.request("initialize", protocolVersion=1, clientCapabilities={})
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)

    def send_request(self, method: str, **params: Any) -> int:
        """Send a request without waiting. Return its id."""
        request_id = next(self._ids)
        self.send({"id": request_id, "method": method, "params": params})
        return request_id

    def result(self, request_id: int) -> dict[str, Any]:
        """Wait for the result of a request. Errors: AssertionError (an error, or none in time)."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self._reply(request_id), DEADLINE_S), self._received[-3:]
            reply = self._reply(request_id)
        assert reply is not None
        assert "result" in reply, reply
        found: dict[str, Any] = reply["result"]
        return found

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        return self.result(self.send_request(method, **params))

    def prompt(self, session_id: str, text: str) -> str:
        """Run a turn. Return why it stopped."""
        reason: str = self.request("session/prompt", **prompt(session_id, text))["stopReason"]
        return reason

    def updates(self, kind: str) -> list[dict[str, Any]]:
        updates = [frame["params"]["update"] for frame in self._received if frame.get("method") == "session/update"]
        return [update for update in updates if update["sessionUpdate"] == kind]

    def text(self, kind: str) -> str:
        return "".join(update["content"]["text"] for update in self.updates(kind))

    def send(self, frame: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **frame}) + "\n")
        self._process.stdin.flush()

    def _reply(self, request_id: int) -> dict[str, Any] | None:
        frames = (frame for frame in self._received if "method" not in frame and frame.get("id") == request_id)
        return next(frames, None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            frame = json.loads(line)
            if frame.get("method") == "session/request_permission":
                self.asked.append(frame["params"])
                chosen = next(one for one in frame["params"]["options"] if one["kind"] == self.decision)
                outcome = {"outcome": "selected", "optionId": chosen["optionId"]}
                self.send({"id": frame["id"], "result": {"outcome": outcome}})
            with self._arrived:
                self._received.append(frame)
                self._arrived.notify_all()


def prompt(session_id: str, text: str) -> dict[str, Any]:
    return {"sessionId": session_id, "prompt": [{"type": "text", "text": text}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    originals.require(CODEX_ACP, "node")
    with Deployment(tmp_path_factory.mktemp("server"), settings={"approval_policy": "on-request"}) as deployment:
        yield deployment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is open in the editor."""
    made = tmp_path / "dir.with.dot"
    subprocess.run(["git", "init", "--quiet", str(made)], check=True)
    return made


@pytest.fixture
def editor(server: Deployment, tmp_path: Path) -> Iterator[Editor]:
    with Editor(server, tmp_path) as started:
        yield started


def new_session(editor: Editor, folder: Path) -> str:
    session_id: str = editor.request("session/new", cwd=str(folder), mcpServers=[])["sessionId"]
    return session_id


def escalated(command: str) -> str:
    arguments = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "May I?"}
    return f"[[tool exec_command {json.dumps(arguments)}]] [[say Thanks.]]"


def test_a_prompt_runs_in_the_folder_of_the_editor(editor: Editor, folder: Path) -> None:
    session_id = new_session(editor, folder)

    assert editor.prompt(session_id, "[[say Let me see.]] [[run touch made]] [[say Made.]]") == "end_turn"

    assert editor.text("agent_message_chunk") == "Let me see.Made."
    assert [call["title"] for call in editor.updates("tool_call")] == ["touch made"]
    assert editor.updates("tool_call_update")[-1]["status"] == "completed"
    assert editor.updates("usage_update")
    assert (folder / "made").exists()


@pytest.mark.parametrize(("decision", "runs"), [("allow_once", True), ("reject_once", False)])
def test_a_permission_of_the_editor_decides(
    editor: Editor, folder: Path, tmp_path: Path, decision: str, runs: bool
) -> None:
    editor.decision = decision

    editor.prompt(new_session(editor, folder), escalated(f"touch {tmp_path}/outside"))

    assert len(editor.asked) == 1
    assert (tmp_path / "outside").exists() == runs


def test_a_session_with_mcp_servers_has_the_tools_of_those_that_work(editor: Editor, folder: Path) -> None:
    program = mcp_program.arguments("says=KEY")
    env = [{"name": "KEY", "value": "of-the-editor"}]
    servers = [
        {"name": "demo", "command": mcp_program.INTERPRETER, "args": program, "env": env},
        {"name": "broken", "command": "/bin/cat", "args": [], "env": []},
    ]
    session_id = editor.request("session/new", cwd=str(folder), mcpServers=servers)["sessionId"]

    def is_answered() -> bool:  # a server that takes long to start is there in a later turn
        editor.prompt(session_id, '[[tool mcp__demo::echo {"text": "hello"}]] [[say Made.]]')
        return "echo: hello of-the-editor" in json.dumps(editor.updates("tool_call_update"))

    until(is_answered)


def test_a_cancel_ends_the_turn(server: Deployment, editor: Editor, folder: Path) -> None:
    session_id = new_session(editor, folder)
    running = editor.send_request("session/prompt", **prompt(session_id, "[[say Half]] [[pause acp]]"))
    server.model.wait_reached("acp")
    until(lambda: editor.text("agent_message_chunk") == "Half")  # the adapter knows of the turn

    editor.send({"method": "session/cancel", "params": {"sessionId": session_id}})

    assert editor.result(running)["stopReason"] == "cancelled"
    assert editor.prompt(session_id, "[[say Still here.]]") == "end_turn"


def test_a_session_is_loaded_by_another_editor(
    server: Deployment, editor: Editor, folder: Path, tmp_path: Path
) -> None:
    session_id = new_session(editor, folder)
    editor.prompt(session_id, "[[say In the first.]]")

    with Editor(server, tmp_path) as second:
        second.request("session/load", sessionId=session_id, cwd=str(folder), mcpServers=[])
        assert second.text("user_message_chunk") == "[[say In the first.]]"
        assert second.text("agent_message_chunk") == "In the first."
        assert second.prompt(session_id, "[[say In the second.]]") == "end_turn"
        assert second.text("agent_message_chunk").endswith("In the second.")
