"""exec_command and write_stdin, as a turn's loop calls them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ClaimLost, ToolError
from tests.workers.tools.context import make_context
from workers.control.signal import StopReason
from workers.tools import exec_command, write_stdin
from workers.tools.base import PreparedCall, ToolCall, ToolResult

WAIT_MS = 60_000


class Turn:
    """A turn's context, and what was published through it."""

    def __init__(self, cwd: Path, kind: str = "workspaceWrite") -> None:
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.completed_later: dict[str, dict[str, Any]] = {}
        self.has_output = threading.Event()
        self.calls = 0
        self.context = replace(
            make_context(cwd, kind), emit=self._emit, complete_later=self.completed_later.__setitem__
        )

    def _emit(self, method: str, params: dict[str, Any]) -> None:
        self.emitted.append((method, params))
        self.has_output.set()

    @property
    def deltas(self) -> str:
        assert {method for method, _ in self.emitted} <= {"item/commandExecution/outputDelta"}
        return "".join(params["delta"] for _, params in self.emitted)

    def prepare(self, cmd: str, **arguments: Any) -> PreparedCall:
        given = {"cmd": cmd, "login": False, "yield_time_ms": WAIT_MS, **arguments}
        self.calls += 1
        call = ToolCall("item", "call", "exec_command", json.dumps(given), self.calls)
        return exec_command.prepare(call, self.context)

    def run(self, cmd: str, **arguments: Any) -> ToolResult:
        return exec_command.run(self.prepare(cmd, **arguments), self.context)

    def write(self, session_id: int, chars: str = "", **arguments: Any) -> ToolResult:
        given = {"session_id": session_id, "chars": chars, "yield_time_ms": WAIT_MS, **arguments}
        plan = write_stdin.prepare(ToolCall("other", "call2", "write_stdin", json.dumps(given)), self.context)
        assert plan.item is None
        return write_stdin.run(plan, self.context)


@pytest.fixture
def turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turn]:
    monkeypatch.setenv("HOME", str(tmp_path))  # a folder without a profile for login shells
    turn = Turn(tmp_path)
    yield turn
    turn.context.sessions.close_all("interrupt")


def text(outcome: ToolResult) -> str:
    assert isinstance(outcome.output, str)
    return outcome.output


def session_of(outcome: ToolResult) -> int:
    found = re.search(r"^Process running with session ID (\d+)$", text(outcome), re.MULTILINE)
    assert found, outcome.output
    return int(found[1])


PATCH = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+$b\n*** End Patch"
PATCHES = {
    "here-document": (".", f"apply_patch <<'EOF'\n{PATCH}\nEOF"),
    "other name, other mark, line end": (".", f'applypatch <<-"PATCH"\n{PATCH}\nPATCH\n'),
    "without quotes": (".", f"apply_patch <<EOF\n{PATCH}\nEOF\n"),
    "in another folder": ("d", f"cd d && apply_patch <<'EOF'\n{PATCH}\nEOF\n"),
    "in another folder with a space": ("d e", f"cd 'd e' && apply_patch <<'EOF'\n{PATCH}\nEOF\n"),
    "the patch alone": (".", PATCH),
}


@pytest.mark.parametrize(("folder", "line"), PATCHES.values(), ids=PATCHES)
def test_patch_in_a_shell_command_is_applied_by_the_tool(turn: Turn, tmp_path: Path, folder: str, line: str) -> None:
    (file := tmp_path / folder / "f").parent.mkdir(exist_ok=True)
    file.write_text("a\n")

    outcome = turn.run(line)

    assert file.read_text() == "$b\n"
    change = {"path": str(file), "kind": {"type": "update", "move_path": None}, "diff": "@@ -1 +1 @@\n-a\n+$b\n"}
    assert outcome.item == {"type": "fileChange", "changes": [change], "status": "completed"}
    assert text(outcome).endswith("\nOutput:\nSuccess. Updated the following files:\nM f\n")


def test_patch_is_relative_to_the_command_s_folder(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("a\n")

    turn.run(PATCHES["here-document"][1], workdir="d")

    assert (tmp_path / "d" / "f").read_text() == "$b\n"


def test_patch_that_does_not_fit_is_an_error_of_the_tool(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("b\n")

    for line, message in ((PATCHES["here-document"][1], "these lines are not"), ("apply_patch <<E\nx\nE", "expected")):
        with pytest.raises(ToolError, match=message):
            turn.prepare(line)


@pytest.mark.parametrize("more", ["echo done\n", f"apply_patch <<'EOF'\n{PATCH}\nEOF\n"])
def test_patch_among_other_commands_is_not_taken_out(turn: Turn, tmp_path: Path, more: str) -> None:
    (tmp_path / "f").write_text("a\n")

    outcome = turn.run(f"apply_patch <<'EOF'\n{PATCH}\nEOF\n{more}")

    assert (tmp_path / "f").read_text() == "a\n"
    assert outcome.item is not None
    assert outcome.item["type"] == "commandExecution"
    assert "apply_patch: command not found" in text(outcome)


def test_output_for_the_model_has_the_known_format(turn: Turn) -> None:
    outcome = turn.run("echo hello; echo err >&2; exit 3")

    assert re.fullmatch(
        r"Chunk ID: [0-9a-f]{6}\nWall time: \d+\.\d{4} seconds\nProcess exited with code 3\n"
        r"Original token count: 3\nOutput:\nhello\nerr\n",
        text(outcome),
    )
    assert not outcome.goes_on


def test_item_begins_and_ends_as_clients_expect(turn: Turn, tmp_path: Path) -> None:
    plan = turn.prepare("echo hello; exit 3", login=True)
    assert plan.item == {
        "type": "commandExecution",
        "command": "/bin/bash -lc 'echo hello; exit 3'",
        "cwd": str(tmp_path),
        "processId": None,
        "source": "agent",
        "status": "inProgress",
        "commandActions": [{"type": "unknown", "command": "echo hello; exit 3"}],
        "aggregatedOutput": None,
        "exitCode": None,
        "durationMs": None,
        "pluginId": None,
        "scriptPath": None,
    }

    assert plan.begun_item == {**plan.item, "source": "unifiedExecStartup", "processId": "1"}

    ended = exec_command.run(plan, turn.context).item

    assert ended is not None
    assert ended.pop("processId").isdigit()
    assert 0 < ended.pop("durationMs") < WAIT_MS
    assert ended == {
        **{key: value for key, value in plan.item.items() if key not in ("processId", "durationMs")},
        "source": "unifiedExecStartup",
        "status": "failed",
        "aggregatedOutput": "hello\n",
        "exitCode": 3,
    }
    assert turn.deltas == "hello\n"


def test_success_completes_the_item(turn: Turn) -> None:
    outcome = turn.run("true")

    assert outcome.item is not None
    assert (outcome.item["status"], outcome.item["exitCode"], outcome.item["aggregatedOutput"]) == ("completed", 0, "")
    assert turn.emitted == []


def test_deltas_have_all_output_even_when_the_model_gets_less(turn: Turn) -> None:
    outcome = turn.run("seq 10000", max_output_tokens=100)

    assert outcome.item is not None
    assert turn.deltas == outcome.item["aggregatedOutput"] == "".join(f"{n}\n" for n in range(1, 10001))
    assert "Original token count: 12224\n" in text(outcome)
    assert "tokens truncated" in text(outcome)
    assert len(text(outcome)) < 700


def test_counts_of_output_of_which_the_middle_is_not_even_kept_are_true(turn: Turn) -> None:
    outcome = turn.run("seq 2000000", max_output_tokens=100)

    tokens = (sum(9 * 10**digits * (digits + 2) for digits in range(6)) + 1_000_001 * 8) // 4
    assert f"Original token count: {tokens}\n" in text(outcome)
    assert "Total output lines: 2000000\n\n1\n2\n" in text(outcome)
    assert f"…{tokens - 100} tokens truncated…" in text(outcome)
    assert text(outcome).endswith("\n2000000\n")


def test_running_command_becomes_a_session_that_write_stdin_ends(turn: Turn) -> None:
    begun = turn.run("echo name?; read name; echo hi $name; exit 4", tty=True, yield_time_ms=1)
    session_id = session_of(begun)
    assert begun.goes_on
    assert begun.item is None

    ended = turn.write(session_id, "you\n")

    assert "Process exited with code 4" in text(ended)
    assert "hi you" in text(ended)
    assert ended.item is None
    item = turn.completed_later["item"]
    assert (item["status"], item["exitCode"], item["processId"]) == ("failed", 4, str(session_id))
    assert item["aggregatedOutput"] == turn.deltas
    with pytest.raises(ToolError, match=f"no session {session_id}"):
        turn.write(session_id)


def test_polling_returns_only_new_output(turn: Turn) -> None:
    outcome = turn.run("echo first; read; echo second", tty=True, yield_time_ms=1)
    session_id = session_of(outcome)
    while "first" not in text(outcome):
        outcome = turn.write(session_id, yield_time_ms=1)

    outcome = turn.write(session_id, "\n")

    assert "second" in text(outcome)
    assert "first" not in text(outcome)


def test_ended_item_is_not_completed_twice(turn: Turn) -> None:
    session_id = session_of(turn.run("echo said; read; echo bye", tty=True, yield_time_ms=1))
    session = turn.context.sessions.find(session_id)
    assert session is not None
    session.process.write(b"\n")
    assert session.process.wait(WAIT_MS / 1000)
    assert [ended.item_id for ended in turn.context.sessions.pop_ended()] == ["item"]

    outcome = turn.write(session_id)

    assert "Process exited with code 0" in text(outcome)
    assert "bye" in text(outcome)
    assert turn.completed_later == {}


def test_typing_needs_a_terminal(turn: Turn) -> None:
    session_id = session_of(turn.run("sleep 60", yield_time_ms=1))

    with pytest.raises(ToolError, match="tty: true"):
        turn.write(session_id, "text")


def request_stop_after_output(turn: Turn, why: StopReason) -> threading.Thread:
    def call() -> None:
        assert turn.has_output.wait(WAIT_MS / 1000)
        turn.context.signal.request(why)

    caller = threading.Thread(target=call)
    caller.start()
    return caller


def test_interrupt_ends_the_command_and_is_reported_to_the_model(turn: Turn) -> None:
    caller = request_stop_after_output(turn, StopReason.INTERRUPT)

    outcome = turn.run("echo up; sleep 60")

    caller.join()
    assert re.search(r"^Process stopped by interrupt after \d+\.\d s\n.*\nOutput so far:\nup\n", text(outcome), re.M)
    assert outcome.item is not None
    assert (outcome.item["status"], outcome.item["exitCode"]) == ("failed", 143)


def test_lost_claim_ends_the_command_and_publishes_nothing(turn: Turn) -> None:
    caller = request_stop_after_output(turn, StopReason.REVOKED)

    with pytest.raises(ClaimLost):
        turn.run("echo up; sleep 60")

    caller.join()
    assert turn.context.sessions.close_all("loss of the turn")[0].item["exitCode"] == 143


def test_drain_waits_for_a_command_that_is_about_to_end(turn: Turn) -> None:
    turn.context.signal.request(StopReason.DRAIN)

    outcome = turn.run("sleep 0.1; echo done", yield_time_ms=1)

    assert not outcome.goes_on
    assert "Process exited with code 0" in text(outcome)


def test_command_runs_under_the_policy_of_the_turn(tmp_path: Path) -> None:
    read_only = Turn(tmp_path, "readOnly")
    outcome = read_only.run("touch x")
    assert "Read-only file system" in text(outcome)
    assert outcome.item is not None
    assert outcome.item["status"] == "failed"

    assert "Process exited with code 0" in text(Turn(tmp_path, "dangerFullAccess").run("touch x"))


@pytest.mark.parametrize("permissions", ["use_default", "require_escalated"])
def test_requirement_names_the_command_and_whether_it_leaves_the_sandbox(turn: Turn, permissions: str) -> None:
    asked = {"sandbox_permissions": permissions, "justification": "May I?", "prefix_rule": ["touch"]}
    question = turn.prepare("touch x", **asked).requirement
    again = turn.prepare("touch x", **asked).requirement
    other = turn.prepare("touch y", **asked).requirement

    assert question is not None
    assert again is not None
    assert other is not None
    assert question.reason == "May I?"
    assert question.amendment == ("touch",)
    assert question.escalates is (permissions == "require_escalated")
    assert question.keys == again.keys != other.keys


def test_session_approval_inside_the_sandbox_does_not_cover_outside(turn: Turn) -> None:
    inside = turn.prepare("touch x").requirement
    outside = turn.prepare("touch x", sandbox_permissions="require_escalated").requirement

    assert inside is not None
    assert outside is not None
    assert set(inside.keys).isdisjoint(outside.keys)


def test_command_runs_in_its_workdir(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    assert text(turn.run("pwd", workdir="inner")).endswith(f"{tmp_path}/inner\n")
    assert text(turn.run("pwd", workdir=str(tmp_path))).endswith(f"{tmp_path}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("not json", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "cmd: expected a string"),
        ('{"cmd": 5}', "cmd: expected a string"),
        ('{"cmd": "  "}', "cmd is empty"),
        ('{"cmd": "ls", "workdir": "/nowhere"}', "cannot see such a folder"),
        ('{"cmd": "ls", "workdir": "/proc/1"}', "cannot see such a folder"),
        ('{"cmd": "ls", "tty": "yes"}', "tty: expected true or false"),
        ('{"cmd": "ls", "yield_time_ms": true}', "yield_time_ms: expected an integer"),
        ('{"cmd": "ls", "prefix_rule": "ls"}', "prefix_rule: expected an array of strings"),
        ('{"cmd": "ls", "sandbox_permissions": "all"}', "sandbox_permissions: expected"),
    ],
)
def test_invalid_argument_is_named_in_the_error(turn: Turn, arguments: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        exec_command.prepare(ToolCall("item", "call", "exec_command", arguments), turn.context)


def test_lone_surrogates_and_nul_are_replaced(turn: Turn) -> None:
    assert text(turn.run("echo a\ud800b\0c")).endswith("a\ufffdb\ufffdc\n")
