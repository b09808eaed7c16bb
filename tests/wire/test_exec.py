"""`threadhouse exec` as a shell command: its output, its exit code, and the effect of a restart or Ctrl-C."""

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
from tests.support import images
from tests.support.deployment import STEADY, Deployment, free_port, logs_shown_on_failure
from tests.support.wait import until

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment of these tests alone: they restart its API process."""
    with Deployment(tmp_path_factory.mktemp("exec"), server=STEADY) as deployment:
        yield deployment


@pytest.fixture
def server(alone: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(alone):
        yield alone


def start(
    server: Deployment,
    *arguments: str,
    cwd: Path | None = None,
    url: str | None = None,
    redirected: str = "",
    environ: dict[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start `threadhouse exec`. redirected: what a shell does with its streams, like `>&-`"""
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-P", "-m", "api.cli", "exec", *arguments]
    return subprocess.Popen(
        command,
        env={**server.environ, "THREADHOUSE_URL": url or server.urls[0], **(environ or {})},
        cwd=cwd or "/",
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
    )


def run(server: Deployment, *arguments: str, given: str | None = None, **more: Any) -> tuple[int, str, str]:
    """Run `threadhouse exec` to its end, with a text on stdin. Return (exit code, stdout, stderr)."""
    return end(start(server, *arguments, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE, **more), given)


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def end(process: subprocess.Popen[str], given: str | None = None) -> tuple[int, str, str]:
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


def test_stdout_has_only_the_last_message(server: Deployment, tmp_path: Path) -> None:
    prompt = "[[say Let me look.]] [[run pwd; echo $((6 * 7))]] [[say All done.]]"

    code, out, err = run(server, prompt, cwd=tmp_path)

    assert (code, out) == (0, "All done.\n")
    for shown in ("Let me look.", str(tmp_path), "42", "completed, exit code 0"):
        assert shown in err
    assert "\033" not in err


def test_the_prompt_is_read_from_stdin_and_the_message_written_to_a_file(server: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "last"

    code, out, _ = run(server, "--output-last-message", str(file), "-", given="[[say From stdin.]]")

    assert (code, out, file.read_text()) == (0, "From stdin.\n", "From stdin.")


def test_json_wire_prints_one_notification_per_line(server: Deployment) -> None:
    code, out, _ = run(server, "--json=wire", "[[say Hello.]]")

    shown = events(out)
    assert code == 0
    assert [shown[0]["method"], shown[-1]["method"]] == ["thread/started", "turn/completed"]
    thread_id = shown[0]["params"]["thread"]["id"]
    assert {event["params"]["threadId"] for event in shown[1:]} == {thread_id}


def test_options_set_the_settings_of_the_thread(server: Deployment, tmp_path: Path) -> None:
    _, out, _ = run(server, "--json=wire", "-C", str(tmp_path), "-m", "other", "-s", "read-only", "[[say Hello.]]")

    resumed = server.http().call(
        "thread/resume", {"threadId": json.loads(out.splitlines()[0])["params"]["thread"]["id"]}
    )
    assert (resumed["cwd"], resumed["model"]) == (str(tmp_path), "other")
    assert (resumed["sandbox"]["type"], resumed["approvalPolicy"]) == ("readOnly", "never")


def test_resume_continues_a_thread_by_id_or_the_last_one(server: Deployment) -> None:
    _, out, _ = run(server, "--json=wire", "the first question [[say one]]")
    thread_id = json.loads(out.splitlines()[0])["params"]["thread"]["id"]

    assert run(server, "resume", thread_id, "[[say two]]")[:2] == (0, "two\n")
    assert run(server, "resume", "--last", "[[say three]]")[:2] == (0, "three\n")

    assert len(turns(server, thread_id)) == 3
    assert "the first question" in json.dumps(server.model.requests[-1].body["input"])


def test_a_failed_turn_exits_with_code_1(server: Deployment) -> None:
    code, out, err = run(server, "[[status 400 the model refuses]]")

    assert (code, out) == (1, "")
    assert "the model refuses" in err


def test_ctrl_c_interrupts_the_turn(server: Deployment) -> None:
    process = start(server, "--json=wire", "[[say Wait.]] [[pause ctrl-c]]")
    server.model.wait_reached("ctrl-c")
    assert process.stdout is not None
    thread_id = json.loads(process.stdout.readline())["params"]["thread"]["id"]
    until(lambda: turns(server, thread_id)[0]["status"] == "inProgress")
    while json.loads(process.stdout.readline())["method"] != "item/agentMessage/delta":
        pass

    process.send_signal(signal.SIGINT)

    assert end(process)[0] == 130
    until(lambda: turns(server, thread_id)[0]["status"] == "interrupted")


def test_commands_that_still_run_end_with_exec(server: Deployment) -> None:
    call = {"cmd": "echo up; sleep 600", "login": False, "yield_time_ms": 300}

    code, out, _ = run(server, "--json=wire", f"[[tool exec_command {json.dumps(call)}]] [[say Left running.]]")

    thread_id = json.loads(out.splitlines()[0])["params"]["thread"]["id"]
    assert code == 0
    until(lambda: [one["status"] for one in turns(server, thread_id)[0]["items"] if "exitCode" in one] == ["failed"])
    assert server.http().call("thread/backgroundTerminals/list", {"threadId": thread_id})["data"] == []


def test_exec_survives_a_restart_of_the_api_during_a_turn(server: Deployment) -> None:
    process = start(server, "--json=wire", "[[say Before.]] [[run true]] [[say After.]] [[pause restart]]")
    server.model.wait_reached("restart")
    server.api[0].kill()
    server.api[0].start()
    server.api[0].wait_until(server.http().is_ready)
    server.model.release("restart")

    code, out, _ = end(process)

    assert code == 0
    shown = events(out)
    printed = [event["params"]["item"]["id"] for event in shown if event["method"] == "item/completed"]
    stored = [item["id"] for item in turns(server, shown[0]["params"]["thread"]["id"])[0]["items"]]
    assert printed == stored
    assert shown[-1]["method"] == "turn/completed"


def test_exec_prints_all_items_of_a_turn_that_ended_while_the_api_was_down(server: Deployment) -> None:
    process = start(server, "--json=wire", "[[say Before.]] [[run true]] [[say After.]] [[pause away]]")
    server.model.wait_reached("away")
    assert process.stdout is not None
    first = process.stdout.readline()
    thread_id = json.loads(first)["params"]["thread"]["id"]
    server.api[0].kill()
    server.model.release("away")
    until(lambda: server.store.turns.of_thread(thread_id, LOCAL_USER)[0].done)
    server.api[0].start()

    shown = events("".join([first, *process.stdout]))
    code = end(process)[0]
    printed = [event["params"]["item"]["id"] for event in shown if event["method"] == "item/completed"]
    assert (code, shown[-1]["method"]) == (0, "turn/completed")
    assert printed == [item["id"] for item in turns(server, thread_id)[0]["items"]]


def test_exec_without_a_server_explains_how_to_start_one(server: Deployment) -> None:
    code, _, err = run(server, "hello", url=f"http://127.0.0.1:{free_port()}")

    assert code == 1
    assert "threadhouse up" in err


@pytest.mark.parametrize("words", [("resume",), ("resume", "id", "--last", "c"), ("a", "b"), ("--last", "a")])
def test_contradictory_arguments_are_a_usage_error(server: Deployment, words: tuple[str, ...]) -> None:
    code, _, err = run(server, *words)

    assert code == 2
    assert "resume ID" in err


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_about_the_turn(server: Deployment, tmp_path: Path, redirected: str) -> None:
    message = tmp_path / "message"
    prompt = "[[say Let me look.]] [[run touch made]] [[say All done.]]"

    code, out, err = run(server, "-o", str(message), prompt, cwd=tmp_path, redirected=redirected)

    assert (code, message.read_text(), (tmp_path / "made").exists()) == (0, "All done.", True)
    assert out == ("" if ">&-" in redirected.replace("2>&-", "") else "All done.\n")
    assert ("Let me look." in err) == ("2>&-" not in redirected)
    assert run(server, "[[status 400 no]]", redirected=redirected)[0] == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_turn_goes_on_when_the_reader_of_a_pipe_leaves(server: Deployment, tmp_path: Path, stream: str) -> None:
    pause = f"left-{stream}"
    goes_on = f"[[pause {pause}]] [[run touch made]] [[say Done.]]"
    words = ("--json=wire", f"[[say Hi.]] {goes_on}") if stream == "stdout" else (f"[[reason Hm.]] {goes_on}",)
    process = start(server, *words, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    pipe = process.stdout if stream == "stdout" else process.stderr
    assert pipe.readline()
    server.model.wait_reached(pause)
    pipe.close()
    server.model.release(pause)

    assert process.wait(TIMEOUT_S) == 0

    assert (tmp_path / "made").exists()
    rest = (process.stderr if stream == "stdout" else process.stdout).read()
    assert rest == ("Reading additional input from stdin...\n" if stream == "stdout" else "Done.\n")


def test_output_that_does_not_fit_on_a_disk_is_reported_after_the_turn(server: Deployment, tmp_path: Path) -> None:
    code, _, err = run(server, "[[run touch made]] [[say Lost.]]", cwd=tmp_path, redirected=">/dev/full")

    assert (code, (tmp_path / "made").exists()) == (1, True)
    assert "stdout took only a part of the output: No space left on device" in err


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("piped\n", "do it\n\n<stdin>\npiped\n</stdin>"),
        ("no end", "do it\n\n<stdin>\nno end\n</stdin>"),
        (" \n", "do it"),
        ("", "do it"),
        (None, "do it"),
    ],
)
def test_piped_text_is_appended_to_the_prompt(server: Deployment, given: str | None, sent: str) -> None:
    code, out, _ = run(server, "do it", given=given)

    assert (code, out) == (0, f"You said: {sent}\n")


@pytest.mark.parametrize("arguments", [(), ("-",), ("resume", "--last"), ("resume", "--last", "-")])
def test_without_a_prompt_it_is_read_from_stdin(server: Deployment, arguments: tuple[str, ...]) -> None:
    run(server, "[[say a thread to resume]]")

    assert run(server, *arguments, given="from there")[:2] == (0, "You said: from there\n")
    code, out, err = run(server, *arguments, given=" \n")
    assert (code, out) == (1, "")
    assert "no prompt came from stdin: give it as an argument" in err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_stdin_may_begin_with_a_byte_order_mark(server: Deployment, encoding: str) -> None:
    given = "naïve 😀".encode(encoding).decode(errors="surrogateescape")

    assert run(server, "-", given=given, environ={"LC_ALL": "C"})[1] == "You said: naïve 😀\n"


def test_stdin_that_is_no_utf_8_is_refused_with_advice(server: Deployment) -> None:
    code, out, err = run(server, "look", given=b"caf\xe9".decode(errors="surrogateescape"))

    assert (code, out) == (1, "")
    assert "stdin is not UTF-8 (byte 3): convert it, for example with `iconv" in err


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"LANG": "C"}, "smile 😀 naïve"),
        ({"LC_ALL": "POSIX"}, "smile 😀 naïve"),
        (ASCII, "smile \\U0001f600 na\\xefve"),
        ({"PYTHONIOENCODING": "latin-1"}, "smile \\U0001f600 na\udcefve"),
    ],
)
def test_any_text_is_printed_or_escaped_in_any_locale(
    server: Deployment, tmp_path: Path, environ: dict[str, str], shown: str
) -> None:
    message = tmp_path / "message"

    code, out, err = run(server, "-o", str(message), "[[say smile 😀 naïve]] [[run true]]", environ=environ)

    assert (code, out) == (0, "Done.\n")
    assert shown in err
    code, out, _ = run(server, "-o", str(message), "[[say smile 😀 naïve]]", environ=environ)
    assert (code, out, message.read_text("utf-8")) == (0, f"{shown}\n", "smile 😀 naïve")


def test_the_last_message_satisfies_the_output_schema(server: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}')

    code, out, _ = run(server, "--output-schema", str(file), "forty-two")

    assert (code, json.loads(out)) == (0, {"answer": "forty-two"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), ("{bad", "not JSON"), ("[1]", "a JSON Schema is an object")],
)
def test_a_bad_schema_file_is_refused_before_the_turn(
    server: Deployment, tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "schema.json").write_text(content)
    asked = len(server.model.requests)

    code, out, err = run(server, "--output-schema", "schema.json", "hello", cwd=tmp_path)

    assert (code, out, len(server.model.requests)) == (1, "", asked)
    assert f"--output-schema schema.json: {reason}" in err


def test_images_are_sent_before_the_prompt(server: Deployment, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(images.png(2, 2))

    code, *_ = run(server, "-i", "a.png,b.png", "--image", "a.png", "[[say Seen.]]", cwd=tmp_path)

    assert code == 0
    sent = [part for item in server.model.requests[-1].body["input"] for part in item.get("content", [])]
    assert [part["type"] for part in sent[-4:]] == ["input_image"] * 3 + ["input_text"]


def test_a_file_that_is_no_image_is_refused_before_the_turn(server: Deployment, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    asked = len(server.model.requests)

    for name, reason in (("notes.png", "it is not a PNG"), ("none.png", "No such file")):
        code, _, err = run(server, "-i", name, "[[say Seen.]]", cwd=tmp_path)
        assert (code, len(server.model.requests)) == (1, asked)
        assert f"--image {name}: " in err
        assert reason in err


def test_a_folder_for_the_last_message_that_is_missing_is_refused_before_the_turn(server: Deployment) -> None:
    asked = len(server.model.requests)

    code, _, err = run(server, "-o", "/nonexistent/message", "[[say Lost.]]")

    assert (code, len(server.model.requests)) == (2, asked)
    assert "there is no folder /nonexistent: create it" in err


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"THREADHOUSE_URL": "localhost"}, "expected the address of a server, like http://127.0.0.1:8765"),
        ({"THREADHOUSE_URL": "http://x:y"}, "expected the address of a server"),
    ],
)
def test_errors_say_what_to_do(server: Deployment, environ: dict[str, str], advice: str) -> None:
    code, _, err = run(server, "hello", environ=environ)

    assert code == 1
    assert advice in err


def test_the_address_of_the_websocket_is_taken_too(server: Deployment) -> None:
    assert run(server, "[[say Hi.]]", url=server.urls[0].replace("http", "ws", 1))[:2] == (0, "Hi.\n")


def test_a_question_that_nobody_can_answer_does_not_hold_the_turn(server: Deployment) -> None:
    mode = {"mode": "plan", "settings": {"model": "mock-model"}}
    http = server.http()
    thread_id = http.call("thread/start", {})["thread"]["id"]
    http.call("thread/settings/update", {"threadId": thread_id, "collaborationMode": mode})
    question = {"id": "q", "header": "Q", "question": "Which one?"}

    asks = f"[[tool request_user_input {json.dumps({'questions': [question]})}]] [[say Then I decide.]]"
    code, out, err = run(server, "resume", thread_id, asks)

    assert (code, out) == (0, "Then I decide.\n")
    assert "item/tool/requestUserInput: nobody can answer here" in err
    assert "did not answer" in json.dumps(server.model.requests[-1].body["input"][-1])
