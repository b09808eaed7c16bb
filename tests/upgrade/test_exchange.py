"""A rolling upgrade: the database is migrated and processes are exchanged while turns of the earlier release run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.event_names import SCHEDULER_LEASE_KEY
from shared.queue import QUEUES
from tests.support import pages
from tests.support.deployment import DATABASES, PATIENT, STEADY, Deployment, Process, logs_shown_on_failure
from tests.support.releases import Release
from tests.support.turns import command, start_turn
from tests.support.wait import until
from tests.upgrade.moving_follower import Frame, MovingFollower

APPROVAL = "item/commandExecution/requestApproval"
ENDS: dict[str, Callable[[Process], object]] = {"drained": Process.stop, "killed": Process.kill}
QUESTION = {"id": "q1", "header": "H", "question": "Which?", "options": [{"label": "A", "description": "a"}]}
PLAN = {"mode": "plan", "settings": {"model": "mock-model", "reasoning_effort": None, "developer_instructions": None}}
LOOKUP = {"type": "function", "name": "lookup", "description": "d", "inputSchema": {"type": "object"}}
OF_THE_HOST = {"clock", "disk", "sandbox", "memory"}  # what `threadhouse doctor` finds may be the machine's


@dataclass
class Scene:
    """A turn that is at a certain place when the processes are exchanged.

    script:   of its model
    method:   of the event that shows that it is there, and a text in that event
    result:   what answers the server request at that place
    types:    of the items that are stored in the end
    """

    name: str
    script: str
    method: str
    text: str
    types: list[str]
    result: dict[str, object] | None = None


def scenes(prefix: str) -> list[Scene]:
    """Return one scene for each place. prefix: of the names of the pauses of the model."""
    message, ran = "agentMessage", "commandExecution"
    ask = f"[[tool request_user_input {json.dumps({'questions': [QUESTION]})}]][[say Then.]]"
    return [
        Scene(
            "stream",
            f"[[say First. ]]{command('echo 1 >> probe')}[[say half a ]][[pause {prefix}-stream]][[say message]]",
            "item/agentMessage/delta",
            "half",
            ["userMessage", message, ran, message],
        ),
        Scene(
            "command",
            command("echo 1 >> probe; echo working; sleep 60", yield_time_ms=60_000) + "[[say end]]",
            "item/commandExecution/outputDelta",
            "working",
            ["userMessage", ran, message],
        ),
        Scene(
            "approval",
            f"[[say Now.]]{command('echo 1 >> probe')}[[say fine]]",
            APPROVAL,
            "",
            ["userMessage", message, ran, message],
            {"decision": "accept"},
        ),
        Scene(
            "question",
            ask,
            "item/tool/requestUserInput",
            "",
            ["userMessage", message],
            {"answers": {"q1": {"answers": ["A"]}}},
        ),
        Scene(
            "client tool",
            '[[tool lookup {"id": "1"}]][[say Then.]]',
            "item/tool/call",
            "",
            ["userMessage", "dynamicToolCall", message],
            {"contentItems": [{"type": "inputText", "text": "found"}], "success": True},
        ),
    ]


@dataclass
class Running:
    """A scene that a client has begun and follows. Its workspace counts the starts of its command."""

    scene: Scene
    follower: MovingFollower
    turns: int
    request: Frame | None = None

    @property
    def probe(self) -> Path:
        return Path(self.follower.thread["cwd"]) / "probe"


def begin(deployment: Deployment, node: int, prefix: str) -> list[Running]:
    """Begin each scene on an API process, and wait until its turn is at its place."""
    begun = []
    for scene in scenes(prefix):
        policy = "untrusted" if scene.name == "approval" else "never"
        tools = {"dynamicTools": [LOOKUP]} if scene.name == "client tool" else {}
        follower = MovingFollower(deployment, node, approvalPolicy=policy, **tools)
        mode = {"collaborationMode": PLAN} if scene.name == "question" else {}
        start_turn(follower.client, follower.id, scene.script, **mode)
        begun.append(Running(scene, follower, turns=1))
    for running in begun:
        place = running.follower.wait_for(running.scene.method, running.scene.text)
        running.request = place if running.scene.result else None
    return begun


def end(deployment: Deployment, begun: list[Running], prefix: str) -> None:
    """Let the model go on, answer the requests, and check each turn at its end."""
    deployment.model.release(f"{prefix}-stream")
    for running in begun:
        if running.request is not None:
            running.follower.client.send({"id": running.request["id"], "result": running.scene.result})
    for running in begun:
        running.follower.wait_for("turn/completed", "completed", count=running.turns)
        items = running.follower.check()
        assert [item["type"] for item in items] == running.scene.types
        if running.scene.types.count("commandExecution"):
            assert running.probe.read_text() == "1\n" * running.turns
        if running.scene.name == "stream":
            assert items[-1]["text"] == "half a message"


@pytest.fixture
def deployment(tmp_path: Path, release: Release) -> Iterator[Deployment]:
    """One API process and one worker of the earlier release, with its schema."""
    with (
        Deployment(tmp_path, "postgres", release=release, server=PATIENT) as deployment,
        logs_shown_on_failure(deployment),
    ):
        yield deployment


@pytest.mark.parametrize("how", ENDS)
def test_turns_continue_when_the_processes_are_exchanged(deployment: Deployment, release: Release, how: str) -> None:
    begun = begin(deployment, 0, "upgrade")

    deployment.migrate()
    (old,) = deployment.workers
    new = deployment.add_worker()
    node = deployment.add_api()
    ENDS[how](old)
    for running in begun:
        running.follower.move(node)
    end(deployment, begun, "upgrade")

    back = begin(deployment, node, "back")  # the exchange is taken back
    deployment.start_worker(old)
    ENDS[how](new)
    for running in back:
        running.follower.move(0)
    end(deployment, back, "back")


@pytest.mark.parametrize("database", DATABASES)
def test_turns_continue_when_the_whole_server_is_stopped_and_started_anew(
    tmp_path: Path, release: Release, database: str
) -> None:
    with (
        Deployment(tmp_path, database, release=release, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        begun = begin(deployment, 0, "restart")
        for process in (*deployment.workers, *deployment.api, deployment.redis_process):
            process.stop()

        deployment.migrate()
        deployment.redis_process.start()
        deployment.wait_for_redis()
        node = deployment.add_api()
        deployment.add_worker()
        for running in begun:
            running.follower.move(node)
        end(deployment, begun, "restart")


@pytest.mark.parametrize("database", DATABASES)
def test_the_commands_of_the_page_upgrade_a_server_whose_turns_run(
    tmp_path: Path, release: Release, database: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    queues = ",".join(QUEUES)
    with (
        Deployment(home, database, release=release, server=STEADY, queues=queues) as deployment,
        logs_shown_on_failure(deployment),
    ):
        begun = begin(deployment, 0, "page")
        for words in pages.commands_of("Upgrading"):
            if words[0] == "systemctl":
                restart(deployment, words, begun)
            elif words == ["threadhouse", "doctor"]:
                examined = pages.run(deployment, words, tmp_path / "backup", check=False)
                assert pages.failed_checks(examined) <= OF_THE_HOST, examined
            else:
                pages.run(deployment, words, tmp_path / "backup")
        end(deployment, begun, "page")


def restart(deployment: Deployment, words: list[str], begun: list[Running]) -> None:
    """Restart a process as the new version, as systemd does: it stops the old one first."""
    assert words[:2] == ["systemctl", "restart"]
    match words[2].partition("@")[0]:
        case "threadhouse-worker":
            assert deployment.workers[0].stop() == 0
            deployment.add_worker()
            until(lambda: any(not each.lost for each in deployment.store.workers.all_users_list()))
        case "threadhouse-web":
            assert deployment.api[0].stop() == 0
            node = deployment.add_api()
            for running in begun:
                running.follower.move(node)
        case "threadhouse-beat":
            deployment.add_beat()  # the earlier release had none here
            until(lambda: deployment.redis.exists(SCHEDULER_LEASE_KEY))
        case other:
            raise AssertionError(f"the page restarts {other}, which this test does not know")
