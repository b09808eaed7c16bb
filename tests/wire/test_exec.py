"""threadhouse exec, as a shell sees it: output, exit code, and what a restart or Ctrl-C does to its turn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.store.users import LOCAL_USER
from tests.support.deployment import Deployment, free_port, shown_when_it_fails
from tests.support.wait import until

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Not the deployment that the other tests share: its API is restarted."""
    with Deployment(tmp_path_factory.mktemp("exec")) as deployment:
        yield deployment


@pytest.fixture
def server(alone: Deployment) -> Iterator[Deployment]:
    with shown_when_it_fails(alone):
        yield alone


def start(
    server: Deployment, *arguments: str, cwd: Path | None = None, url: str | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "exec", *arguments],
        env={**server.environ, "THREADHOUSE_URL": url or server.urls[0]},
        cwd=cwd or "/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: Deployment, *arguments: str, given: str = "", **where: Any) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    return end(start(server, *arguments, **where), given)


def end(process: subprocess.Popen[str], given: str = "") -> tuple[int, str, str]:
    with process:
        try:
            out, err = process.communicate(given, TIMEOUT_S)
        finally:
            process.kill()
    return process.returncode, out, err


def turns(server: Deployment, thread_id: str) -> list[dict[str, Any]]:
    thread = server.http().call("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]
    found: list[dict[str, Any]] = thread["turns"]
    return found


def test_the_last_message_is_all_there_is_on_stdout(server: Deployment, tmp_path: Path) -> None:
    prompt = "[[say Let me look.]] [[run pwd; echo $((6 * 7))]] [[say All done.]]"

    code, out, err = run(server, prompt, cwd=tmp_path)

    assert (code, out) == (0, "All done.\n")
    for shown in ("Let me look.", str(tmp_path), "42", "completed, exit code 0"):
        assert shown in err
    assert "\033" not in err


def test_the_prompt_comes_from_stdin_and_the_message_goes_to_a_file(server: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "last"

    code, out, _ = run(server, "--output-last-message", str(file), "-", given="[[say From stdin.]]")

    assert (code, out, file.read_text()) == (0, "From stdin.\n", "From stdin.")


def test_json_is_one_notification_a_line(server: Deployment) -> None:
    code, out, _ = run(server, "--json", "[[say Hello.]]")

    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [events[0]["method"], events[-1]["method"]] == ["thread/started", "turn/completed"]
    thread_id = events[0]["params"]["thread"]["id"]
    assert {event["params"]["threadId"] for event in events[1:]} == {thread_id}


def test_options_become_the_threads_settings(server: Deployment, tmp_path: Path) -> None:
    _, out, _ = run(server, "--json", "-C", str(tmp_path), "-m", "other", "-s", "read-only", "[[say Hello.]]")

    resumed = server.http().call(
        "thread/resume", {"threadId": json.loads(out.splitlines()[0])["params"]["thread"]["id"]}
    )
    assert (resumed["cwd"], resumed["model"]) == (str(tmp_path), "other")
    assert (resumed["sandbox"]["type"], resumed["approvalPolicy"]) == ("readOnly", "never")


def test_a_thread_is_resumed_by_its_id_or_as_the_last_one(server: Deployment) -> None:
    _, out, _ = run(server, "--json", "the first question [[say one]]")
    thread_id = json.loads(out.splitlines()[0])["params"]["thread"]["id"]

    assert run(server, "resume", thread_id, "[[say two]]")[:2] == (0, "two\n")
    assert run(server, "resume", "--last", "[[say three]]")[:2] == (0, "three\n")

    assert len(turns(server, thread_id)) == 3
    assert "the first question" in json.dumps(server.model.requests[-1].body["input"])


def test_a_turn_that_fails_is_exit_code_1(server: Deployment) -> None:
    code, out, err = run(server, "[[status 400 the model refuses]]")

    assert (code, out) == (1, "")
    assert "the model refuses" in err


def test_ctrl_c_interrupts_the_turn(server: Deployment) -> None:
    process = start(server, "--json", "[[say Wait.]] [[pause ctrl-c]]")
    server.model.wait_reached("ctrl-c")
    assert process.stdout is not None
    thread_id = json.loads(process.stdout.readline())["params"]["thread"]["id"]
    until(lambda: turns(server, thread_id)[0]["status"] == "inProgress")
    while json.loads(process.stdout.readline())["method"] != "item/agentMessage/delta":
        pass

    process.send_signal(signal.SIGINT)

    assert end(process)[0] == 130
    until(lambda: turns(server, thread_id)[0]["status"] == "interrupted")


def test_a_restart_of_the_api_in_mid_turn_goes_unnoticed(server: Deployment) -> None:
    process = start(server, "--json", "[[say Before.]] [[run true]] [[say After.]] [[pause restart]]")
    server.model.wait_reached("restart")
    server.api[0].kill()
    server.api[0].start()
    server.api[0].wait_until(server.http().is_ready)
    server.model.release("restart")

    code, out, _ = end(process)

    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    told = [event["params"]["item"]["id"] for event in events if event["method"] == "item/completed"]
    stored = [item["id"] for item in turns(server, events[0]["params"]["thread"]["id"])[0]["items"]]
    assert told == stored
    assert events[-1]["method"] == "turn/completed"


def test_a_turn_that_ended_while_the_api_was_away_is_told_whole(server: Deployment) -> None:
    process = start(server, "--json", "[[say Before.]] [[run true]] [[say After.]] [[pause away]]")
    server.model.wait_reached("away")
    assert process.stdout is not None
    first = process.stdout.readline()
    thread_id = json.loads(first)["params"]["thread"]["id"]
    server.api[0].kill()
    server.model.release("away")
    until(lambda: server.store.turns.of_thread(thread_id, LOCAL_USER)[0].done)
    server.api[0].start()

    events = [json.loads(line) for line in [first, *process.stdout]]
    code = end(process)[0]
    told = [event["params"]["item"]["id"] for event in events if event["method"] == "item/completed"]
    assert (code, events[-1]["method"]) == (0, "turn/completed")
    assert told == [item["id"] for item in turns(server, thread_id)[0]["items"]]


def test_without_a_server_it_says_how_to_start_one(server: Deployment) -> None:
    code, _, err = run(server, "hello", url=f"http://127.0.0.1:{free_port()}")

    assert code == 1
    assert "threadhouse up" in err


@pytest.mark.parametrize("words", [("resume", "hello"), ("resume", "--last"), ("a", "b")])
def test_words_that_make_no_sense_are_a_usage_error(server: Deployment, words: tuple[str, ...]) -> None:
    code, _, err = run(server, *words)

    assert code != 0
    assert "resume ID" in err
