"""Hooks over the wire: what clients see equals what the original sends, and whose hooks run (BEHAVIOUR-171 9).

`recorded_hooks.json` has what the original sent for the same hooks; paths, ids of calls, times and hashes are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import slow_answers
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import check_order, of_thread, run_turn, start_thread

RECORDED = json.loads((Path(__file__).parent / "recorded_hooks.json").read_text())
SCRIPT = """\
input=$(cat)
case "$1 $input" in
  PreToolUse*block-exit2*) echo 'exit2 says no' >&2; exit 2 ;;
  PreToolUse*deny-json*) echo '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny",'\\
'"permissionDecisionReason":"denied by json"}}' ;;
  PermissionRequest*perm-deny*) echo '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":'\\
'{"behavior":"deny","message":"hook denies"}}}' ;;
  PostToolUse*post-block*) echo '{"decision":"block","reason":"post says bad","hookSpecificOutput":'\\
'{"hookEventName":"PostToolUse","additionalContext":"post context"}}' ;;
  UserPromptSubmit*prompt-block*) echo '{"decision":"block","reason":"prompt refused"}' ;;
  UserPromptSubmit*prompt-two*) echo 'stderr reason' >&2; exit 2 ;;
  UserPromptSubmit*prompt-fail*) echo oops >&2; exit 1 ;;
  UserPromptSubmit*prompt-ctx*) echo 'extra context text' ;;
  Stop*'"stop_hook_active":true'*) ;;
  Stop*stop-once*) echo '{"decision":"block","reason":"go on please"}' ;;
esac
"""
SEEN = ("hook/started", "hook/completed", "item/started", "item/completed", "turn/completed")
PLANTED = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "touch planted"}]}]}}


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("home")
    (home / "hooks.json").write_text(json.dumps(hook_file(RECORDED["listed"])))
    environ = slow_answers.awaited(tmp_path_factory.mktemp("environ"))
    with Deployment(home, server=STEADY, environ=environ) as deployment:
        yield deployment


@pytest.fixture
def client(shared_server: Deployment) -> Iterator[ProtocolClient]:
    with logs_shown_on_failure(shared_server):
        yield shared_server.connect()


def hook_file(listed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the hooks.json of the recording, with a script of ours."""
    events: dict[str, list[Any]] = {}
    for hook in listed:
        name = hook["command"].split()[-1]
        handler = {"type": "command", "command": f"set {name}; {SCRIPT}", "timeout": 10}
        message = {"statusMessage": hook["statusMessage"]} if hook["statusMessage"] else {}
        matcher = {"matcher": hook["matcher"]} if hook["matcher"] else {}
        events[name] = [{**matcher, "hooks": [{**handler, **message}]}]
    return {"hooks": events}


def hooks_of(client: ProtocolClient, cwd: Path) -> dict[str, Any]:
    (folder,) = client.request("hooks/list", {"cwds": [str(cwd)]})["data"]
    found: dict[str, Any] = folder
    return found


def trust(client: ProtocolClient, hooks: list[dict[str, Any]]) -> None:
    state = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in hooks}
    edit = {"keyPath": "hooks.state", "value": state, "mergeStrategy": "upsert"}
    client.request("config/batchWrite", {"edits": [edit], "reloadUserConfig": True})


def trust_project(client: ProtocolClient, folder: Path) -> None:
    edit = {"keyPath": f'projects."{folder}".trust_level', "value": "trusted", "mergeStrategy": "replace"}
    client.request("config/batchWrite", {"edits": [edit]})


def compact(client: ProtocolClient, thread_id: str) -> None:
    start = len(client.received)
    client.request("thread/compact/start", {"threadId": thread_id})
    client.wait_for_method("turn/completed", after=start)


def as_recorded(frame: dict[str, Any]) -> list[Any]:
    """Return what the recording has of a notification."""
    method, params = frame["method"], frame["params"]
    if "run" in params:
        run = without_times(params["run"])
        return [method, run["id"], run["status"], run["entries"]]
    if "item" in params:
        fragments = [params["item"]["fragments"]] if params["item"]["type"] == "hookPrompt" else []
        return [method, params["item"]["type"], *fragments]
    return [method, params["turn"]["status"]]


def without_times(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run with its call id and times replaced as in the recording."""
    head, source, *call_id = run["id"].partition("/threadhouse/hooks.json")
    times = {name: None if run[name] is None else 0 for name in ("startedAt", "completedAt", "durationMs")}
    return {**run, **times, "id": head + source + (":CALL" if call_id[0] else "")}


def test_hooks_are_listed_as_recorded_and_trusted_by_their_hash(client: ProtocolClient, tmp_path: Path) -> None:
    before = hooks_of(client, tmp_path)
    trust(client, before["hooks"][:1])
    after = hooks_of(client, tmp_path)

    replaced = {"currentHash": "sha256:", "trustStatus": "untrusted"}
    names = [hook["command"].split()[1].strip(";") for hook in before["hooks"]]
    assert [
        {**hook, **replaced, "command": f"HOOK {name}"} for hook, name in zip(before["hooks"], names, strict=True)
    ] == RECORDED["listed"]
    assert (before["cwd"], before["errors"]) == (str(tmp_path), [])
    assert set(RECORDED["warnings"]) <= set(before["warnings"])
    assert [hook["trustStatus"] for hook in after["hooks"]][:2] == ["trusted", "untrusted"]


def test_a_thread_with_hooks_sends_what_the_original_sends(client: ProtocolClient, tmp_path: Path) -> None:
    trust(client, hooks_of(client, tmp_path)["hooks"])
    thread_id = start_thread(client, cwd=str(tmp_path), approvalPolicy="on-request")

    for recorded in RECORDED["turns"]:
        start = len(client.received)
        if recorded["prompt"] is None:
            compact(client, thread_id)
        else:
            run_turn(client, thread_id, recorded["prompt"])
        sent = [frame for frame in of_thread(client.received[start:], thread_id) if frame["method"] in SEEN]
        assert [as_recorded(frame) for frame in sent] == recorded["events"], recorded["prompt"]

    check_order(of_thread(client.received, thread_id))
    runs = [without_times(frame["params"]["run"]) for frame in client.received if "run" in frame.get("params", {})]
    assert RECORDED["startedRun"] in runs
    assert RECORDED["blockedRun"] in runs


def test_hooks_of_a_repository_need_trust_in_the_project_and_in_themselves(
    client: ProtocolClient, tmp_path: Path
) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "hooks.json").write_text(json.dumps(PLANTED))
    of_server = len(RECORDED["listed"])

    untrusted = hooks_of(client, tmp_path)
    trust_project(client, tmp_path)
    run_turn(client, start_thread(client, cwd=str(tmp_path)), "hello")
    ran_untrusted = (tmp_path / "planted").exists()
    listed = hooks_of(client, tmp_path)
    trust(client, listed["hooks"])
    run_turn(client, start_thread(client, cwd=str(tmp_path)), "hello")

    assert len(untrusted["hooks"]) == of_server
    assert any("does not trust this project" in warning for warning in untrusted["warnings"])
    hook = listed["hooks"][of_server]
    assert (hook["source"], hook["sourcePath"], hook["displayOrder"]) == (
        "project",
        f"{tmp_path}/.codex/hooks.json",
        of_server,
    )
    assert (ran_untrusted, (tmp_path / "planted").exists()) == (False, True)


def test_a_changed_hook_of_a_repository_does_not_run(client: ProtocolClient, tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    file = tmp_path / ".codex" / "hooks.json"
    file.write_text(json.dumps(PLANTED))
    trust_project(client, tmp_path)
    trust(client, hooks_of(client, tmp_path)["hooks"])

    file.write_text(json.dumps(PLANTED).replace("touch planted", "touch planted again"))
    run_turn(client, start_thread(client, cwd=str(tmp_path)), "hello")
    changed = hooks_of(client, tmp_path)["hooks"][-1]
    file.write_text("{nonsense")
    broken = hooks_of(client, tmp_path)

    assert changed["trustStatus"] == "modified"
    assert not (tmp_path / "planted").exists()
    (error,) = broken["errors"]
    assert error["path"] == str(file)
    assert error["message"].startswith(f"failed to parse hooks config {file}")
