"""A backup that is restored under another HOME, with the commands of deploy/README.md: its threads go on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.store import Store
from shared.store.tables import turns
from tests.support import pages
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread, start_turn, stored_turn, wait_for_end
from tests.support.wait import until

USER = "ada"
APPROVAL = "item/commandExecution/requestApproval"
WRITE = command("mkdir -p part; echo old > note; echo old > part/note")
LARGE = command("seq 1000 | split -l 1; head -c 20000000 /dev/urandom > large")
RUNNING = command("echo begun >> probe; sleep 600") + "[[say It is lost.]]"
BACKUP, VERIFY, RESTORE, DOCTOR = pages.commands_of("Backup and restore")
LOADS = 3  # threads that run one turn after the other meanwhile
END_SECONDS = 150  # for the turns of the old server: their leases last for up to 30 s


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    homes = tmp_path / "old", tmp_path / "new"
    for home in homes:
        home.mkdir()
    return homes


def restore(old: Deployment, home: Path, database: str, folder: Path) -> Deployment:
    """Take the old deployment away, which has stopped, and restore its backup to another one, which is not started."""
    new = Deployment(home, database)
    shutil.move(old.home, old.home.with_name("gone"))
    for words in (VERIFY, RESTORE):
        pages.run(new, words, folder)
    assert "database" not in pages.failed_checks(pages.run(new, DOCTOR, folder, check=False))
    return new


def answer(client: ProtocolClient, thread_id: str, turn_id: str) -> None:
    """Accept what a thread asks for, and wait for the end of the turn."""
    client.request("thread/resume", {"threadId": thread_id})
    request = client.wait_for_method(APPROVAL)
    client.send({"id": request["id"], "result": {"decision": "accept"}})
    assert wait_for_end(client, turn_id)["status"] == "completed"
    assert (folder_of(client, thread_id) / "probe").exists()


def folder_of(client: ProtocolClient, thread_id: str) -> Path:
    return Path(client.request("thread/read", {"threadId": thread_id})["thread"]["cwd"])


def test_threads_go_on_after_a_restore_under_another_home(
    homes: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    with Deployment(homes[0], database) as old:
        _, key = old.add_user(USER)
        client = old.connect(token=key)
        folder = client.request("thread/start", {})["thread"]
        assert run_turn(client, folder["id"], WRITE)["status"] == "completed"
        part = start_thread(client)
        assert run_turn(client, part, WRITE)["status"] == "completed"
        own = client.request("thread/read", {"threadId": part})["thread"]["cwd"]
        policy = {"type": "workspaceWrite", "writableRoots": [own]}
        client.request("thread/settings/update", {"threadId": part, "cwd": f"{own}/part", "sandboxPolicy": policy})
        asking = start_thread(client, approvalPolicy="untrusted")
        parked = start_turn(client, asking, command("echo ran > probe") + "[[say fine]]")
        client.wait_for_method(APPROVAL)
        client.drop()
        old.kill_all()
        pages.run(old, BACKUP, tmp_path / "backup")

        new = restore(old, homes[1], database, tmp_path / "backup")
        with new, logs_shown_on_failure(new):
            client = new.connect(token=key)
            for thread_id in (folder["id"], part):
                client.request("thread/resume", {"threadId": thread_id})
                assert run_turn(client, thread_id, command("cat note; echo new > note"))["status"] == "completed"
                assert "old\n" in str(new.model.requests[-1].body["input"][-1]["output"])
            cwd = str(homes[1] / "workspaces" / Path(folder["cwd"]).relative_to(homes[0] / "workspaces"))
            assert client.request("thread/read", {"threadId": folder["id"]})["thread"]["cwd"] == cwd
            listed = client.request("thread/list", {"cwd": [cwd]})["data"]
            assert [thread["id"] for thread in listed] == [folder["id"]]
            assert (Path(cwd) / "note").read_text() == "new\n"

            answer(client, asking, parked)
            assert client.request("thread/start", {})["thread"]["cwd"].startswith(str(homes[1]))


class Load:
    """A thread whose turns follow each other. turns: turn id → the number that its command has written to `probe`"""

    def __init__(self, client: ProtocolClient) -> None:
        self.id = start_thread(client)
        self.turns: dict[str, int] = {}
        self._client = client

    def has_begun(self, count: int) -> bool:
        """Return whether so many turns have begun, and all but the last of these have ended."""
        return len(self.turns) >= count

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            number = len(self.turns)
            turn_id = start_turn(self._client, self.id, command(f"echo {number} >> probe"))
            self.turns[turn_id] = number
            assert wait_for_end(self._client, turn_id)["status"] == "completed"


@contextmanager
def running(loads: list[Load]) -> Iterator[None]:
    """Run turns of all threads during the block."""
    stopped = threading.Event()
    with ThreadPoolExecutor(len(loads)) as pool:
        futures = [pool.submit(load.run, stopped) for load in loads]
        try:
            yield
        finally:
            stopped.set()
        for future in futures:
            future.result()


def back_up_under_load(old: Deployment, loads: list[Load], folder: Path) -> None:
    """Back up twice to one folder while the threads run turns, of which some are between the two."""
    with running(loads):
        for _ in range(2):
            counts = [len(load.turns) for load in loads]
            for load, count in zip(loads, counts, strict=True):
                until(partial(load.has_begun, count + 2), seconds=END_SECONDS)
            pages.run(old, BACKUP, folder)


def test_a_backup_under_load_is_restored_elsewhere_and_no_command_runs_twice(
    homes: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    with Deployment(homes[0], database, workers=2, server=STEADY) as old, logs_shown_on_failure(old):
        _, key = old.add_user(USER)
        client = old.connect(token=key)
        large, lost = start_thread(client), start_thread(client)
        asking = start_thread(client, approvalPolicy="untrusted")
        assert run_turn(client, large, LARGE)["status"] == "completed"
        parked = start_turn(client, asking, command("echo ran > probe") + "[[say fine]]")
        client.wait_for_method(APPROVAL)
        interrupted = start_turn(client, lost, RUNNING)
        until((folder_of(client, lost) / "probe").exists)
        loads = [Load(old.connect(token=key)) for _ in range(LOADS)]
        back_up_under_load(old, loads, tmp_path / "backup")
        client.drop()
        old.kill_all()

        new = restore(old, homes[1], database, tmp_path / "backup")
        completed = completed_turns(new)
        with new, logs_shown_on_failure(new):
            client = new.connect(token=key)
            answer(client, asking, parked)
            for load in loads:
                check_load(new, client, load, completed)
            client.request("thread/resume", {"threadId": large})
            assert run_turn(client, large, command("ls | wc -l"))["status"] == "completed"
            assert "1001\n" in str(new.model.requests[-1].body["input"][-1]["output"])

            turn = wait_for_stored_end(new, client, lost, interrupted)
            assert turn["status"] == "completed"
            assert [item["status"] for item in turn["items"] if item["type"] == "commandExecution"] == ["failed"]
            assert (folder_of(client, lost) / "probe").read_text() == "begun\n"
            assert any("outcome is unknown" in str(request.body["input"]) for request in new.model.requests)


def completed_turns(new: Deployment) -> set[str]:
    """Return the turns that had ended when the snapshot was made."""
    store = Store(new.database_url)
    try:
        with store.database.read() as connection:
            return set(connection.scalars(select(turns.c.id).where(turns.c.status == "completed")))
    finally:
        store.close()


def check_load(new: Deployment, client: ProtocolClient, load: Load, completed: set[str]) -> None:
    """Assert that a thread has run each of its turns to the end, once where the snapshot has that end, and goes on."""
    client.request("thread/resume", {"threadId": load.id})
    stored = client.request("thread/read", {"threadId": load.id, "includeTurns": True})["thread"]["turns"]
    assert stored
    for turn in stored:
        assert wait_for_stored_end(new, client, load.id, turn["id"])["status"] == "completed"
    lines = (folder_of(client, load.id) / "probe").read_text().split()
    ended = [load.turns[turn["id"]] for turn in stored if turn["id"] in completed]
    assert ended
    assert [lines.count(str(number)) for number in ended] == [1] * len(ended)
    assert run_turn(client, load.id, command("cat probe"))["status"] == "completed"


def wait_for_stored_end(new: Deployment, client: ProtocolClient, thread_id: str, turn_id: str) -> dict[str, Any]:
    """Wait until a turn has ended, whose end the client may have missed. Return it as it is stored."""
    owner = new.store.users.get(USER).id
    until(lambda: new.store.turns.get(turn_id, owner).status != "inProgress", seconds=END_SECONDS)
    return stored_turn(client, thread_id, turn_id)
