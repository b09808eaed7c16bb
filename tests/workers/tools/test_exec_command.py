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
from workers.agent.signal import Why
from workers.tools import exec_command, write_stdin
from workers.tools.base import Call, Outcome, Plan

WAIT_MS = 20_000


class Turn:
    """A turn's context, and what came out of it."""

    def __init__(self, cwd: Path, kind: str = "workspaceWrite") -> None:
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.completed_later: dict[str, dict[str, Any]] = {}
        self.said = threading.Event()
        self.context = replace(
            make_context(cwd, kind), emit=self._emit, complete_later=self.completed_later.__setitem__
        )

    def _emit(self, method: str, params: dict[str, Any]) -> None:
        self.emitted.append((method, params))
        self.said.set()

    @property
    def deltas(self) -> str:
        assert {method for method, _ in self.emitted} <= {"item/commandExecution/outputDelta"}
        return "".join(params["delta"] for _, params in self.emitted)

    def plan(self, cmd: str, **arguments: Any) -> Plan:
        given = {"cmd": cmd, "login": False, "yield_time_ms": WAIT_MS, **arguments}
        return exec_command.plan(Call("item", "call", "exec_command", json.dumps(given)), self.context)

    def run(self, cmd: str, **arguments: Any) -> Outcome:
        return exec_command.run(self.plan(cmd, **arguments), self.context)

    def write(self, session_id: int, chars: str = "", **arguments: Any) -> Outcome:
        given = {"session_id": session_id, "chars": chars, "yield_time_ms": WAIT_MS, **arguments}
        plan = write_stdin.plan(Call("other", "call2", "write_stdin", json.dumps(given)), self.context)
        assert plan.item is None
        return write_stdin.run(plan, self.context)


@pytest.fixture
def turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turn]:
    monkeypatch.setenv("HOME", str(tmp_path))  # where login shells find no profile
    turn = Turn(tmp_path)
    yield turn
    turn.context.sessions.close_all("interrupt")


def text(outcome: Outcome) -> str:
    assert isinstance(outcome.output, str)
    return outcome.output


def session_of(outcome: Outcome) -> int:
    found = re.search(r"^Process running with session ID (\d+)$", text(outcome), re.MULTILINE)
    assert found, outcome.output
    return int(found[1])


def test_a_command_is_told_to_the_model_in_the_words_it_knows(turn: Turn) -> None:
    outcome = turn.run("echo hello; echo err >&2; exit 3")

    assert re.fullmatch(
        r"Chunk ID: [0-9a-f]{6}\nWall time: \d+\.\d{4} seconds\nProcess exited with code 3\n"
        r"Original token count: 3\nOutput:\nhello\nerr\n",
        text(outcome),
    )
    assert not outcome.goes_on


def test_its_item_begins_and_ends_as_clients_expect(turn: Turn, tmp_path: Path) -> None:
    plan = turn.plan("echo hello; exit 3", login=True)
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


def test_deltas_are_whole_even_when_the_model_sees_less(turn: Turn) -> None:
    outcome = turn.run("seq 10000", max_output_tokens=100)

    assert outcome.item is not None
    assert turn.deltas == outcome.item["aggregatedOutput"] == "".join(f"{n}\n" for n in range(1, 10001))
    assert "Original token count: 12224\n" in text(outcome)
    assert "tokens truncated" in text(outcome)
    assert len(text(outcome)) < 700


def test_a_command_that_goes_on_becomes_a_session_that_write_stdin_ends(turn: Turn) -> None:
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


def test_looking_shows_only_what_is_new(turn: Turn) -> None:
    outcome = turn.run("echo first; read; echo second", tty=True, yield_time_ms=1)
    session_id = session_of(outcome)
    while "first" not in text(outcome):
        outcome = turn.write(session_id, yield_time_ms=1)

    outcome = turn.write(session_id, "\n")

    assert "second" in text(outcome)
    assert "first" not in text(outcome)


def test_an_item_that_was_reaped_is_not_completed_twice(turn: Turn) -> None:
    session_id = session_of(turn.run("echo said; read; echo bye", tty=True, yield_time_ms=1))
    session = turn.context.sessions.get(session_id)
    session.process.write(b"\n")
    assert session.process.wait(WAIT_MS / 1000)
    assert [one.item_id for one in turn.context.sessions.reap()] == ["item"]

    outcome = turn.write(session_id)

    assert "Process exited with code 0" in text(outcome)
    assert "bye" in text(outcome)
    assert turn.completed_later == {}


def test_typing_needs_a_terminal(turn: Turn) -> None:
    session_id = session_of(turn.run("sleep 60", yield_time_ms=1))

    with pytest.raises(ToolError, match="tty: true"):
        turn.write(session_id, "text")


def call_when_it_speaks(turn: Turn, why: Why) -> threading.Thread:
    def call() -> None:
        assert turn.said.wait(WAIT_MS / 1000)
        turn.context.signal.call(why)

    caller = threading.Thread(target=call)
    caller.start()
    return caller


def test_an_interrupt_ends_the_command_and_the_model_is_told_the_truth(turn: Turn) -> None:
    caller = call_when_it_speaks(turn, Why.INTERRUPT)

    outcome = turn.run("echo up; sleep 60")

    caller.join()
    assert re.search(r"^Process stopped by interrupt after \d+\.\d s\n.*\nOutput so far:\nup\n", text(outcome), re.M)
    assert outcome.item is not None
    assert (outcome.item["status"], outcome.item["exitCode"]) == ("failed", 143)


def test_nothing_is_said_of_a_turn_that_was_lost_but_its_command_is_dead(turn: Turn) -> None:
    caller = call_when_it_speaks(turn, Why.LOST)

    with pytest.raises(ClaimLost):
        turn.run("echo up; sleep 60")

    caller.join()
    assert turn.context.sessions.close_all("loss of the turn")[0].item["exitCode"] == 143


def test_a_shutdown_waits_for_a_command_that_is_about_to_end(turn: Turn) -> None:
    turn.context.signal.call(Why.DRAIN)

    outcome = turn.run("sleep 0.1; echo done", yield_time_ms=1)

    assert not outcome.goes_on
    assert "Process exited with code 0" in text(outcome)


def test_the_policy_of_the_turn_holds(tmp_path: Path) -> None:
    read_only = Turn(tmp_path, "readOnly")
    outcome = read_only.run("touch x")
    assert "Read-only file system" in text(outcome)
    assert outcome.item is not None
    assert outcome.item["status"] == "failed"

    assert "Process exited with code 0" in text(Turn(tmp_path, "dangerFullAccess").run("touch x"))


@pytest.mark.parametrize("permissions", ["use_default", "require_escalated"])
def test_the_question_knows_the_command_and_whether_it_leaves_the_sandbox(turn: Turn, permissions: str) -> None:
    asked = {"sandbox_permissions": permissions, "justification": "May I?", "prefix_rule": ["touch"]}
    question = turn.plan("touch x", **asked).question
    again = turn.plan("touch x", **asked).question
    other = turn.plan("touch y", **asked).question

    assert question is not None
    assert again is not None
    assert other is not None
    assert question.why == "May I?"
    assert question.amendment == ("touch",)
    assert question.escalates is (permissions == "require_escalated")
    assert question.keys == again.keys != other.keys


def test_being_allowed_inside_the_sandbox_does_not_allow_it_outside(turn: Turn) -> None:
    inside = turn.plan("touch x").question
    outside = turn.plan("touch x", sandbox_permissions="require_escalated").question

    assert inside is not None
    assert outside is not None
    assert set(inside.keys).isdisjoint(outside.keys)


def test_a_command_runs_in_its_workdir(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    assert text(turn.run("pwd", workdir="inner")).endswith(f"{tmp_path}/inner\n")
    assert text(turn.run("pwd", workdir=str(tmp_path))).endswith(f"{tmp_path}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("not json", "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "cmd: expected a string"),
        ('{"cmd": 5}', "cmd: expected a string"),
        ('{"cmd": "  "}', "cmd is empty"),
        ('{"cmd": "a\\u0000b"}', "without NUL"),
        ('{"cmd": "ls", "workdir": "/nowhere"}', "no such folder"),
        ('{"cmd": "ls", "workdir": "/proc/1"}', "no such folder"),
        ('{"cmd": "ls", "tty": "yes"}', "tty: expected true or false"),
        ('{"cmd": "ls", "yield_time_ms": true}', "yield_time_ms: expected an integer"),
        ('{"cmd": "ls", "prefix_rule": "ls"}', "prefix_rule: expected an array of strings"),
        ('{"cmd": "ls", "sandbox_permissions": "all"}', "sandbox_permissions: expected"),
    ],
)
def test_arguments_that_make_no_sense_are_named(turn: Turn, arguments: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        exec_command.plan(Call("item", "call", "exec_command", arguments), turn.context)


def test_half_characters_of_a_model_do_no_harm(turn: Turn) -> None:
    assert text(turn.run("echo a\ud800b")).endswith("a?b\n")
