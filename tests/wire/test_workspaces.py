"""Code in and out over the wire: two users, a git server that wants a password, and workers that die in the middle."""

from __future__ import annotations

import base64
import http.client
import io
import json
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
from tests.support.deployment import Deployment
from tests.support.git_server import TOKEN, USER, GitServer, git, make_repository
from tests.support.protocol_client import ProtocolClient, RpcError, connect
from tests.support.turns import command, run_turn, start_turn, stored_turn, wait_for_end

Answer = tuple[int, bytes]


class House:
    """A deployment that may clone from a server of its own, with two users."""

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
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("git")
    make_repository(root)
    home = tmp_path_factory.mktemp("workspaces")
    with GitServer(root) as server:
        deployment = Deployment(home, "postgres", workers=2)
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
            yield House(deployment, server)


def test_a_thread_works_on_a_private_clone_and_what_came_of_it_is_downloaded(house: House, tmp_path: Path) -> None:
    ada = house.client("ada")
    thread_id = house.begin(ada, {"gitUrl": house.server.url(), "ref": "main", "credential": "robot"})
    early = house.download("ada", thread_id)

    turn = run_turn(ada, thread_id, command("cat README; env; echo three > README; echo new > new"))

    assert turn["status"] == "completed", turn
    items = stored_turn(ada, thread_id, turn["id"])["items"]
    shown = [item for item in items if item["type"] == "commandExecution"]
    assert shown[0]["command"].startswith("git clone --depth=50 --branch main http://")
    assert shown[1]["aggregatedOutput"].startswith("two\n")
    assert TOKEN not in json.dumps(list(ada.received))
    assert not any(one.says(TOKEN) for one in house.deployment.processes)
    assert early[0] == 409
    status, patch = house.download("ada", thread_id)
    assert status == 200
    mine = tmp_path / "mine"
    git(tmp_path, "clone", "-q", str(house.server.root / "project.git"), str(mine))
    (tmp_path / "patch").write_bytes(patch)
    git(mine, "apply", str(tmp_path / "patch"))
    assert ((mine / "README").read_text(), (mine / "new").read_text()) == ("three\n", "new\n")
    assert base64.b64decode(ada.request("thread/workspace/read", {"threadId": thread_id})["dataBase64"]) == patch
    assert house.download("ada", thread_id, "bundle")[1].startswith(b"# v2 git bundle")


def test_a_worker_that_dies_in_the_middle_of_a_clone_is_replaced(house: House) -> None:
    ada = house.client("ada")
    thread_id = house.begin(ada, {"gitUrl": house.server.url(), "credential": "robot"})
    (house.deployment.home / "trigger").touch()

    turn_id = start_turn(ada, thread_id, command("cat README"))
    turn = wait_for_end(ada, turn_id, 60)

    assert not (house.deployment.home / "trigger").exists(), "no worker was killed"
    assert turn["status"] == "completed", turn
    items = [item for item in stored_turn(ada, thread_id, turn_id)["items"] if item["type"] == "commandExecution"]
    assert [item["status"] for item in items] == ["failed", "completed", "completed"]
    assert items[-1]["aggregatedOutput"] == "two\n"
    assert not list((house.deployment.home / "workspaces").glob("*/.making*"))
    for worker in house.deployment.workers:
        if not worker.is_running:
            house.deployment.start_worker(worker)


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        ({"gitUrl": "https://example.com/a.git"}, "allowed hosts"),
        ({"gitUrl": "file:///etc"}, "expected https://HOST/PATH"),
        ({"gitUrl": "ext::sh -c id"}, "expected https://HOST/PATH"),
        ({"gitUrl": "--upload-pack=id"}, "expected https://HOST/PATH"),
        ({"gitUrl": "https://ada:secret@github.com/a.git"}, "without user, password"),
        ({"gitUrl": "http://127.0.0.2/a.git", "ref": "--upload-pack=id"}, "not a branch"),
        ({"gitUrl": "http://127.0.0.2/a.git", "credential": "robot"}, "there is none 'robot'"),
        ({"gitUrl": "http://127.0.0.2/a.git", "submodules": True}, "unknown member"),
        ({"archive": "x", "ref": "y"}, "expected gitUrl"),
        ({}, "expected gitUrl"),
        ([], "expected a map"),
    ],
)
def test_what_is_not_allowed_is_refused_before_a_thread_is_made(house: House, workspace: Any, words: str) -> None:
    with pytest.raises(RpcError, match=words) as refused:
        house.begin(house.client("ada"), workspace)

    assert refused.value.code == -32602


def test_a_private_address_is_refused_when_its_host_is_allowed_but_not_as_private(house: House) -> None:
    ada = house.client("ada")

    turn = run_turn(ada, house.begin(ada, {"gitUrl": "http://127.0.0.2/a.git"}), "hello")

    assert turn["status"] == "failed"
    assert "private, local and reserved addresses are refused" in turn["error"]["message"]


def test_a_credential_is_for_those_whom_the_operator_names(house: House) -> None:
    with pytest.raises(RpcError, match="there is none 'robot' for you"):
        house.begin(house.client("bob"), {"gitUrl": house.server.url(), "credential": "robot"})


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_an_uploaded_archive_is_worked_on_forked_and_downloaded_by_its_owner_alone(house: House) -> None:
    ada, bob = house.client("ada"), house.client("bob")
    status, body = house.http("ada", "POST", "/v2/workspace/archive", archive({"a.txt": b"one\n"}))
    assert status == 201
    uploaded = {"archive": json.loads(body)["archive"]}

    with pytest.raises(RpcError) as foreign:
        house.begin(bob, uploaded)
    with pytest.raises(RpcError) as unknown:
        house.begin(bob, {"archive": new_id()})
    thread_id = house.begin(ada, uploaded)
    assert run_turn(ada, thread_id, command("ln -s /etc/passwd out; echo two >> a.txt"))["status"] == "completed"
    fork = ada.request("thread/fork", {"threadId": thread_id})["thread"]["id"]
    turn = run_turn(ada, fork, command("readlink out; cat a.txt"))

    assert foreign.value.code == unknown.value.code
    assert str(foreign.value)[:20] == str(unknown.value)[:20]
    shown = stored_turn(ada, fork, turn["id"])["items"]
    assert "/etc/passwd\none\ntwo\n" in [item.get("aggregatedOutput") for item in shown]
    assert b"+two" in house.download("ada", thread_id)[1]
    with tarfile.open(fileobj=io.BytesIO(house.download("ada", fork, "tar")[1])) as tar:
        assert tar.getmember("./out").linkname == "/etc/passwd"
    assert house.download("ada", fork, "zip")[0] == 400


def test_somebody_elses_workspace_answers_like_an_unknown_one(house: House) -> None:
    ada, bob = house.client("ada"), house.client("bob")
    thread_id = ada.request("thread/start", {})["thread"]["id"]
    assert house.download("ada", thread_id) == (200, b"")
    nobody = new_id()

    answers = [house.download("bob", one) for one in (thread_id, nobody)]
    told = []
    for one in (thread_id, nobody):
        with pytest.raises(RpcError) as refused:
            bob.request("thread/workspace/read", {"threadId": one})
        told.append(str(refused.value).replace(one, ""))

    assert answers[0][0] == answers[1][0] == 404
    assert answers[0][1].replace(thread_id.encode(), b"") == answers[1][1].replace(nobody.encode(), b"")
    assert told[0] == told[1]


def test_an_upload_has_limits_and_leaves_nothing_when_it_is_refused(house: House) -> None:
    too_large = house.http("ada", "POST", "/v2/workspace/archive", bytes(1_000_001))
    empty = house.http("ada", "POST", "/v2/workspace/archive", b"")

    assert (too_large[0], empty[0]) == (400, 400)
    assert b"1000000 bytes" in too_large[1]
    with house.deployment.store.database.read() as connection:
        assert connection.execute(select(archives.c.id)).all() == []


def test_exec_begins_with_an_archive_or_a_clone(house: House, tmp_path: Path) -> None:
    (tmp_path / "code.tgz").write_bytes(archive({"a.txt": b"from the archive\n"}))
    sources = (
        ["--archive", str(tmp_path / "code.tgz"), command("cat a.txt")],
        ["--git", house.server.url(), "--ref", "other", "--credential", "robot", command("cat README")],
    )

    done = [
        subprocess.run(
            [sys.executable, "-P", "-m", "api.cli", "exec", *words],
            env={
                **house.deployment.environ,
                "THREADHOUSE_URL": house.deployment.urls[0],
                "THREADHOUSE_TOKEN": house.keys["ada"],
            },
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for words in sources
    ]

    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert "from the archive" in done[0].stderr
    assert "\none\n" in done[1].stderr
