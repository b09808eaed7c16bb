"""`threadhouse exec --json` beside `codex exec --json`: the same script of the model, and the same lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import originals
from tests.support.deployment import Deployment
from tests.support.originals import CODEX_171

TIMEOUT_S = 120
WORKSPACE = re.compile(r'/[^" ]*/workspaces/local/[0-9a-f-]{36}')  # of a client that names no folder
MESSAGES = ("error", "turn.failed")  # each program words its errors itself
PATCHES = "".join(
    f"[[patch *** Begin Patch\n*** {lines}\n*** End Patch]]"
    for lines in ("Add File: b\n+one", "Update File: b\n*** Move to: c\n@@\n-one\n+two", "Delete File: c")
)
# script → its events as (type, type of the item)
SCRIPTS: dict[str, list[tuple[str, str | None]]] = {
    "[[reason A|B]] [[say Hello 😀.]]": [
        ("item.completed", "reasoning"),
        ("item.completed", "agent_message"),
        ("turn.completed", None),
    ],
    "[[think hm]] [[say Let me look.]] [[run echo one; exit 3]]": [
        ("item.completed", "agent_message"),
        ("item.started", "command_execution"),
        ("item.completed", "command_execution"),
        ("item.completed", "agent_message"),
        ("turn.completed", None),
    ],
    PATCHES: [
        *[("item.started", "file_change"), ("item.completed", "file_change")] * 3,
        ("item.completed", "agent_message"),
        ("turn.completed", None),
    ],
    "[[status 400 no such luck]]": [("error", None), ("turn.failed", None)],
    "[[drop times=1]] [[say Back.]]": [("error", None), ("item.completed", "agent_message"), ("turn.completed", None)],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    originals.require(CODEX_171, "node")
    with Deployment(tmp_path_factory.mktemp("server")) as deployment:
        yield deployment


@pytest.fixture
def home(server: Deployment, tmp_path: Path) -> Path:
    """A home of the original, with its config."""
    originals.write_config(tmp_path, model_url=server.model.base_url)
    return tmp_path


def run_original(home: Path, folder: Path, *arguments: str, given: str | None = None) -> tuple[int, list[Any]]:
    return run([str(CODEX_171), "exec", "--json", *arguments], originals.environ(home), folder, given)


def run_ours(server: Deployment, folder: Path, *arguments: str, given: str | None = None) -> tuple[int, list[Any]]:
    command = [sys.executable, "-P", "-m", "api.cli", "exec", "--json", *arguments]
    return run(command, server.environ | {"THREADHOUSE_URL": server.urls[0]}, folder, given)


def run(command: list[str], environ: dict[str, str], folder: Path, given: str | None) -> tuple[int, list[Any]]:
    """Run a program in a new git repository. Return (exit code, events on stdout, with what differs replaced)."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    done = subprocess.run(
        command, env=environ, cwd=folder, input=given or "", capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return done.returncode, [normalized(json.loads(line), folder) for line in done.stdout.splitlines()]


def normalized(event: dict[str, Any], folder: Path) -> dict[str, Any]:
    event = json.loads(WORKSPACE.sub("FOLDER", json.dumps(event).replace(str(folder), "FOLDER")))
    if event["type"] == "thread.started":
        event["thread_id"] = "ID"
    if event["type"] in MESSAGES:
        event = {"type": event["type"], "error": bool(event.get("message") or event["error"]["message"])}
    return event


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_events_are_those_of_the_original(server: Deployment, home: Path, tmp_path: Path, script: str) -> None:
    # The model counts `times=` per text. What stands behind the last step is ignored.
    original = run_original(home, tmp_path / "original", "-s", "workspace-write", f"{script} one")
    ours = run_ours(server, tmp_path / "ours", "-s", "workspace-write", f"{script} two")

    assert ours == original
    shown = [(event["type"], event.get("item", {}).get("type")) for event in ours[1]]
    assert shown == [("thread.started", None), ("turn.started", None), *SCRIPTS[script]]


@pytest.mark.parametrize(
    ("arguments", "given"), [(("do it",), "piped"), (("do it",), "two\n\n"), (("-",), "from stdin"), ((), "from stdin")]
)
def test_the_prompt_is_made_as_by_the_original(
    server: Deployment, home: Path, tmp_path: Path, arguments: tuple[str, ...], given: str
) -> None:
    original = run_original(home, tmp_path / "original", *arguments, given=given)

    assert run_ours(server, tmp_path / "ours", *arguments, given=given) == original
    assert "You said: " in original[1][-2]["item"]["text"]


def test_usage_is_that_of_the_thread_after_a_resume(server: Deployment, home: Path, tmp_path: Path) -> None:
    run_original(home, tmp_path / "original", "[[say one]]")
    original = run_original(home, tmp_path / "original", "resume", "--last", "[[say two]]")
    run_ours(server, tmp_path / "ours", "[[say one]]")

    assert run_ours(server, tmp_path / "ours", "resume", "--last", "[[say two]]") == original
    assert original[1][-1]["usage"]["input_tokens"] == 200


@pytest.mark.parametrize("script", SCRIPTS)
def test_exec_of_the_original_runs_its_turns_on_this_server(
    server: Deployment, home: Path, tmp_path: Path, script: str
) -> None:
    url = server.urls[0].replace("http", "ws", 1)

    alone = run_original(home, tmp_path / "alone", "-s", "workspace-write", f"{script} three")
    remote = run_original(home, tmp_path / "remote", "--remote", url, f"{script} four")

    assert remote == alone
