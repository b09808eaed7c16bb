"""Threads move between Threadhouse and Codex as rollout files; the input of the model shows what each has imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli.client import Client
from tests.support import originals
from tests.support.deployment import Up, clean_environ
from tests.support.model_server import ModelServer
from tests.support.originals import CODEX_169 as CODEX
from tests.support.tui import Tui
from tests.support.wait import until

TIMEOUT_S = 120


class Server:
    """A server of `threadhouse up`, whose workers also serve the queue that writes session files."""

    def __init__(self, home: Path, model: ModelServer) -> None:
        self.home, self.model = home, model
        self.up = Up(home, model)
        self.http = Client(self.up.url)
        self.environ = {**clean_environ(), "THREADHOUSE_HOME": str(home)}

    def run_turn(self, thread_id: str, text: str) -> None:
        params = {"threadId": thread_id, "input": [{"type": "text", "text": text}]}
        events = list(self.http.stream("turn/start", params))
        assert events[-1].data["params"]["turn"]["status"] == "completed"

    def command(self, *arguments: str) -> str:
        argv = [sys.executable, "-P", "-m", "api.cli", *arguments]
        ran = subprocess.run(argv, env=self.environ, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
        return ran.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not CODEX.exists() or shutil.which("node") is None:
        reason = "codex is not installed; `make clients` installs it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with ModelServer() as model:
        started = Server(tmp_path_factory.mktemp("server"), model)
        started.up.start()
        try:
            yield started
        finally:
            started.up.kill_tree()


def provider_config(server: Server) -> str:
    """Return the table of a config.toml that configures our scripted model for Codex."""
    return f'[model_providers.mock]\nname = "mock"\nwire_api = "responses"\nbase_url = "{server.model.base_url}"\n'


class Codex:
    """`codex exec` with its own home and our scripted model."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.home, self.cwd = folder / "codex", folder / "project"
        self.home.mkdir()
        self.cwd.mkdir()
        (self.home / "config.toml").write_text(
            'model = "mock-model"\nmodel_provider = "mock"\n'
            "check_for_update_on_startup = false\n[analytics]\nenabled = false\n" + provider_config(server)
        )
        self._environ = {**clean_environ(), "CODEX_HOME": str(self.home)}

    def exec(self, *arguments: str) -> str:
        """Run a command that must succeed; return its output."""
        ran = subprocess.run(
            [CODEX, "exec", *arguments],
            cwd=self.cwd,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def files(self) -> list[Path]:
        return list((self.home / "sessions").rglob("*.jsonl"))


@pytest.fixture
def codex(tmp_path: Path, server: Server) -> Codex:
    return Codex(tmp_path, server)


def last_input(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.model.requests[-1].body["input"]
    return found


def as_text(model_input: list[dict[str, Any]]) -> str:
    """Return all input of a model request as one text."""
    return json.dumps(model_input)


def test_codex_continues_a_thread_from_our_session_file(server: Server, codex: Codex) -> None:
    thread = server.http.call("thread/start", {"cwd": str(codex.cwd)})["thread"]
    server.run_turn(thread["id"], "the first question [[reason Hm.]] [[run echo from-the-command]] [[say It said so.]]")
    sessions = server.home / "sessions"
    until(lambda: [*sessions.rglob(f"*{thread['id']}.jsonl")])
    (path,) = sessions.rglob(f"*{thread['id']}.jsonl")
    copy = codex.home / "sessions" / path.relative_to(sessions)
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)

    answer = codex.exec("resume", "--skip-git-repo-check", thread["id"], "the second question [[say I remember.]]")

    assert answer == "I remember."
    model_input = last_input(server)
    kinds = [item["type"] for item in model_input]
    assert kinds.index("reasoning") < kinds.index("function_call") < kinds.index("function_call_output")
    sent = as_text(model_input)
    assert sent.index("the first question") < sent.index("from-the-command") < sent.index("It said so.")
    assert sent.index("It said so.") < sent.index("the second question")


def test_the_tui_continues_an_exported_thread(server: Server, tmp_path: Path) -> None:
    originals.require(CODEX, "tmux", "node")
    thread = server.http.call("thread/start", {"cwd": str(tmp_path)})["thread"]
    server.run_turn(thread["id"], "the first question [[run echo from-the-command]] [[say It said so.]]")
    path = tmp_path / ".codex" / "sessions" / "2026" / "01" / "01" / f"rollout-2026-01-01T00-00-00-{thread['id']}.jsonl"
    path.parent.mkdir(parents=True)
    server.command("export", thread["id"], "-o", str(path))
    arguments = ("resume", thread["id"], "-c", 'model="mock-model"', "-c", 'model_provider="mock"')
    trusted = f'[projects."{tmp_path}"]\ntrust_level = "trusted"\n'

    with Tui(CODEX, tmp_path, *arguments, config=provider_config(server) + trusted) as tui:
        for line in (r"^› the first question", r"^• Ran echo from-the-command", r"^• It said so\.$"):
            tui.wait_for(line)
        tui.submit("typed in the terminal [[say I remember.]]")
        tui.wait_for(r"^• I remember\.$")

    asked = [request.body for request in server.model.requests if "format" not in request.body.get("text", {})]
    (sent,) = (
        text for body in asked if "typed in the terminal" in (text := as_text(body["input"]))
    )  # not the request for a title
    assert sent.index("the first question") < sent.index("from-the-command") < sent.index("It said so.")
    assert sent.index("It said so.") < sent.index("typed in the terminal")


def test_a_thread_that_codex_continued_can_be_imported_again(server: Server, codex: Codex) -> None:
    thread = server.http.call("thread/start", {"cwd": str(codex.cwd)})["thread"]
    server.run_turn(thread["id"], "ours [[say Said by us.]]")
    path = codex.home / "sessions" / "2026" / "01" / "01" / f"rollout-2026-01-01T00-00-00-{thread['id']}.jsonl"
    path.parent.mkdir(parents=True)
    server.command("export", thread["id"], "-o", str(path))
    codex.exec("resume", "--skip-git-repo-check", thread["id"], "theirs [[say Said by them.]]")

    thread_id = server.command("import", str(path)).split()[-1]

    assert thread_id != thread["id"]  # because a thread with that id exists
    read = server.http.call("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]
    texts = [item["text"] for turn in read["turns"] for item in turn["items"] if item["type"] == "agentMessage"]
    assert texts == ["Said by us.", "Said by them."]


def test_an_imported_codex_thread_can_be_continued(server: Server, codex: Codex) -> None:
    prompt = "the first question [[reason Hm.]] [[run echo from-the-command]] [[say It said so.]]"
    codex.exec("--skip-git-repo-check", "--sandbox", "danger-full-access", prompt)
    (path,) = codex.files()

    thread_id = server.command("import", str(path)).split()[-1]
    assert thread_id in path.name
    server.run_turn(thread_id, "the second question [[say I remember.]]")

    read = server.http.call("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]
    assert read["cwd"] == str(codex.cwd)
    shown = [[item["type"] for item in turn["items"]] for turn in read["turns"]]
    assert shown == [
        ["userMessage", "reasoning", "commandExecution", "agentMessage"],
        ["userMessage", "agentMessage"],
    ]
    assert read["turns"][0]["items"][2]["aggregatedOutput"] == "from-the-command\n"
    sent = as_text(last_input(server))
    assert sent.index("the first question") < sent.index("from-the-command") < sent.index("It said so.")
    assert sent.index("It said so.") < sent.index("the second question")
