"""Calls on a worker: what an owner may name, what is refused, what comes back."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared import calls
from shared.ids import new_id
from shared.store.users import LOCAL_USER
from tests.support.wait import until
from tests.workers.builders import Bench, start
from workers.calls import fs, fuzzy_file_search
from workers.calls.running import MAX_CALLS_OF_OWNER, RunningCall
from workers.sandbox import files
from workers.tasks import run_call

ALICE, BOB = "alice", "bob"
READ_ONLY = {"type": "readOnly"}
WRITES = {"type": "workspaceWrite"}


class Asked:
    """A call, and all that came back over its channel."""

    def __init__(self, bench: Bench) -> None:
        self.id = new_id()
        self.messages: list[list[Any]] = []
        self._redis = bench.connect()
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(calls.call_channel(self.id))
        assert self._pubsub.get_message(timeout=1) is None  # it is subscribed now

    def hear(self) -> list[list[Any]]:
        while (message := self._pubsub.get_message(timeout=0.001)) is not None:
            self.messages.append(orjson.loads(message["data"]))
        return self.messages

    def leave(self) -> None:
        self._pubsub.unsubscribe()

    @property
    def answer(self) -> Any:
        """The result; an error as (name, message)."""
        what, *values = self.hear()[-1]
        if what == "stored":
            return orjson.loads(self._redis.get(calls.call_channel(self.id)) or b"")
        return tuple(values) if what == "error" else values[0]


def ask(bench: Bench, kind: str, params: dict[str, Any], owner: str = LOCAL_USER) -> Any:
    asked = Asked(bench)
    run_call.run(bench.workers[0], asked.id, kind, params, owner)
    assert asked.messages == []
    return asked.answer


def own_folder(bench: Bench, owner: str) -> Path:
    """With a file in it."""
    folder = bench.workers[0].config.server.workspaces_dir / owner / "project"
    folder.mkdir(parents=True)
    (folder / "file").write_text(f"of {owner}")
    return folder


def command(*words: str, **params: Any) -> dict[str, Any]:
    """Params of command/exec as the API sends them."""
    names = ("tty", "stream_stdin", "stream_output")
    asked = {"cwd": None, "env": {}, "sandbox_policy": WRITES, "timeout_ms": 20_000, "size": None}
    return {"command": list(words), **asked, "output_bytes_cap": 1 << 20, **dict.fromkeys(names, False), **params}


def text_of(answer: Any) -> str:
    return base64.b64decode(answer["data_base64"]).decode()


EVERY_FS_CALL: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("fs/readFile", lambda path: {"path": path}),
    ("fs/writeFile", lambda path: {"path": path, "data_base64": "aGFja2Vk"}),
    ("fs/createDirectory", lambda path: {"path": f"{path}/new", "recursive": True}),
    ("fs/createDirectory", lambda path: {"path": f"{path}/new", "recursive": False}),
    ("fs/readDirectory", lambda path: {"path": path}),
    ("fs/remove", lambda path: {"path": path, "recursive": True, "force": False}),
    ("fs/copy", lambda path: {"source_path": path, "destination_path": f"{path}2", "recursive": True}),
]


def test_the_local_user_reads_and_writes_wherever_a_thread_of_theirs_could_work(bench: Bench) -> None:
    path = str(bench.cwd / "deep" / "file")

    assert ask(bench, "fs/createDirectory", {"path": str(bench.cwd / "deep"), "recursive": True}) == {}
    assert ask(bench, "fs/writeFile", {"path": path, "data_base64": "aGVsbG8="}) == {}

    assert text_of(ask(bench, "fs/readFile", {"path": path})) == "hello"


def test_a_path_that_is_not_there_is_told_in_the_words_of_the_system(bench: Bench) -> None:
    gone = str(bench.cwd / "gone")
    not_there = ("NotFound", "No such file or directory (os error 2)")

    assert ask(bench, "fs/readFile", {"path": gone}) == not_there
    assert ask(bench, "fs/getMetadata", {"path": gone}) == not_there
    assert ask(bench, "fs/remove", {"path": gone, "recursive": True, "force": False}) == not_there
    assert ask(bench, "fs/remove", {"path": gone, "recursive": True, "force": True}) == {}
    assert ask(bench, "fs/writeFile", {"path": f"{gone}/file", "data_base64": ""}) == not_there
    assert ask(bench, "fs/createDirectory", {"path": f"{gone}/new", "recursive": False}) == not_there


@pytest.mark.parametrize(("kind", "params"), EVERY_FS_CALL)
def test_a_user_with_a_key_never_leaves_their_own_workspaces(
    bench: Bench, kind: str, params: Callable[[str], dict[str, Any]]
) -> None:
    theirs, mine = own_folder(bench, BOB), own_folder(bench, ALICE)
    (mine / "link").symlink_to(theirs)
    (mine / "up").symlink_to("../../bob/project")
    (mine / "system").symlink_to("/etc/passwd")
    (bench.cwd / "file").write_text("on the host")

    for path in (
        theirs / "file",
        f"{mine}/../../{BOB}/project/file",
        mine / "link" / "file",
        mine / "up" / "file",
        bench.cwd / "file",
        bench.home / "threadhouse.sqlite3",
        "/etc/passwd",
        "/proc/self/environ",
    ):
        name, _ = ask(bench, kind, params(str(path)), ALICE)
        assert name in ("InvalidRequest", "NotFound"), path

    assert sorted(one.name for one in theirs.iterdir()) == ["file"]
    assert (theirs / "file").read_text() == "of bob"
    assert (bench.cwd / "file").read_text() == "on the host"
    assert text_of(ask(bench, "fs/readFile", {"path": str(mine / "file")}, ALICE)) == "of alice"


@pytest.mark.parametrize(("kind", "params"), EVERY_FS_CALL)
def test_nothing_of_the_server_itself_is_read_or_written(
    bench: Bench, kind: str, params: Callable[[str], dict[str, Any]]
) -> None:
    secret = bench.home / "config.toml"
    secret.write_text("secret")
    (bench.cwd / "link").symlink_to(bench.home)
    (bench.cwd / "file").symlink_to(secret)
    others = own_folder(bench, BOB)

    for path in (secret, bench.cwd / "link" / "config.toml", others / "file", "/proc/self/environ"):
        assert ask(bench, kind, params(str(path)))[0] == "InvalidRequest", path
    for path in (bench.cwd / "file", bench.home, bench.home.parent):
        answer = ask(bench, kind, params(str(path)))
        assert "c2VjcmV0" not in str(answer)

    assert secret.read_text() == "secret"
    assert (others / "file").read_text() == "of bob"


def test_a_tree_that_holds_the_server_is_neither_removed_nor_copied(bench: Bench) -> None:
    above = str(bench.home.parent)

    removed = ask(bench, "fs/remove", {"path": above, "recursive": True, "force": True})
    copied = ask(
        bench, "fs/copy", {"source_path": above, "destination_path": "/var/tmp/threadhouse-copy", "recursive": True}
    )

    assert removed == ("InvalidRequest", f"holds folders of the server itself: {above}")
    assert copied[0] == "InvalidRequest"
    assert bench.home.is_dir()
    assert not Path("/var/tmp/threadhouse-copy").exists()


def test_a_folder_is_copied_with_links_as_links_and_not_into_itself(bench: Bench) -> None:
    source = bench.cwd / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "run").write_text("#!/bin/sh")
    (source / "inner" / "run").chmod(0o755)
    (source / "link").symlink_to("inner/run")

    def copy(to: Path, recursive: bool = True) -> Any:
        params = {"source_path": str(source), "destination_path": str(to), "recursive": recursive}
        return ask(bench, "fs/copy", params)

    assert copy(bench.cwd / "target") == {}
    assert "requires recursive" in copy(bench.cwd / "other", recursive=False)[1]
    assert "itself or one of its descendants" in copy(source / "inner" / "again")[1]

    target = bench.cwd / "target"
    assert os.readlink(target / "link") == "inner/run"
    assert (target / "inner" / "run").stat().st_mode & 0o777 == 0o755
    assert (target / "inner" / "run").read_text() == "#!/bin/sh"
    assert copy(target)[0] == "InvalidRequest"  # a link is not written over


def test_removing_a_link_leaves_what_it_leads_to(bench: Bench) -> None:
    (bench.cwd / "kept").mkdir()
    (bench.cwd / "link").symlink_to("kept")

    ask(bench, "fs/remove", {"path": str(bench.cwd / "link"), "recursive": True, "force": True})
    held = ask(bench, "fs/remove", {"path": str(bench.cwd), "recursive": False, "force": True})

    assert [one.name for one in bench.cwd.iterdir()] == ["kept"]
    assert held == ("InvalidRequest", "Directory not empty (os error 39)")


def test_metadata_and_entries_tell_links_from_what_they_lead_to(bench: Bench) -> None:
    (bench.cwd / "folder").mkdir()
    (bench.cwd / "link").symlink_to("folder")
    (bench.cwd / "broken").symlink_to("nowhere")
    (bench.cwd / "secret").symlink_to(bench.home)
    os.mkfifo(bench.cwd / "fifo")

    def kind(name: str) -> tuple[bool, bool, bool]:
        found = ask(bench, "fs/getMetadata", {"path": str(bench.cwd / name)})
        return found["is_directory"], found["is_file"], found["is_symlink"]

    assert kind("folder") == (True, False, False)
    assert kind("link") == (True, False, True)
    assert kind("broken") == kind("secret") == (False, False, True)
    assert kind("fifo") == (False, False, False)
    entries = ask(bench, "fs/readDirectory", {"path": str(bench.cwd)})["entries"]
    assert [(one["file_name"], one["is_directory"]) for one in entries] == [
        ("broken", False),
        ("fifo", False),
        ("folder", True),
        ("link", True),
        ("secret", False),
    ]
    assert ask(bench, "fs/readFile", {"path": str(bench.cwd / "fifo")})[0] == "InvalidRequest"


def test_a_file_is_read_up_to_a_limit_and_a_large_result_is_fetched(bench: Bench) -> None:
    data = os.urandom(fs.MAX_FILE_BYTES)
    (bench.cwd / "large").write_bytes(data)
    asked = Asked(bench)

    run_call.run(bench.workers[0], asked.id, "fs/readFile", {"path": str(bench.cwd / "large")}, LOCAL_USER)

    assert asked.hear()[-1] == ["stored"]
    assert base64.b64decode(asked.answer["data_base64"]) == data
    with (bench.cwd / "large").open("ab") as file:
        file.write(b"x")
    assert ask(bench, "fs/readFile", {"path": str(bench.cwd / "large")})[0] == "InvalidRequest"


def test_a_pinned_folder_is_not_followed_to_what_took_its_place(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")

    with files.pinned(tmp_path / "work") as root:
        (tmp_path / "work").rename(tmp_path / "moved")
        (tmp_path / "work").symlink_to("secret")
        with pytest.raises(OSError, match="symbolic links"):
            files.exists(root, "file")
    with pytest.raises(OSError, match="symbolic links"), files.pinned(tmp_path / "work"):
        pass


# -- commands


def test_a_command_of_a_user_with_a_key_sees_their_workspaces_alone(bench: Bench) -> None:
    theirs, mine = own_folder(bench, BOB), own_folder(bench, ALICE)
    script = f"cat {mine}/file {theirs}/file {bench.home}/threadhouse.sqlite3; echo new > made; env"

    result = ask(bench, "command/exec", command("/bin/sh", "-c", script, cwd=str(mine)), ALICE)

    assert result["stdout"].startswith("of alice")
    assert result["stderr"].count("No such file") == 2
    assert "REDIS" not in result["stdout"]
    assert (mine / "made").read_text() == "new\n"
    outside = ask(bench, "command/exec", command("true", cwd=str(theirs)), ALICE)
    assert outside[0] == "InvalidRequest"
    rooted = {"type": "workspaceWrite", "writableRoots": [str(theirs)]}
    assert ask(bench, "command/exec", command("true", sandbox_policy=rooted), ALICE)[0] == "InvalidRequest"


def test_a_command_under_a_policy_that_reads_only_writes_nothing(bench: Bench) -> None:
    result = ask(bench, "command/exec", command("touch", "new", cwd=str(bench.cwd), sandbox_policy=READ_ONLY))

    assert result["exit_code"] == 1
    assert "Read-only file system" in result["stderr"]


def test_variables_reach_the_command_and_never_what_contains_it(bench: Bench) -> None:
    library = bench.cwd / "library.so"
    library.write_text("no library")
    env = {"LD_PRELOAD": str(library), "MINE": "a=b", "HOME": None}

    result = ask(bench, "command/exec", command("/bin/sh", "-c", "echo $MINE ${HOME-none}", env=env))

    assert result["stdout"] == "a=b none\n"
    assert "library.so" in result["stderr"]
    assert result["stderr"].count("bwrap") == 0


def test_a_command_that_cannot_be_started_is_told_apart_from_one_that_fails(bench: Bench) -> None:
    assert ask(bench, "command/exec", command("true", cwd=str(bench.cwd / "gone")))[0] == "InvalidRequest"
    assert ask(bench, "command/exec", command("no-such-command"))["exit_code"] == 127


def test_a_command_that_nobody_waits_for_any_more_is_ended(bench: Bench) -> None:
    asked, worker = Asked(bench), bench.workers[0]
    running = start(lambda: run_call.run(worker, asked.id, "command/exec", command("sleep", "600"), LOCAL_USER))
    until(lambda: asked.hear())

    asked.leave()

    running.join()


def test_a_call_that_nobody_waits_for_is_not_begun(bench: Bench) -> None:
    params = {"path": str(bench.cwd / "file"), "data_base64": ""}

    run_call.run(bench.workers[0], new_id(), "fs/writeFile", params, LOCAL_USER)

    assert not (bench.cwd / "file").exists()


def test_output_that_is_not_taken_holds_the_command_up(bench: Bench) -> None:
    asked, worker = Asked(bench), bench.workers[0]
    params = command("head", "-c", "64M", "/dev/zero", stream_output=True, output_bytes_cap=None, timeout_ms=None)
    running = start(lambda: run_call.run(worker, asked.id, "command/exec", params, LOCAL_USER))
    until(lambda: len(asked.hear()) >= calls.OUTPUT_WINDOW + 1)

    taken = 0
    while asked.hear()[-1][0] != "result":
        outputs = [message for message in asked.messages if message[0] == "output"]
        assert len(outputs) - taken <= calls.OUTPUT_WINDOW
        taken = len(outputs)
        told = orjson.dumps([asked.id, calls.TAKEN, taken])
        bench.connect().publish(calls.worker_channel(worker.name), told)
    running.join()

    pieces = [message[1]["delta_base64"] for message in asked.messages if message[0] == "output"]
    bytes_sent = sum(len(base64.b64decode(piece)) for piece in pieces)
    assert bytes_sent == 64 << 20
    assert asked.answer["exit_code"] == 0


def test_one_owner_does_not_take_all_threads_of_a_worker(bench: Bench) -> None:
    worker = bench.workers[0]
    for _ in range(MAX_CALLS_OF_OWNER):
        call_id = new_id()
        worker.calls.enter(RunningCall(call_id, ALICE, worker.calls.answer(call_id)))

    assert ask(bench, "fs/readDirectory", {"path": str(own_folder(bench, ALICE))}, ALICE)[0] == "Overloaded"
    assert "entries" in ask(bench, "fs/readDirectory", {"path": str(own_folder(bench, BOB))}, BOB)


def test_a_fault_of_ours_is_told_without_its_details(bench: Bench) -> None:
    assert ask(bench, "fs/readFile", {"no": "path"}) == ("KeyError", "internal error")


# -- searches and differences


def test_a_search_in_a_repository_heeds_what_git_ignores(bench: Bench) -> None:
    subprocess.run(["git", "init", "-q", str(bench.cwd)], check=True)
    (bench.cwd / ".gitignore").write_text("built/\n")
    for name in ("src/main.py", "built/main.py", "docs/domain.md"):
        (bench.cwd / name).parent.mkdir(exist_ok=True)
        (bench.cwd / name).touch()

    found = ask(bench, "fuzzyFileSearch", {"query": "main", "roots": [str(bench.cwd)]})["files"]

    assert [one["path"] for one in found] == ["src/main.py", "docs/domain.md"]
    assert found[0] == {
        "root": str(bench.cwd),
        "path": "src/main.py",
        "match_type": "file",
        "file_name": "main.py",
        "score": found[0]["score"],
        "indices": [4, 5, 6, 7],
    }


def test_a_search_outside_of_a_repository_walks_and_follows_no_links(bench: Bench) -> None:
    (bench.cwd / "alpha").mkdir()
    (bench.cwd / "alpha" / "beta.txt").touch()
    (bench.cwd / "alpha" / "round").symlink_to(bench.cwd)
    (bench.cwd / "node_modules").mkdir()
    (bench.cwd / "node_modules" / "alpha.js").touch()

    found = ask(bench, "fuzzyFileSearch", {"query": "alp", "roots": [str(bench.cwd)]})["files"]

    assert [(one["path"], one["match_type"]) for one in found] == [
        ("alpha", "directory"),
        ("alpha/round", "file"),
        ("alpha/beta.txt", "file"),
    ]


@pytest.mark.parametrize(
    ("query", "path", "indices"),
    [
        ("mp", "main.py", [0, 5]),
        ("MP", "main.py", None),
        ("MP", "MyPath", [0, 2]),
        ("mp", "MyPath", [0, 2]),
        ("b", "a/b/c", [2]),
        ("abc", "a/xb/cabc", [6, 7, 8]),
        ("abc", "a1b2abx/c", [4, 5, 8]),
        ("ba", "abc", None),
        ("i", "İi", None),
    ],
)
def test_letters_are_found_in_their_order_and_close_together(query: str, path: str, indices: list[int] | None) -> None:
    matched = fuzzy_file_search.match(query, path)

    assert (matched.indices if matched else None) == indices


def test_the_difference_to_the_remote_has_commits_changes_and_new_files(bench: Bench) -> None:
    remote, work = bench.cwd / "remote", bench.cwd / "work"

    def git(*words: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", "-C", str(work), *who, *words], check=True, capture_output=True, text=True).stdout

    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    subprocess.run(["git", "clone", "-q", str(remote), str(work)], check=True, capture_output=True)
    (work / "old").write_text("one\n")
    git("add", "old")
    git("commit", "-qm", "first")
    git("push", "-q", "origin", "HEAD")
    pushed = git("rev-parse", "HEAD").strip()
    (work / "old").write_text("two\n")
    git("commit", "-qam", "second")
    (work / "new").write_text("three\n")
    git("config", "diff.external", "touch escaped")
    git("config", "core.fsmonitor", "touch escaped")

    result = ask(bench, "gitDiffToRemote", {"cwd": str(work)})

    assert result["sha"] == pushed
    assert "-one\n+two\n" in result["diff"]
    assert "+++ b/new" in result["diff"]
    assert not (work / "escaped").exists()
    assert ask(bench, "gitDiffToRemote", {"cwd": str(remote.parent)})[0] == "InvalidRequest"
