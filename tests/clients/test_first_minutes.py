"""A newcomer's first five minutes: `threadhouse up` without a model, and the TUI in their own git folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import originals
from tests.support.deployment import Process, clean_environ, free_port
from tests.support.tui import Tui
from tests.support.wait import until

TRUST = "Trust this folder"
ASKED = r"^  Would you like to"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "server"
    home.mkdir()
    (home / "config.toml").write_text("[server]\ndangerously_run_as_root = true\n")
    return home


@pytest.fixture
def key(home: Path) -> str:
    """The key of a user."""
    printed = ""
    for words in (("migrate",), ("users", "add", "ann"), ("keys", "create", "ann")):
        command = [sys.executable, "-P", "-m", "api.cli", *words, "--home", str(home)]
        printed = subprocess.run(command, env=clean_environ(), check=True, capture_output=True, text=True).stdout
    return printed.split()[-1]


@pytest.fixture
def up(home: Path, tmp_path: Path) -> Iterator[Process]:
    """A running `threadhouse up`."""
    command = [sys.executable, "-P", "-m", "api.cli", "up", "--home", str(home), "--port", str(free_port())]
    process = Process("up", tmp_path / "up.log", clean_environ(), *command)
    process.start()
    try:
        process.wait_until(lambda: process.has_logged("serving http"))
        yield process
    finally:
        process.stop(60)


@pytest.mark.parametrize("version", originals.VERSIONS)
def test_a_newcomer_sees_what_an_agent_does_in_their_folder(up: Process, tmp_path: Path, version: str) -> None:
    program = originals.VERSIONS[version]
    originals.require(program, "node", "tmux")
    folder = tmp_path / "project"
    demo = folder / "threadhouse-demo.txt"
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / "main.py").write_text("print('hello')\n")
    (line,) = [line.strip() for line in up.log.read_text().splitlines() if "codex -C ." in line]
    arguments, _, where = line.removeprefix("codex -C . ").partition("   # ")
    assert where == "works in the current folder; without -C in a new one"

    with Tui(program, tmp_path, "-C", str(folder), *arguments.split()) as tui:
        tui.answer(TRUST, "Enter")
        tui.wait_for(r"^  Scripted .* · \S*project$")
        tui.submit("what does this code do?")
        tui.wait_for("not a language model")
        tui.submit("$ cat main.py")
        tui.wait_for(r"print\('hello'\)$")
        tui.submit("patch")
        tui.wait_for(r"^• Added threadhouse-demo\.txt \(\+2 -0\)$")
        tui.submit("approval")
        tui.wait_for("to show you an approval")
        tui.answer(ASKED, "y")
        tui.wait_for(r"^✔ You approved codex to run uname -a")
        tui.wait_for(r"Linux")
        tui.submit("plan")
        tui.wait_for(r"✔ Read the code$")
        tui.submit("/diff")
        tui.wait_for(r"^\+two$")
        tui.press("q")
        tui.submit("stream")
        tui.wait_for(r"Line 300 of 300")
        tui.submit("/quit")
        assert tui.wait_until_ended() == 0
    assert demo.read_text() == "one\ntwo\n"

    remote = arguments.split()[-2:]  # the TUI resumes with the thread's own sandbox mode
    with Tui(program, tmp_path, "resume", "--last", *remote) as again:
        again.wait_for(r"Line 300 of 300")
        again.submit("/plan")
        again.wait_for("Plan mode")
        again.submit("question")
        again.answer("enter to submit answer", "Enter")
        again.wait_for("request_user_input answered")

    with Tui(program, tmp_path, "-C", str(folder), "--sandbox", "read-only", *remote) as careful:
        careful.wait_for(r"^  Scripted .* · \S*project$")
        demo.unlink()
        careful.submit("patch")
        careful.wait_for(ASKED)
        assert not demo.exists()
        careful.answer(ASKED, "y")
        careful.wait_for(r"^• Added threadhouse-demo\.txt \(\+2 -0\)$")
        until(lambda: demo.exists() and demo.read_text() == "one\ntwo\n")  # the TUI shows it before it is applied
        careful.submit("/quit")
        assert careful.wait_until_ended() == 0


def test_the_commands_that_a_server_with_users_prints_work_with_a_key(key: str, up: Process) -> None:
    originals.require("bash", "curl")
    printed = up.log.read_text()
    (line,) = [line.strip() for line in printed.splitlines() if line.strip().startswith("codex ")]
    assert line.startswith("codex --remote-auth-token-env THREADHOUSE_TOKEN -s workspace-write --remote ws://")
    commands = printed[printed.index("THREAD=$(curl") :]

    def run(token: str) -> str:
        environ = {**clean_environ(), "THREADHOUSE_TOKEN": token}
        return subprocess.run(["bash", "-c", commands], env=environ, timeout=60, capture_output=True, text=True).stdout

    assert "turn/completed" in run(key)
    assert "turn/completed" not in run("th_wrong")
