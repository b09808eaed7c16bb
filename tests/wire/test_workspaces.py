"""Upload, clone and download of code: two users, a git server with a password, and workers that are killed."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.ids import new_id
from shared.store.tables import archives
from tests.support.deployment import PATIENT, Deployment
from tests.support.git_server import TOKEN, USER, GitServer, git, make_repository
from tests.support.protocol_client import ProtocolClient, RpcError, connect
from tests.support.turns import command, run_turn, start_turn, stored_turn, wait_for_end

Answer = tuple[int, bytes]


class Backend:
    """A deployment with two users that may clone from the git server of the tests."""

    def __init__(self, deployment: Deployment, server: GitServer) -> None:
        self.deployment = deployment
        self.server = server
        self.keys = {}
        for name in ("ada", "bob"):
            deployment.store.users.add(name)
            self.keys[name] = deployment.store.users.create_key(name, "laptop")

    def client(self, name: str) -> ProtocolClient:
        client = connect(self.deployment.urls[0].replace("http", "ws", 1) + "/", self.keys[name])
        client.initialize()
        return client

    def http(self, name: str, verb: str, path: str, body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.deployment.ports[0], timeout=60)
        connection.request(verb, path, body, {"Authorization": f"Bearer {self.keys[name]}"})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def download(self, name: str, thread_id: str, wanted: str = "diff") -> Answer:
        return self.http(name, "GET", f"/v2/thread/workspace?threadId={thread_id}&format={wanted}")

    def begin(self, client: ProtocolClient, workspace: dict[str, Any]) -> str:
        thread_id: str = client.request("thread/start", {"config": {"workspace": workspace}})["thread"]["id"]
        return thread_id


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    root = tmp_path_factory.mktemp("git")
    make_repository(root)
    home = tmp_path_factory.mktemp("workspaces")
    with GitServer(root) as server:
        deployment = Deployment(home, "postgres", workers=2, server=PATIENT)
        with (home / "config.toml").open("a") as config:
            config.write(
                f'[workspaces]\narchive_bytes = 1000000\n[workspaces.git_hosts."{server.host}"]\n'
                f'private = true\nhttp = true\n[workspaces.git_hosts."127.0.0.2"]\nhttp = true\n'
                f'[workspaces.credentials.robot]\nhost = "{server.host}"\nusername = "{USER}"\n'
                'token_env = "GIT_TOKEN"\nusers = ["ada"]\n'
            )
        trigger = home / "trigger"
        for process in [*deployment.api, *deployment.workers]:
            process.environ["GIT_TOKEN"] = TOKEN
        for worker in deployment.workers:
            worker.environ["THREADHOUSE_FAULT"] = f"mid_clone:kill@{trigger}"
        with deployment:
            yield Backend(deployment, server)


def test_a_thread_changes_a_private_clone_and_its_changes_can_be_downloaded(backend: Backend, tmp_path: Path) -> None:
    ada = backend.client("ada")
    thread_id = backend.begin(ada, {"gitUrl": backend.server.url(), "ref": "main", "credential": "robot"})
    early = backend.download("ada", thread_id)

    turn = run_turn(ada, thread_id, command("cat README; env; echo three > README; echo new > new"))

    assert turn["status"] == "completed", turn
    items = stored_turn(ada, thread_id, turn["id"])["items"]
    shown = [item for item in items if item["type"] == "commandExecution"]
    assert shown[0]["command"].startswith("git clone --depth=50 --branch main http://")
    assert shown[1]["aggregatedOutput"].startswith("two\n")
    assert TOKEN not in json.dumps(list(ada.received))
    assert not any(process.has_logged(TOKEN) for process in backend.deployment.processes)
    assert early[0] == 409
    status, patch = backend.download("ada", thread_id)
    assert status == 200
    mine = tmp_path / "mine"
    git(tmp_path, "clone", "-q", str(backend.server.root / "project.git"), str(mine))
    (tmp_path / "patch").write_bytes(patch)
    git(mine, "apply", str(tmp_path / "patch"))
    assert ((mine / "README").read_text(), (mine / "new").read_text()) == ("three\n", "new\n")
    assert base64.b64decode(ada.request("thread/workspace/read", {"threadId": thread_id})["dataBase64"]) == patch
    assert backend.download("ada", thread_id, "bundle")[1].startswith(b"# v2 git bundle")


def test_another_worker_takes_over_when_one_is_killed_during_a_clone(backend: Backend) -> None:
    ada = backend.client("ada")
    thread_id = backend.begin(ada, {"gitUrl": backend.server.url(), "credential": "robot"})
    (backend.deployment.home / "trigger").touch()

    turn_id = start_turn(ada, thread_id, command("cat README"))
    turn = wait_for_end(ada, turn_id, 120)

    assert not (backend.deployment.home / "trigger").exists(), "no worker was killed"
    assert turn["status"] == "completed", turn
    items = [item for item in stored_turn(ada, thread_id, turn_id)["items"] if item["type"] == "commandExecution"]
    assert [item["status"] for item in items] == ["failed", "completed", "completed"]
    assert items[-1]["aggregatedOutput"] == "two\n"
    assert not list((backend.deployment.home / "workspaces").glob("*/.making*"))
    for worker in backend.deployment.workers:
        if not worker.is_running:
            backend.deployment.start_worker(worker)


@pytest.mark.parametrize(
    ("workspace", "message"),
    [
        ({"gitUrl": "https://example.com/a.git"}, "allowed hosts"),
        ({"gitUrl": "file:///etc"}, "expected https://HOST/PATH"),
        ({"gitUrl": "ext::sh -c id"}, "expected https://HOST/PATH"),
        ({"gitUrl": "--upload-pack=id"}, "expected https://HOST/PATH"),
        ({"gitUrl": "https://ada:secret@github.com/a.git"}, "without user, password"),
        ({"gitUrl": "http://127.0.0.2/a.git", "ref": "--upload-pack=id"}, "not a branch"),
        ({"gitUrl": "http://127.0.0.2/a.git", "credential": "robot"}, "you have no credential 'robot'"),
        ({"gitUrl": "http://127.0.0.2/a.git", "submodules": True}, "unknown member"),
        ({"archive": "x", "ref": "y"}, "expected gitUrl"),
        ({}, "expected gitUrl"),
        ([], "expected a map"),
    ],
)
def test_an_invalid_workspace_is_refused_before_a_thread_is_made(
    backend: Backend, workspace: Any, message: str
) -> None:
    with pytest.raises(RpcError, match=message) as refused:
        backend.begin(backend.client("ada"), workspace)

    assert refused.value.code == -32602


def test_an_allowed_host_at_a_private_address_is_refused_unless_marked_private(backend: Backend) -> None:
    ada = backend.client("ada")

    turn = run_turn(ada, backend.begin(ada, {"gitUrl": "http://127.0.0.2/a.git"}), "hello")

    assert turn["status"] == "failed"
    assert "private, local and reserved addresses are refused" in turn["error"]["message"]


def test_only_users_named_by_the_operator_may_use_a_credential(backend: Backend) -> None:
    with pytest.raises(RpcError, match="you have no credential 'robot'"):
        backend.begin(backend.client("bob"), {"gitUrl": backend.server.url(), "credential": "robot"})


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz archive of the files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_only_its_owner_can_use_fork_and_download_an_uploaded_archive(backend: Backend) -> None:
    ada, bob = backend.client("ada"), backend.client("bob")
    status, body = backend.http("ada", "POST", "/v2/workspace/archive", archive({"a.txt": b"one\n"}))
    assert status == 201
    uploaded = {"archive": json.loads(body)["archive"]}

    with pytest.raises(RpcError) as foreign:
        backend.begin(bob, uploaded)
    with pytest.raises(RpcError) as unknown:
        backend.begin(bob, {"archive": new_id()})
    thread_id = backend.begin(ada, uploaded)
    assert run_turn(ada, thread_id, command("ln -s /etc/passwd out; echo two >> a.txt"))["status"] == "completed"
    fork = ada.request("thread/fork", {"threadId": thread_id})["thread"]["id"]
    turn = run_turn(ada, fork, command("readlink out; cat a.txt"))

    assert foreign.value.code == unknown.value.code
    assert str(foreign.value)[:20] == str(unknown.value)[:20]
    shown = stored_turn(ada, fork, turn["id"])["items"]
    assert "/etc/passwd\none\ntwo\n" in [item.get("aggregatedOutput") for item in shown]
    assert b"+two" in backend.download("ada", thread_id)[1]
    with tarfile.open(fileobj=io.BytesIO(backend.download("ada", fork, "tar")[1])) as tar:
        assert tar.getmember("./out").linkname == "/etc/passwd"
    assert backend.download("ada", fork, "zip")[0] == 400


def test_git_applies_the_diff_of_a_workspace(backend: Backend, tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % number for number in range(99))
    start = {
        "naïve file.txt": b"one\ntwo\n",
        "binary": b"\0old",
        "old": lines,
        "script": b"#!/bin/sh\n",
        "latin": b"\xe9\n",
    }
    ada = backend.client("ada")
    _, body = backend.http("ada", "POST", "/v2/workspace/archive", archive(start))
    thread_id = backend.begin(ada, {"archive": json.loads(body)["archive"]})
    changes = (
        "printf 'one\\n2\\n' > 'naïve file.txt'; printf '\\0new' > binary; mv old 'néw'; chmod +x script;"
        " printf '\\351\\351\\n' > latin; printf '\\0' > 'ñ added'; ln -s script link"
    )

    assert run_turn(ada, thread_id, command(changes))["status"] == "completed"

    patch = backend.download("ada", thread_id)[1]
    assert "--- a/naïve file.txt" in patch.decode(errors="replace")
    assert "rename to néw" in patch.decode(errors="replace")
    for name, data in start.items():
        (tmp_path / name).write_bytes(data)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, check=True)
    with tarfile.open(fileobj=io.BytesIO(backend.download("ada", thread_id, "tar")[1])) as tar:
        wanted = {one.name[2:]: one for one in tar.getmembers() if not one.isdir()}
        for name, member in wanted.items():
            if member.issym():
                assert os.readlink(tmp_path / name) == member.linkname
            else:
                content = tar.extractfile(member)
                assert content is not None
                assert (tmp_path / name).read_bytes() == content.read()
    assert {path.name for path in tmp_path.iterdir()} == set(wanted)
    assert os.access(tmp_path / "script", os.X_OK)


def test_the_workspace_of_another_user_is_answered_like_an_unknown_one(backend: Backend) -> None:
    ada, bob = backend.client("ada"), backend.client("bob")
    thread_id = ada.request("thread/start", {})["thread"]["id"]
    assert backend.download("ada", thread_id) == (200, b"")
    unknown_id = new_id()

    answers = [backend.download("bob", requested) for requested in (thread_id, unknown_id)]
    messages = []
    for requested in (thread_id, unknown_id):
        with pytest.raises(RpcError) as refused:
            bob.request("thread/workspace/read", {"threadId": requested})
        messages.append(str(refused.value).replace(requested, ""))

    assert answers[0][0] == answers[1][0] == 404
    assert answers[0][1].replace(thread_id.encode(), b"") == answers[1][1].replace(unknown_id.encode(), b"")
    assert messages[0] == messages[1]


def test_a_refused_upload_stores_nothing(backend: Backend) -> None:
    too_large = backend.http("ada", "POST", "/v2/workspace/archive", bytes(1_000_001))
    empty = backend.http("ada", "POST", "/v2/workspace/archive", b"")

    assert (too_large[0], empty[0]) == (413, 400)
    assert b"1000000 bytes" in too_large[1]
    with backend.deployment.store.database.read() as connection:
        assert connection.execute(select(archives.c.id)).all() == []


def test_exec_starts_a_thread_from_an_archive_or_a_clone(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "code.tgz").write_bytes(archive({"a.txt": b"from the archive\n"}))
    sources = (
        ["--archive", str(tmp_path / "code.tgz"), command("cat a.txt")],
        ["--git", backend.server.url(), "--ref", "other", "--credential", "robot", command("cat README")],
    )

    done = [
        subprocess.run(
            [sys.executable, "-P", "-m", "api.cli", "exec", *words],
            env={
                **backend.deployment.environ,
                "THREADHOUSE_URL": backend.deployment.urls[0],
                "THREADHOUSE_TOKEN": backend.keys["ada"],
            },
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for words in sources
    ]

    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
    assert "from the archive" in done[0].stderr
    assert "\none\n" in done[1].stderr
