"""A database that is restored under another HOME, beside a copy of the workspaces: its threads go on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.turns import command, run_turn, start_thread, start_turn, wait_for_end

APPROVAL = "item/commandExecution/requestApproval"
WRITE = command("mkdir -p part; echo old > note; echo old > part/note")


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    homes = tmp_path / "old", tmp_path / "new"
    for home in homes:
        home.mkdir()
    return homes


@contextmanager
def restored(old: Deployment, home: Path, database: str) -> Iterator[Deployment]:
    """Back up a stopped deployment as deploy/README.md says, and start another one from the backup."""
    with ExitStack() as stack:
        new = Deployment(home, database)
        if database == "postgres":
            dump = home / "threadhouse.dump"
            source, target = (url.replace("+psycopg", "") for url in (old.database_url, new.database_url))
            for words in (
                ["pg_dump", "--format=custom", f"--file={dump}", source],
                ["pg_restore", "--no-owner", "--clean", "--if-exists", f"--dbname={target}", str(dump)],
            ):
                subprocess.run([postgres.binaries() / words[0], *words[1:]], check=True, capture_output=True)
        else:
            for file in old.home.glob("threadhouse.sqlite3*"):
                shutil.copy(file, home)
        shutil.copytree(old.home / "workspaces", home / "workspaces")
        shutil.move(old.home, old.home.with_name("gone"))
        stack.enter_context(new)
        stack.enter_context(logs_shown_on_failure(new))
        yield new


def test_threads_go_on_after_a_restore_under_another_home(homes: tuple[Path, Path], database: str) -> None:
    with Deployment(homes[0], database) as old:
        _, key = old.add_user("ada")
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

        with restored(old, homes[1], database) as new:
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

            client.request("thread/resume", {"threadId": asking})
            request = client.wait_for_method(APPROVAL)
            client.send({"id": request["id"], "result": {"decision": "accept"}})
            assert wait_for_end(client, parked)["status"] == "completed"
            assert (Path(client.request("thread/read", {"threadId": asking})["thread"]["cwd"]) / "probe").exists()
            assert client.request("thread/start", {})["thread"]["cwd"].startswith(str(homes[1]))
