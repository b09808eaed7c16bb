"""Commands beside the original's: the same calls of a model, and what it and the clients are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.model_server import YIELD_MS
from tests.support.original_server import run_turn
from tests.support.protocol_client import ProtocolClient

OURS = frozenset(("PATH", "HOME", "LANG", "LC_ALL", "NO_COLOR", "PAGER", "GIT_PAGER", "TERM"))
EXTRA = "FOO|BAR|MY_TOKEN"  # what the cases set
# name: (policy, variables of a command among OURS and EXTRA)
FIXED = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "PAGER": "cat", "GIT_PAGER": "cat", "TERM": "dumb"}
POLICIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "set": ({"set": {"FOO": "a 'b' $c", "BAR": ""}}, {"PATH", "HOME", "FOO", "BAR"}),
    "nothing inherited": ({"inherit": "none", "set": {"FOO": "1"}}, {"FOO"}),
    "core": ({"inherit": "core"}, {"PATH", "HOME"}),
    "excluded": ({"exclude": ["ho*", "fo?", "PAT"], "set": {"FOO": "1"}}, {"PATH", "FOO"}),
    "only": ({"include_only": ["F*", "path"], "set": {"FOO": "1", "BAR": "2"}}, {"PATH", "FOO"}),
    "like secrets": ({"ignore_default_excludes": False, "set": {"MY_TOKEN": "1"}}, {"PATH", "HOME", "MY_TOKEN"}),
    "fixed": ({"set": {"NO_COLOR": "0", "TERM": "xterm", "FOO": "1"}}, {"PATH", "HOME", "FOO"}),
}


def call(command: str, **arguments: Any) -> str:
    given = {"cmd": command, "login": False, "yield_time_ms": YIELD_MS, **arguments}
    return f"[[tool exec_command {json.dumps(given)}]]"


def run(
    server: Deployment, client: ProtocolClient, cwd: Path, script: str, **config: Any
) -> tuple[list[str], list[dict[str, Any]]]:
    """Run a script in a new thread. Return the outputs that the model got, and the turn's notifications."""
    params = {"cwd": str(cwd), "sandbox": "danger-full-access", "approvalPolicy": "never", "config": config}
    thread_id = client.request("thread/start", params)["thread"]["id"]
    frames = run_turn(client, thread_id, script)
    received = server.model.requests[-1].body["input"]
    return [item["output"] for item in received if item["type"] == "function_call_output"], frames


@pytest.mark.parametrize("name", POLICIES)
def test_variables_are_as_the_policy_says(
    server: Deployment, original: ProtocolClient, ours: ProtocolClient, tmp_path: Path, name: str
) -> None:
    policy, expected = POLICIES[name]
    line = call("/usr/bin/printenv --null | /usr/bin/tr '\\n\\0' '_\\n'")

    found = []
    for client in (original, ours):
        outputs, _ = run(server, client, tmp_path, line, shell_environment_policy=policy)
        variables = dict(line.split("=", 1) for line in outputs[0].split("Output:\n")[1].splitlines())
        found.append({key: value for key, value in variables.items() if key in OURS or re.fullmatch(EXTRA, key)})

    theirs, own = found
    if name == "nothing inherited":
        theirs.pop("PATH")  # it has a folder of its own in it
    assert theirs.keys() == own.keys() == expected | FIXED.keys()
    for key in own.keys() - {"PATH", "HOME"}:
        assert own[key] == theirs[key] == {**policy.get("set", {}), **FIXED}[key]


def test_login_shells_are_refused_where_they_are_disabled(
    server: Deployment, original: ProtocolClient, ours: ProtocolClient, tmp_path: Path
) -> None:
    script = call("shopt -q login_shell; echo login $?", login=True) + call("shopt -q login_shell; echo login $?")
    script += "[[run shopt -q login_shell; echo login $?]]"

    theirs, own = (run(server, client, tmp_path, script, allow_login_shell=False)[0] for client in (original, ours))

    assert theirs[0] == own[0] == "login shell is disabled by config; omit `login` or set it to false."
    assert [output.splitlines()[-1] for output in (*theirs[1:], *own[1:])] == ["login 1"] * 4


def test_commands_of_one_answer_run_side_by_side(
    server: Deployment, original: ProtocolClient, ours: ProtocolClient, tmp_path: Path
) -> None:
    for client, folder in ((original, tmp_path / "original"), (ours, tmp_path / "ours")):
        folder.mkdir()
        meet = "until [ $(ls | grep -c begun) = 3 ]; do sleep 0.05; done"
        calls = [call(f"touch begun{n}; {meet}; echo output {n}") for n in range(3)]
        outputs, _ = run(server, client, folder, "+".join(calls))

        assert [output.split()[-1] for output in outputs] == ["0", "1", "2"]
        assert all("Process exited with code 0" in output for output in outputs)


def test_counts_of_cut_output_are_true(
    server: Deployment, original: ProtocolClient, ours: ProtocolClient, tmp_path: Path
) -> None:
    script = call("seq 20000") + call("seq 2000000")

    theirs, own = (run(server, client, tmp_path, script)[0] for client in (original, ours))

    heads = [re.findall(r"original token count: \d+|Total output lines: \d+", output) for output in (*theirs, *own)]
    assert heads[0] == heads[2] == ["original token count: 27224", "Total output lines: 20000"]
    assert heads[1][0] == heads[3][0] == "original token count: 3722224"
    assert heads[3][1] == "Total output lines: 2000000"
    assert heads[1][1:] != heads[3][1:]  # the original does not know
