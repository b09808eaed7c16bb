"""The Codex TUI against our server, as a person uses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import originals
from tests.support.deployment import Deployment, Up
from tests.support.model_server import ModelServer
from tests.support.tui import FOOTER, PROMPT, Tui
from tests.support.wait import until

WRITES = ("--sandbox", "workspace-write")  # without it the TUI asks for read-only
WORKED = r"^  Worked for"  # below the last text of a completed turn
INTERRUPTED = r"^■ Conversation interrupted"
RUNS = "1 background terminal running"  # while a command runs; its output is shown at its end, or by /ps
APPROVAL_PROMPT = r"^  Would you like to"
TRUST = "Trust this folder"
IN_FOLDER = r"^  mock-model .* · [~/]\S*/dir\.with\.dot$"  # the prompt accepts text, and the agent works there
THREADS = 60  # the TUI lists 25 at a time

Codex = Callable[..., Tui]


@pytest.fixture(params=originals.VERSIONS)
def program(request: pytest.FixtureRequest) -> Path:
    """The program of the original, in each version."""
    found = originals.VERSIONS[request.param]
    originals.require(found, "node", "tmux")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server"), settings={"approval_policy": "on-request"}) as deployment:
        yield deployment


@pytest.fixture
def codex(program: Path, tmp_path: Path) -> Iterator[Codex]:
    """A function that starts the TUI on a server. All TUIs of a test share a home."""
    with ExitStack() as stack:
        yield lambda url, *arguments: stack.enter_context(
            Tui(program, tmp_path, *arguments, "--remote", url.replace("http", "ws", 1))
        )


@pytest.fixture
def tui(server: Deployment, codex: Codex) -> Tui:
    server.model.forget_pauses()
    started = codex(server.urls[0], *WRITES)
    started.wait_until_ready()
    return started


def escalated(command: str, then: str) -> str:
    """Return a script in which the model wants to run a command outside of the sandbox, and then sends a message."""
    arguments = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "May I?"}
    return f"[[tool exec_command {json.dumps(arguments)}]] [[say {then}]]"


def restart_api(server: Deployment, tui: Tui) -> None:
    """Kill the API process, start it again once the client has noticed, and wait until the client is back."""
    server.api[0].kill()
    tui.wait_for("Reconnecting to server")
    server.api[0].start()
    tui.wait_until_gone("Reconnecting to server")


def test_a_session_runs_commands_and_is_resumed(tmp_path_factory: pytest.TempPathFactory, codex: Codex) -> None:
    with ModelServer() as model:
        up = Up(tmp_path_factory.mktemp("up"), model)
        up.start()
        try:
            first = codex(up.url, *WRITES)
            first.wait_until_ready()
            first.submit("[[say Good morning.]]")
            first.wait_for(r"^• Good morning\.$")
            first.wait_for(WORKED)
            first.submit("[[run echo $((6 * 7)) | tee answer]] [[say It is there.]]")
            first.wait_for(r"^• Ran echo")
            first.wait_for(r" 42$")
            first.wait_for(r"^• It is there\.$")
            first.submit("/quit")
            assert first.wait_until_ended() == 0

            second = codex(up.url, "resume", "--last")
            second.wait_until_ready()
            for line in (r"^› \[\[say Good", r"^• Good morning\.$", r"^• Ran echo", r" 42$", r"^• It is there\.$"):
                second.wait_for(line)
            second.submit("[[run echo $(($(cat answer) + 1))]]")
            second.wait_for(r" 43$")
            second.wait_for(r"^• Done\.$")
        finally:
            up.process.stop()


def test_the_agent_works_in_the_folder_of_dash_c_which_is_trusted_once(
    server: Deployment, codex: Codex, tmp_path: Path
) -> None:
    repository = tmp_path / "dir.with.dot"
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)

    first = codex(server.urls[0], "-C", str(repository), *WRITES)
    first.answer(TRUST, "Enter")
    first.wait_for(IN_FOLDER)
    first.submit("[[run touch made]] [[say Made.]]")
    first.wait_for(r"^• Made\.$")
    assert (repository / "made").exists()

    second = codex(server.urls[0], "-C", str(repository), *WRITES)
    second.wait_for(IN_FOLDER)


def test_no_version_warns_about_the_server(server: Deployment, codex: Codex, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "bwrap"  # whatever this machine has: one warning of the TUI about its own sandbox
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    tui = codex(server.urls[0], *WRITES)
    tui.wait_until_ready()
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)

    tui.press("F2")

    tui.wait_for(r"^  Warnings · 1 of 1 · Startup$")


def test_a_thread_that_works_in_a_project_is_resumed(server: Deployment, codex: Codex, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    http = server.http()
    thread_id = http.call("thread/start", {"cwd": str(project)})["thread"]["id"]
    text = {"type": "text", "text": "[[say Hello.]]"}
    assert list(http.stream("turn/start", {"threadId": thread_id, "input": [text]}))

    tui = codex(server.urls[0], "resume", thread_id)
    tui.wait_for(r"^• Hello\.$")
    tui.submit("[[run touch made]] [[say Made.]]")

    tui.wait_for(r"^• Made\.$")
    assert (project / "made").exists()


def test_a_command_runs_only_after_its_approval(tui: Tui, tmp_path: Path) -> None:
    tui.submit(escalated(f"touch {tmp_path}/approved", "Thanks."))
    tui.wait_for(APPROVAL_PROMPT)
    assert not (tmp_path / "approved").exists()

    tui.answer(APPROVAL_PROMPT, "y")

    tui.wait_for(r"^✔ You approved codex to run touch .* this time$")
    tui.wait_for(r"^• Thanks\.$")
    assert (tmp_path / "approved").exists()


def test_a_command_approved_for_the_session_needs_no_second_approval(tui: Tui, tmp_path: Path) -> None:
    command = f"echo x >> {tmp_path}/lines"
    tui.submit(escalated(command, "First."))
    tui.answer(APPROVAL_PROMPT, "a")
    tui.wait_for(r"^• First\.$")

    tui.submit(escalated(command, "Second."))

    tui.wait_for(r"^• Second\.$")
    assert (tmp_path / "lines").read_text() == "x\nx\n"


def test_a_declined_command_does_not_run_and_the_turn_continues(tui: Tui, tmp_path: Path) -> None:
    tui.submit(escalated(f"touch {tmp_path}/declined", "Something else, then."))
    tui.answer(APPROVAL_PROMPT, "d")

    tui.wait_for(r"^✗ You did not approve codex to run touch")
    tui.wait_for(r"^• Something else, then\.$")
    tui.wait_for(WORKED)
    assert not (tmp_path / "declined").exists()


def test_escape_at_an_approval_prompt_interrupts_the_turn(tui: Tui, tmp_path: Path) -> None:
    tui.submit(escalated(f"touch {tmp_path}/cancelled", "Never said."))
    tui.answer(APPROVAL_PROMPT, "Escape")

    tui.wait_for(r"^✗ You canceled the request to run touch")
    tui.wait_for(INTERRUPTED)
    assert not (tmp_path / "cancelled").exists()
    tui.submit("[[say Still here.]]")
    tui.wait_for(r"^• Still here\.$")


def test_with_policy_untrusted_each_command_needs_an_approval(
    tmp_path_factory: pytest.TempPathFactory, codex: Codex
) -> None:
    with Deployment(tmp_path_factory.mktemp("untrusting"), settings={"approval_policy": "untrusted"}) as server:
        tui = codex(server.urls[0], *WRITES)
        tui.wait_until_ready()
        tui.submit("[[run touch made && echo it is ma''de]]")
        tui.wait_for(APPROVAL_PROMPT)
        tui.answer(APPROVAL_PROMPT, "y")
        tui.wait_for(r"it is made$")
        tui.wait_for(r"^• Done\.$")


PATCH = "[[patch *** Begin Patch\n*** Add File: {0}\n+a line\n*** End Patch]] [[say Seen.]]"


def test_a_patch_is_applied_only_after_its_approval(server: Deployment, codex: Codex) -> None:
    tui = codex(server.urls[0], "--sandbox", "read-only")
    tui.wait_until_ready()
    workspace = workspace_of(tui)
    tui.submit(PATCH.format("yes.txt"))
    tui.wait_for(APPROVAL_PROMPT)
    tui.wait_for(r"^• Added yes\.txt \(\+1 -0\)\n    1 \+a line$")
    assert not (workspace / "yes.txt").exists()

    tui.answer(APPROVAL_PROMPT, "y")

    tui.wait_for(r"^• Seen\.$")
    assert (workspace / "yes.txt").read_text() == "a line\n"


def test_a_canceled_patch_changes_nothing(server: Deployment, codex: Codex) -> None:
    tui = codex(server.urls[0], "--sandbox", "read-only")
    tui.wait_until_ready()
    workspace = workspace_of(tui)
    tui.submit(PATCH.format("no.txt"))
    tui.answer(APPROVAL_PROMPT, "Escape")

    tui.wait_for(INTERRUPTED)
    assert list(workspace.iterdir()) == []


def workspace_of(tui: Tui) -> Path:
    """Return the thread's folder from the line below the prompt."""
    found: list[str] = []

    def is_shown(screen: str) -> bool:
        found[:] = re.findall(r"/\S+/workspaces/\S+", screen.rpartition(PROMPT)[2])[:1]
        return bool(found)

    tui.wait_until(is_shown, "no folder is below the prompt")
    return Path(found[0])


def test_escape_interrupts_a_streaming_answer(server: Deployment, tui: Tui) -> None:
    tui.submit("[[say Half of]] [[pause escape]] [[say the answer]]")
    tui.wait_for(r"^• Half of$")
    server.model.wait_reached("escape")

    tui.press("Escape")

    tui.wait_for(INTERRUPTED)
    server.model.wait_hung_up("escape")


def test_escape_interrupts_a_running_command(tui: Tui) -> None:
    tui.submit("[[run echo begun; sleep 600]]")
    tui.wait_for(RUNS)
    tui.submit_until("/ps", r"↳ begun$")

    tui.press("Escape")

    tui.wait_for(INTERRUPTED)


def test_a_command_that_outlives_its_turn_is_shown_and_stopped(tui: Tui) -> None:
    arguments = {"cmd": "echo up; sleep 600", "login": False, "yield_time_ms": 300}
    tui.submit(f"[[tool exec_command {json.dumps(arguments)}]] [[say Left running.]]")
    tui.wait_for(WORKED)
    tui.wait_for(rf"^  {RUNS} · /ps to view · /stop to close$")

    tui.submit_until("/ps", r"^  • echo up; sleep 600\n    ↳ up$")
    tui.submit("/stop")

    tui.wait_for(r"^• Stopping all background terminals\.$")
    tui.wait_until_gone(RUNS)
    tui.submit("/ps")
    tui.wait_for(r"No background terminals running")


def test_a_prompt_during_a_turn_steers_it(server: Deployment, tui: Tui) -> None:
    tui.submit("[[say Let me think]] [[pause steer]]")
    tui.wait_for(r"^• Let me think$")

    tui.submit("[[say Shorter, then.]]")

    tui.wait_for(r"^› \[\[say Shorter")
    tui.wait_for(r"^• Shorter, then\.$")
    tui.wait_for(WORKED)
    tui.wait_until(lambda screen: len(re.findall(WORKED, screen, re.MULTILINE)) == 1, "it worked more than once")


def test_a_renamed_thread_keeps_its_name(server: Deployment, tui: Tui, codex: Codex) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)
    tui.submit("/rename A better name")
    tui.wait_for(r" · A better name$")
    tui.submit("/quit")
    assert tui.wait_until_ended() == 0

    again = codex(server.urls[0], "resume", "--last")

    again.wait_for(r" · A better name$")


def test_status_shows_model_permissions_and_token_usage(tui: Tui) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)

    tui.submit("/status")

    tui.wait_for(r"Model: +mock-model ")
    tui.wait_for(r"Model provider: +mock$")
    tui.wait_for(r"Permissions: +Workspace \(Ask for approval\)$")
    tui.wait_for(r"Token usage: +110 total +\(90 input \+ 20 output\)$")


def test_feedback_with_logs_is_delivered(tmp_path_factory: pytest.TempPathFactory, codex: Codex) -> None:
    with Deployment(tmp_path_factory.mktemp("reporting"), queues="turns,calls,feedback") as server:
        tui = codex(server.urls[0], *WRITES)
        tui.wait_until_ready()
        tui.submit("[[say Hello.]]")
        tui.wait_for(WORKED)
        thread_id = workspace_of(tui).name

        tui.submit("/feedback")
        tui.wait_for(r"^› 1\. bug ")
        tui.press("1")
        tui.wait_for(r"› 1\. Yes +Include session logs")
        tui.press("1")
        tui.wait_for(r"^▌ Tell us more \(bug\)$")
        tui.press("Enter")

        tui.wait_for(rf"^• Feedback uploaded.*\n.*\n*.*{thread_id}")
        until(lambda: server.store.feedback.all_users_list(["delivered"], 10))
        (report,) = server.store.feedback.all_users_list(["delivered"], 10)
        assert (report.thread_id, report.classification, report.include_logs) == (thread_id, "bug", True)
        content = server.store.feedback.all_users_content(report.id)
        assert "Hello." in json.dumps(content["rollout"])
        assert any("turn claimed" in line for line in content["serverLog"])


def test_new_starts_an_empty_thread(tui: Tui) -> None:
    tui.submit("[[say In the first thread.]]")
    tui.wait_for(WORKED)

    tui.submit("/new")
    tui.wait_until_gone(r"^• In the first thread\.$")
    tui.wait_until_ready()

    tui.submit("[[say In the second thread.]]")
    tui.wait_for(r"^• In the second thread\.$")
    tui.wait_for(WORKED)


def test_changed_permissions_apply_to_the_next_turn(tui: Tui) -> None:
    tui.submit("/permissions")
    tui.wait_for(r"^› 1\. Ask for approval \(current\)")
    tui.press("4")
    tui.wait_for(r"^• Permission selection requested: Read Only$")

    tui.submit("[[run touch made || echo re''fused]]")

    tui.wait_for(r" refused$")
    tui.wait_for(r"^• Done\.$")


def test_plan_mode_applies_to_the_next_turn(tui: Tui) -> None:
    tui.submit("/plan")
    tui.wait_for(r"Plan mode \(shift\+tab to cycle\)")

    tui.submit("[[say A plan.]]")

    tui.wait_for(r"^• A plan\.$")
    tui.wait_for(WORKED)
    tui.wait_for(r"Plan mode \(shift\+tab to cycle\)")


def test_a_command_of_the_user_runs_without_approval(tui: Tui) -> None:
    tui.submit("!echo $((6 * 7))")

    tui.wait_for(r"^• You ran echo ")
    tui.wait_for(r" 42$")


def repository(tui: Tui) -> Path:
    """Prepare a git repository in the thread's folder: a commit, a change, and an untracked file."""
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)
    folder = workspace_of(tui)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-C", str(folder)]
    (folder / "known.txt").write_text("one\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "The first commit"]):
        subprocess.run([*git, *arguments], check=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    (folder / "known.txt").write_text("one\ntwo\n")
    (folder / "new.txt").write_text("three\n")
    return folder


def test_diff_shows_changed_and_untracked_files(tui: Tui) -> None:
    repository(tui)

    tui.submit("/diff")

    tui.wait_for(r"^@@ -1 \+1,2 @@\n one\n\+two$")
    tui.wait_for(
        r"^diff --git a/(?:\./)?new\.txt b/(?:\./)?new\.txt\nnew file mode .*\n.*\n.*\n.*\n@@ -0,0 \+1 @@\n\+three$"
    )
    tui.press("q")
    tui.wait_for(WORKED)


def test_diff_in_a_folder_without_git_shows_the_reason(tui: Tui) -> None:
    tui.submit("/diff")

    tui.wait_for(r"not inside a git repository")


def test_a_review_shows_its_start_and_its_findings(tui: Tui) -> None:
    tui.submit("/review [[say One finding: none.]]")

    tui.wait_for(r"^>> Code review started: ")
    tui.wait_for(r"^• One finding: none\.\n+<< Code review finished >>$")
    tui.wait_for(WORKED)
    tui.submit("[[say Still here.]]")
    tui.wait_for(r"^• Still here\.$")


def test_a_review_of_a_commit_is_selected_from_the_log(tui: Tui, server: Deployment) -> None:
    repository(tui)

    tui.submit("/review")
    tui.wait_for(r"Review uncommitted changes$")
    tui.press("3")
    tui.wait_for(r"^› The first commit$")
    tui.press("Enter")

    tui.wait_for(r"^>> Code review started: commit \w{7}")
    tui.wait_for(r"^<< Code review finished >>$")
    bodies = [request.body for request in server.model.requests if "format" not in request.body.get("text", {})]
    asked = bodies[-1]["input"][-1]["content"][0]["text"]  # without requests for titles
    assert re.fullmatch(r"Review the changes that commit \w{40}: The first commit made\.", asked)


def test_a_prompt_during_a_review_is_sent_after_it(server: Deployment, tui: Tui) -> None:
    tui.submit("/review [[say Let me look.]] [[pause review]] [[say  Well done.]]")
    server.model.wait_reached("review")
    tui.wait_for(r"^>> Code review started: ")

    tui.submit("[[say After the review.]]")
    server.model.release("review")

    tui.wait_for(r"^• Let me look\. Well done\.\n+<< Code review finished >>$")
    tui.wait_for(r"^• After the review\.$")


def test_the_command_center_opens_a_thread(tmp_path_factory: pytest.TempPathFactory, codex: Codex) -> None:
    with Deployment(
        tmp_path_factory.mktemp("center")
    ) as server:  # its own server, because which of many threads is selected first is up to the TUI
        tui = codex(server.urls[0], *WRITES)
        tui.wait_until_ready()
        tui.submit("[[say In the command center.]]")
        tui.wait_for(WORKED)

        agents = codex(server.urls[0], "agents")
        agents.wait_for(r"│ In the command center\.$")
        agents.press("Enter")

        agents.wait_for(r"^• In the command center\.$")
        agents.submit("[[say Opened from there.]]")
        agents.wait_for(r"^• Opened from there\.$")
        tui.wait_for(r"^• Opened from there\.$")


def test_queue_is_refused_with_a_reason(server: Deployment, tui: Tui, codex: Codex) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)

    queue = codex(server.urls[0], "queue", "--thread", workspace_of(tui).name, "--message", "and then?")

    queue.wait_for("thread/queue/add is not served")
    assert queue.wait_until_ended() == 1


def test_a_compacted_thread_can_be_continued(tui: Tui) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)

    tui.submit("/compact")

    tui.wait_for(r"^• Context compacted")
    tui.submit("[[say Still here.]]")
    tui.wait_for(r"^• Still here\.$")


def test_a_fork_has_the_history_and_is_independent(server: Deployment, tui: Tui, codex: Codex) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)
    thread_id = workspace_of(tui).name

    tui.submit("/fork")
    tui.wait_for(r"^• Fork created")
    tui.wait_for(r"^• Hello\.$")
    tui.submit("[[say In the first fork.]]")
    tui.wait_for(r"^• In the first fork\.$")

    other = codex(server.urls[0], "fork", thread_id)
    other.wait_for(r"^• Hello\.$")
    other.submit("[[say In the second fork.]]")
    other.wait_for(r"^• In the second fork\.$")
    assert "In the first fork." not in other.screen()


def test_a_thread_is_archived_unarchived_and_deleted(server: Deployment, tui: Tui, codex: Codex) -> None:
    tui.submit("[[say Hello.]]")
    tui.wait_for(WORKED)
    thread_id = workspace_of(tui).name
    tui.submit("/quit")
    assert tui.wait_until_ended() == 0
    url = server.urls[0]

    for command, message in (
        (["archive", thread_id], "Archived session"),
        (["unarchive", thread_id], "Unarchived session"),
        (["delete", "--force", thread_id], "Deleted session"),
    ):
        shell = codex(url, *command)
        shell.wait_for(f"^{message} .*{thread_id}")
        assert shell.wait_until_ended() == 0

    gone = codex(url, "resume", thread_id)
    gone.wait_for(f"No saved session found with ID {thread_id}")
    assert gone.wait_until_ended() == 1


def test_the_picker_reaches_the_oldest_of_many_threads(server: Deployment, codex: Codex) -> None:
    client = server.connect()
    for number in range(THREADS):
        thread_id = client.request("thread/start")["thread"]["id"]
        text = {"type": "text", "text": f"[[say Answer {number}.]] question {number}"}
        client.request("turn/start", {"threadId": thread_id, "input": [text]})
        client.wait_for(lambda frame, id_=thread_id: is_end_of(frame, id_))  # type: ignore[misc]

    tui = codex(server.urls[0], "resume")
    tui.wait_for(rf"^  › .*question {THREADS - 1}$")
    tui.wait_for(r"question 0$")
    tui.press(*["Down"] * (THREADS - 1))
    tui.wait_for(r"^  › .*question 0$")
    tui.press("Enter")
    tui.wait_for(r"^• Answer 0\.$")


def is_end_of(frame: dict[str, Any], thread_id: str) -> bool:
    return frame.get("method") == "turn/completed" and bool(frame["params"]["threadId"] == thread_id)


def test_an_answer_continues_without_repetition_after_a_kill_of_the_api(server: Deployment, tui: Tui) -> None:
    tui.submit("[[say First.\n\nSecond.]] [[pause killed]] [[say  Third.]] [[pause replayed]] [[say  Last.]]")
    tui.wait_for(r"^  Second\.$")

    restart_api(server, tui)

    server.model.release("killed")
    tui.wait_for(r"^• First\.\n+  Second\. Third\.$")  # the whole replay; the item is not completed yet
    tui.wait_until(lambda screen: parts_below(screen) == (1, 1), "a part of the answer is repeated")
    server.model.release("replayed")
    tui.wait_for(WORKED)
    tui.wait_for(r"^• First\.\n\n  Second\. Third\. Last\.$")
    tui.wait_until(lambda screen: parts_below(screen) == (1, 1), "a part of the answer is repeated")


def parts_below(screen: str) -> tuple[int, int]:
    """Return how often the parts of the answer are below their prompt, and above the name of the thread."""
    answer = FOOTER.split(screen.partition("Last.]]")[2])[0]
    return answer.count("First."), answer.count("Second.")


def test_the_output_of_a_running_command_arrives_after_a_kill_of_the_api(server: Deployment, tui: Tui) -> None:
    workspace = workspace_of(tui)
    tui.submit("[[run echo begun; until [ -e go ]; do sleep 0.1; done; echo o''ver]] [[say Seen.]]")
    tui.wait_for(RUNS)
    restart_api(server, tui)

    (workspace / "go").touch()

    tui.wait_for(r" begun\n +over$")
    tui.wait_for(r"^• Seen\.$")
    tui.wait_until(
        lambda screen: len(re.findall(r"^• (?:Ran|Running) ", screen, re.MULTILINE)) == 1, "the command is shown twice"
    )


def test_a_turn_can_be_interrupted_after_a_reconnection(server: Deployment, tui: Tui) -> None:
    tui.submit("[[say Half of]] [[pause reconnect]]")
    tui.wait_for(r"^• Half of$")
    restart_api(server, tui)

    tui.press("Escape")

    tui.wait_for(INTERRUPTED)
    server.model.wait_hung_up("reconnect")


def test_an_approval_request_is_shown_again_after_a_kill_of_the_api(
    server: Deployment, tui: Tui, tmp_path: Path
) -> None:
    tui.submit(escalated(f"echo x >> {tmp_path}/asked", "Thanks."))
    tui.wait_for(APPROVAL_PROMPT)

    restart_api(server, tui)

    tui.wait_for(APPROVAL_PROMPT)
    tui.answer(APPROVAL_PROMPT, "y")
    tui.wait_for(r"^• Thanks\.$")
    tui.wait_for(WORKED)
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_skill_of_the_project_is_used_by_its_name(server: Deployment, codex: Codex, tmp_path: Path) -> None:
    project = tmp_path / "with-skills"
    folder = project / ".agents" / "skills" / "greet"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: greet\ndescription: Greet people\n---\n\nSay it kindly.\n")
    tui = codex(server.urls[0], "-C", str(project), *WRITES)
    tui.answer(TRUST, "Enter")
    tui.wait_for(r"^  mock-model .* · [~/]\S*/with-skills$")

    tui.submit("$greet [[say Hello, dear.]]")  # with --remote the TUI offers no skills, whatever the server answers

    tui.wait_for(r"^• Hello, dear\.$")
    sent = json.dumps(server.model.requests[-1].body["input"])
    assert "- greet: Greet people (file: r0/greet/SKILL.md)" in sent
    assert "Say it kindly." in sent
