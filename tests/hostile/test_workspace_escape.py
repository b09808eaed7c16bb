"""The folder that holds a user's workspaces is not a way out: a name that a tenant can change is never trusted."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.protocol.sandbox_modes import WORKSPACE_WRITE
from tests.hostile.conftest import Tenant, Tenants
from tests.support.turns import command, run_turn
from workers.sandbox import bubblewrap, files
from workers.sandbox.policy import SandboxPolicy


def plant_link(eve: Tenant, thread_id: str, target: Path) -> None:
    """Put a link to a folder of the server where the thread's workspace is, by every way that a client has."""
    workspace = eve.folder / thread_id
    for cwd in (None, str(workspace)):
        eve.attempt(
            "command/exec",
            {
                "command": [
                    "/bin/sh",
                    "-c",
                    f"cd {eve.folder} && mv {thread_id} moved; rm -rf {thread_id}; ln -s {target} {thread_id}",
                ],
                "cwd": cwd,
                "timeoutMs": 10_000,
            },
        )
    other = Path(eve.start_thread()["cwd"])
    eve.attempt("command/exec", {"command": ["/bin/ln", "-s", str(target), "link"], "cwd": str(other)})
    eve.attempt("fs/remove", {"path": str(workspace), "recursive": True, "force": True})
    eve.attempt("fs/copy", {"sourcePath": str(other / "link"), "destinationPath": str(workspace), "recursive": False})


@pytest.mark.parametrize("where", ["workspaces", "home"])
def test_a_link_in_the_place_of_a_workspace_shows_nothing_of_others(tenants: Tenants, where: str) -> None:
    eve, ada = tenants.eve, tenants.ada
    home = tenants.deployment.home
    target = home / "workspaces" if where == "workspaces" else home
    thread = eve.start_thread()
    plant_link(eve, thread["id"], target)
    assert not (eve.folder / thread["id"]).is_symlink()

    seen = [
        eve.attempt("fs/readDirectory", {"path": thread["cwd"]}),
        eve.attempt("fs/readDirectory", {"path": f"{thread['cwd']}/{ada.user_id}"}),
        eve.attempt("fs/readFile", {"path": f"{thread['cwd']}/config.toml"}),
        eve.attempt("command/exec", {"command": ["/bin/cat", "config.toml"], "cwd": thread["cwd"]}),
        eve.attempt("fuzzyFileSearch", {"query": "secret", "roots": [thread["cwd"]]}),
        eve.attempt("gitDiffToRemote", {"cwd": thread["cwd"]}),
        str(run_turn(eve.client, thread["id"], command("ls -laR . ; cat */*/secret.txt config.toml"))),
        eve.download_workspace(thread["id"]).decode(errors="replace"),
    ]

    text = "\n".join(seen)
    assert ada.canary not in text
    assert ada.user_id not in text
    assert "model_provider" not in text


def test_a_link_that_the_server_finds_in_the_place_of_a_workspace_is_refused(tenants: Tenants) -> None:
    """However it came there: the server opens `<user>/<thread>` by descriptor and follows no link."""
    eve, ada = tenants.eve, tenants.ada
    thread = eve.start_thread()
    workspace = eve.folder / thread["id"]
    shutil.rmtree(workspace)
    workspace.symlink_to(ada.folder)

    seen = [
        eve.attempt("fs/readDirectory", {"path": thread["cwd"]}),
        eve.attempt("command/exec", {"command": ["/bin/sh", "-c", "cat */secret.txt"], "cwd": thread["cwd"]}),
        eve.attempt("fuzzyFileSearch", {"query": "secret", "roots": [thread["cwd"]]}),
        eve.attempt("gitDiffToRemote", {"cwd": thread["cwd"]}),
        eve.attempt(
            "fs/writeFile",
            {"path": f"{thread['cwd']}/planted", "dataBase64": base64.b64encode(b"planted").decode()},
        ),
        str(run_turn(eve.client, thread["id"], command("cat */secret.txt; echo planted > planted"))),
        eve.download_workspace(thread["id"]).decode(errors="replace"),
    ]

    assert ada.canary not in "\n".join(seen)
    assert not list(ada.folder.rglob("planted"))
    workspace.unlink()


def test_a_link_in_a_workspace_leads_into_no_other_workspace(tenants: Tenants) -> None:
    """Not even into one of the same user: what a thread may write does not depend on what a command has made."""
    eve = tenants.eve
    workspace, other = eve.start_thread()["cwd"], eve.start_thread()["cwd"]
    eve.run(f"ln -s {other} link", workspace)

    seen = [
        eve.attempt("command/exec", {"command": ["/bin/sh", "-c", "echo x > planted"], "cwd": f"{workspace}/link"}),
        eve.attempt("fuzzyFileSearch", {"query": "x", "roots": [f"{workspace}/link"]}),
        eve.attempt("gitDiffToRemote", {"cwd": f"{workspace}/link"}),
        eve.attempt("fs/writeFile", {"path": f"{workspace}/link/planted", "dataBase64": "eA=="}),
    ]

    assert ["error" in one for one in seen] == [True] * len(seen)
    assert list((eve.folder / other.rpartition("/")[2]).iterdir()) == []


def test_the_folder_of_workspaces_itself_cannot_be_written(tenants: Tenants) -> None:
    eve = tenants.eve
    workspace = Path(eve.start_thread()["cwd"])
    before = sorted(eve.folder.iterdir())
    data = base64.b64encode(b"x").decode()

    for cwd in (None, str(workspace)):
        eve.attempt("command/exec", {"command": ["/bin/sh", "-c", f"echo x > {eve.folder}/file"], "cwd": cwd})
    eve.attempt("fs/writeFile", {"path": f"{eve.folder}/file", "dataBase64": data})
    eve.attempt("fs/createDirectory", {"path": f"{eve.folder}/folder", "recursive": True})
    removal = eve.attempt("fs/remove", {"path": str(workspace), "recursive": True, "force": True})
    eve.attempt("fs/copy", {"sourcePath": str(workspace), "destinationPath": f"{eve.folder}/copy", "recursive": True})

    assert sorted(eve.folder.iterdir()) == before
    assert "a thread's whole workspace, which goes with its thread by thread/delete" in removal


def test_a_workspace_still_works(tenants: Tenants) -> None:
    eve = tenants.eve
    workspace = eve.start_thread()["cwd"]

    assert eve.run("echo hello > file && mkdir sub && cat file", workspace)["stdout"] == "hello\n"
    eve.client.request("fs/copy", {"sourcePath": f"{workspace}/file", "destinationPath": f"{workspace}/sub/copy"})
    assert eve.run("cat copy", f"{workspace}/sub")["stdout"] == "hello\n"
    eve.client.request("fs/remove", {"path": f"{workspace}/sub", "recursive": True})
    assert [one["fileName"] for one in eve.client.request("fs/readDirectory", {"path": workspace})["entries"]] == [
        "file"
    ]


def test_a_folder_that_is_exchanged_after_the_check_is_not_what_is_mounted(tmp_path: Path) -> None:
    """The time between the check and the mount is too short to meet it from outside."""
    tmp_path = tmp_path.resolve()
    work, secret = tmp_path / "work", tmp_path / "secret"
    for folder, text in ((work, "mine"), (secret, "a secret")):
        folder.mkdir()
        (folder / "file").write_text(text)
    policy = SandboxPolicy(kind=WORKSPACE_WRITE, cwd=work, writable_roots=(work,), readable_roots=(work,))
    descriptors = {path: files.open_path(path) for path in bubblewrap.mounted_by_descriptor(policy)}
    work.rename(tmp_path / "moved")
    work.symlink_to(secret)

    options = bubblewrap.containment(policy, work, descriptors=descriptors)
    ran = subprocess.run(
        [bubblewrap.find_bwrap(), *options, "/bin/cat", "file"],
        env=bubblewrap.environment(policy),
        pass_fds=list(descriptors.values()),
        capture_output=True,
        text=True,
        check=False,
    )

    for fd in descriptors.values():
        os.close(fd)
    assert (ran.stdout, ran.stderr) == ("mine", "")
