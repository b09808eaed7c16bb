"""Hooks that misbehave, and hooks that a user plants: a turn goes on, nothing is left, and nobody else is harmed.

The operator's hook does what the prompt names, as a hook does that believes what a model or a user wrote.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Tenant
from tests.support import processes
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.turns import run_turn
from tests.support.wait import until

TIMEOUT_SECONDS = 20  # of every hook; only the ones that never end wait for it
ENDLESS_SECONDS = 2
MARK = f"hook-{secrets.token_hex(8)}"
SECRET = f"secret-{secrets.token_hex(8)}"
SCRIPT = f"""\
case "$(cat)" in
  *do-flood*) head -c 100000000 /dev/zero | tr '\\0' x ;;
  *do-errors*) head -c 100000000 /dev/zero | tr '\\0' x >&2; exit 2 ;;
  *do-leave*) setsid sh -c 'sleep 600; : {MARK}' > /dev/null 2>&1 & ;;
  *do-write*) for at in / /etc /usr OUTSIDE; do echo x > $at/{MARK}; done 2>/dev/null; echo tried ;;
  *do-json*) printf '{{"decision": ["block"], "reason": 7' ;;
  *do-type*) echo '{{"decision": ["block"], "reason": 7}}' ;;
  *do-nul*) printf '\\000\\377\\376' ;;
  *do-environ*) env ;;
  *do-signal*) kill -9 $$ ;;
esac
"""
ENDLESS = f"""\
case "$(head -c 20000)" in
  *do-endless*) trap '' TERM; while :; do :; done ;;
  *do-fork*) while :; do sh -c 'sleep 600; : {MARK}' & done 2> /dev/null ;;
  *do-unread*) sleep 600 ;;
esac
"""


@pytest.fixture(scope="module")
def shared_eve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A user of a hosted server whose operator has such hooks."""
    home, outside = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("outside")
    handlers = [
        {"type": "command", "command": SCRIPT.replace("OUTSIDE", str(outside)), "timeout": TIMEOUT_SECONDS},
        {"type": "command", "command": ENDLESS, "timeout": ENDLESS_SECONDS},
    ]
    (home / "hooks.json").write_text(json.dumps({"hooks": {"UserPromptSubmit": [{"hooks": handlers}]}}))
    with Deployment(home, "sqlite", workers=1, server=STEADY, environ={"OPERATORS_SECRET": SECRET}) as deployment:
        user_id, key = deployment.add_user("eve")
        yield Tenant(deployment, user_id, key, deployment.connect(0, token=key))


@pytest.fixture
def eve(shared_eve: Tenant) -> Iterator[Tenant]:
    with logs_shown_on_failure(shared_eve.deployment):
        yield shared_eve


def submit(eve: Tenant, prompt: str, thread_id: str = "") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a turn, in a new thread unless one is named. Return the turn, and the runs of the hooks."""
    thread_id = thread_id or eve.client.request("thread/start", {})["thread"]["id"]
    start = len(eve.client.received)
    turn = run_turn(eve.client, thread_id, prompt)
    frames = eve.client.received[start:]
    return turn, [frame["params"]["run"] for frame in frames if frame.get("method") == "hook/completed"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("do-flood", "wrote more than"),
        ("do-errors", "wrote more than"),
        ("do-json", "invalid UserPromptSubmit JSON output"),
        ("do-type", "decision has a wrong type"),
        ("do-signal", "hook exited with code 137"),
    ],
)
def test_a_hook_that_fails_is_said_and_the_turn_goes_on(eve: Tenant, prompt: str, said: str) -> None:
    turn, (run, _) = submit(eve, prompt)

    assert (turn["status"], run["status"]) == ("completed", "failed")
    (entry,) = run["entries"]
    assert entry["kind"] == "error"
    assert said in entry["text"]
    assert len(entry["text"]) < 1000


@pytest.mark.parametrize("prompt", ["do-endless", "do-unread " + "x" * 3_000_000])
def test_a_hook_that_never_ends_is_ended_at_its_time_limit(eve: Tenant, prompt: str) -> None:
    turn, (_, run) = submit(eve, prompt)

    assert (turn["status"], run["status"]) == ("completed", "failed")
    assert run["entries"][0]["text"] == f"hook timed out after {ENDLESS_SECONDS}s"


@pytest.mark.parametrize("prompt", ["do-fork", "do-leave"])
def test_no_process_of_a_hook_outlives_it(eve: Tenant, prompt: str) -> None:
    turn, _ = submit(eve, prompt)

    assert turn["status"] == "completed"
    until(lambda: not processes.is_running(MARK))
    assert submit(eve, "still there?")[0]["status"] == "completed"


def test_a_hook_writes_only_where_a_command_of_the_thread_may_write(eve: Tenant, tmp_path: Path) -> None:
    _, (run, _) = submit(eve, "do-write")

    assert [entry["text"] for entry in run["entries"]] == ["tried"]
    folders = [Path("/"), Path("/etc"), Path("/usr"), *eve.deployment.home.parent.glob("outside*")]
    assert [folder for folder in folders if (folder / MARK).exists()] == []


def test_a_hook_does_not_get_the_environment_of_the_server(eve: Tenant) -> None:
    _, (run, _) = submit(eve, "do-environ")

    text = run["entries"][0]["text"]
    assert "PATH=" in text
    assert SECRET not in text
    assert "THREADHOUSE" not in text


def test_bytes_that_are_no_text_reach_the_model_as_text(eve: Tenant) -> None:
    turn, (run, _) = submit(eve, "do-nul")

    assert (turn["status"], run["status"]) == ("completed", "completed")
    assert set(run["entries"][0]["text"]) == {"\ufffd"}


def test_what_a_user_plants_in_a_repository_never_runs(eve: Tenant) -> None:
    thread = eve.start_thread()
    cwd = thread["cwd"]
    planted = {"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command", "command": "touch planted"}]}]}}
    eve.run(f"mkdir .codex; echo '{json.dumps(planted)}' > .codex/hooks.json", cwd)
    key = f"{cwd}/.codex/hooks.json:user_prompt_submit:0:0"
    edits = [
        {"keyPath": f'projects."{cwd}".trust_level', "value": "trusted", "mergeStrategy": "replace"},
        {"keyPath": "hooks.state", "value": {key: {"trusted_hash": "sha256:0"}}, "mergeStrategy": "upsert"},
    ]
    eve.client.request("config/batchWrite", {"edits": edits})

    eve.client.request("thread/resume", {"threadId": thread["id"]})
    turn, runs = submit(eve, "hello", thread["id"])
    (listed,) = eve.client.request("hooks/list", {"cwds": [cwd]})["data"]

    assert (turn["status"], len(runs)) == ("completed", 2)
    assert eve.run("ls", cwd)["stdout"] == ""
    assert {hook["trustStatus"] for hook in listed["hooks"]} == {"managed"}
    assert any("only the operator's hooks run" in warning for warning in listed["warnings"])
    assert "do-flood" not in json.dumps(listed)  # nor does a user see the operator's commands


def test_a_user_cannot_turn_the_operators_hooks_off(eve: Tenant) -> None:
    (listed,) = eve.client.request("hooks/list", {})["data"]
    state = {hook["key"]: {"enabled": False, "trusted_hash": "sha256:0"} for hook in listed["hooks"]}
    edit = {"keyPath": "hooks.state", "value": state, "mergeStrategy": "replace"}
    eve.client.request("config/batchWrite", {"edits": [edit]})

    _, runs = submit(eve, "hello")

    assert len(runs) == 2
    edit = {"keyPath": "hooks.PreToolUse", "value": [], "mergeStrategy": "replace"}
    assert "error" in eve.attempt("config/batchWrite", {"edits": [edit]})
