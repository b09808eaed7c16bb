"""Worker calls: what an owner may name, what is refused, and what is returned."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.errors import NO_FOLDERS, Overloaded, SandboxUnavailable, Unavailable
from shared.event_names import call_channel, worker_channel
from shared.events import worker_calls
from shared.ids import new_id
from shared.store.users import LOCAL_USER
from tests.support.wait import until
from tests.workers.builders import Bench, start
from workers.calls import fs, fuzzy_file_search
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.tasks import run_call

ALICE, BOB = "alice", "bob"
READ_ONLY = {"type": "readOnly"}
WRITES = {"type": "workspaceWrite"}


class CallProbe:
    """A call, and all messages that were published on its channel."""

    def __init__(self, bench: Bench) -> None:
        self.id = new_id()
        self.messages: list[list[Any]] = []
        self._redis = bench.connect()
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(call_channel(self.id))
        assert self._pubsub.get_message(timeout=1) is None  # it is subscribed now

    def read_messages(self) -> list[list[Any]]:
        while (message := self._pubsub.get_message(timeout=0.001)) is not None:
            self.messages.append(orjson.loads(message["data"]))
        return self.messages

    def leave(self) -> None:
        self._pubsub.unsubscribe()

    @property
    def answer(self) -> Any:
        """The result; an error as (name, message)."""
        what, *values = self.read_messages()[-1]
        if what == "stored":
            return orjson.loads(self._redis.get(call_channel(self.id)) or b"")
        return tuple(values) if what == "error" else values[0]


def ask(bench: Bench, kind: str, params: dict[str, Any], owner: str = LOCAL_USER) -> Any:
    asked = CallProbe(bench)
    run_call.run(bench.workers[0], asked.id, kind, params, owner)
    assert asked.messages == []
    return asked.answer


def own_folder(bench: Bench, owner: str) -> Path:
    """Make an owner's folder with a file in it."""
    folder = bench.workers[0].config.server.workspaces_dir / owner / "project"
    folder.mkdir(parents=True)
    (folder / "file").write_text(f"of {owner}")
    return folder


def command(*words: str, **params: Any) -> dict[str, Any]:
    """Return params of command/exec as the API sends them."""
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


def test_local_user_reads_and_writes_wherever_a_thread_could_work(bench: Bench) -> None:
    path = str(bench.cwd / "deep" / "file")

    assert ask(bench, "fs/createDirectory", {"path": str(bench.cwd / "deep"), "recursive": True}) == {}
    assert ask(bench, "fs/writeFile", {"path": path, "data_base64": "aGVsbG8="}) == {}

    assert text_of(ask(bench, "fs/readFile", {"path": path})) == "hello"


def test_missing_path_gives_the_systems_error(bench: Bench) -> None:
    gone = str(bench.cwd / "gone")
    not_there = ("NotFound", "No such file or directory (os error 2)")

    assert ask(bench, "fs/readFile", {"path": gone}) == not_there
    assert ask(bench, "fs/getMetadata", {"path": gone}) == not_there
    assert ask(bench, "fs/remove", {"path": gone, "recursive": True, "force": False}) == not_there
    assert ask(bench, "fs/remove", {"path": gone, "recursive": True, "force": True}) == {}
    assert ask(bench, "fs/writeFile", {"path": f"{gone}/file", "data_base64": ""}) == not_there
    assert ask(bench, "fs/createDirectory", {"path": f"{gone}/new", "recursive": False}) == not_there


@pytest.mark.parametrize(("kind", "params"), EVERY_FS_CALL)
def test_hosted_user_never_leaves_their_own_workspaces(
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

    assert sorted(path.name for path in theirs.iterdir()) == ["file"]
    assert (theirs / "file").read_text() == "of bob"
    assert (bench.cwd / "file").read_text() == "on the host"
    assert text_of(ask(bench, "fs/readFile", {"path": str(mine / "file")}, ALICE)) == "of alice"


@pytest.mark.parametrize(("kind", "params"), EVERY_FS_CALL)
def test_files_of_the_server_itself_are_neither_read_nor_written(
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


def test_folder_that_contains_the_server_is_neither_removed_nor_copied(bench: Bench) -> None:
    above = str(bench.home.parent)

    removed = ask(bench, "fs/remove", {"path": above, "recursive": True, "force": True})
    copied = ask(
        bench, "fs/copy", {"source_path": above, "destination_path": "/var/tmp/threadhouse-copy", "recursive": True}
    )

    assert removed == ("InvalidRequest", f"contains folders of the server itself: {above}")
    assert copied[0] == "InvalidRequest"
    assert bench.home.is_dir()
    assert not Path("/var/tmp/threadhouse-copy").exists()


def test_folder_copy_keeps_links_and_refuses_to_copy_into_itself(bench: Bench) -> None:
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
    assert copy(target)[0] == "InvalidRequest"  # a link is not overwritten


def test_removing_a_link_keeps_its_target(bench: Bench) -> None:
    (bench.cwd / "kept").mkdir()
    (bench.cwd / "link").symlink_to("kept")

    ask(bench, "fs/remove", {"path": str(bench.cwd / "link"), "recursive": True, "force": True})
    error = ask(bench, "fs/remove", {"path": str(bench.cwd), "recursive": False, "force": True})

    assert [path.name for path in bench.cwd.iterdir()] == ["kept"]
    assert error == ("InvalidRequest", "Directory not empty (os error 39)")


def test_metadata_and_entries_distinguish_links_from_their_targets(bench: Bench) -> None:
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


def test_file_is_read_up_to_a_limit_and_a_large_result_is_stored(bench: Bench) -> None:
    data = os.urandom(fs.MAX_FILE_BYTES)
    (bench.cwd / "large").write_bytes(data)
    asked = CallProbe(bench)

    run_call.run(bench.workers[0], asked.id, "fs/readFile", {"path": str(bench.cwd / "large")}, LOCAL_USER)

    assert [message for message in asked.read_messages() if message != ["alive"]][-1] == ["stored"]
    assert base64.b64decode(asked.answer["data_base64"]) == data
    with (bench.cwd / "large").open("ab") as file:
        file.write(b"x")
    assert ask(bench, "fs/readFile", {"path": str(bench.cwd / "large")})[0] == "InvalidRequest"


def test_pinned_folder_that_was_replaced_is_not_followed(tmp_path: Path) -> None:
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


def test_command_of_a_hosted_user_sees_only_their_workspaces(bench: Bench) -> None:
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


def test_read_only_command_writes_nothing(bench: Bench) -> None:
    result = ask(bench, "command/exec", command("touch", "new", cwd=str(bench.cwd), sandbox_policy=READ_ONLY))

    assert result["exit_code"] == 1
    assert "Read-only file system" in result["stderr"]


def test_variables_reach_the_command_but_not_bubblewrap(bench: Bench) -> None:
    library = bench.cwd / "library.so"
    library.write_text("no library")
    env = {"LD_PRELOAD": str(library), "MINE": "a=b", "HOME": None}

    result = ask(bench, "command/exec", command("/bin/sh", "-c", "echo $MINE ${HOME-none}", env=env))

    assert result["stdout"] == "a=b none\n"
    assert "library.so" in result["stderr"]
    assert result["stderr"].count("bwrap") == 0


def test_missing_program_differs_from_a_failing_command(bench: Bench) -> None:
    assert ask(bench, "command/exec", command("true", cwd=str(bench.cwd / "gone")))[0] == "InvalidRequest"
    assert ask(bench, "command/exec", command("no-such-command"))["exit_code"] == 127


def test_command_ends_when_its_caller_no_longer_waits(bench: Bench) -> None:
    asked, worker = CallProbe(bench), bench.workers[0]
    running = start(lambda: run_call.run(worker, asked.id, "command/exec", command("sleep", "600"), LOCAL_USER))
    until(lambda: asked.read_messages())

    asked.leave()

    running.join()


def test_call_without_a_waiting_caller_is_not_run(bench: Bench) -> None:
    params = {"path": str(bench.cwd / "file"), "data_base64": ""}

    run_call.run(bench.workers[0], new_id(), "fs/writeFile", params, LOCAL_USER)

    assert not (bench.cwd / "file").exists()


def test_unconsumed_output_pauses_the_command(bench: Bench) -> None:
    asked, worker = CallProbe(bench), bench.workers[0]
    params = command("head", "-c", "64M", "/dev/zero", stream_output=True, output_bytes_cap=None, timeout_ms=None)
    running = start(lambda: run_call.run(worker, asked.id, "command/exec", params, LOCAL_USER))
    until(lambda: len(asked.read_messages()) >= worker_calls.OUTPUT_WINDOW + 1)

    taken = 0
    while asked.read_messages()[-1][0] != "result":
        outputs = [message for message in asked.messages if message[0] == "output"]
        assert len(outputs) - taken <= worker_calls.OUTPUT_WINDOW
        taken = len(outputs)
        acknowledgement = orjson.dumps([asked.id, worker_calls.CONSUMED, taken])
        bench.connect().publish(worker_channel(worker.name), acknowledgement)
    running.join()

    pieces = [message[1]["delta_base64"] for message in asked.messages if message[0] == "output"]
    bytes_sent = sum(len(base64.b64decode(piece)) for piece in pieces)
    assert bytes_sent == 64 << 20
    assert asked.answer["exit_code"] == 0


def test_calls_of_one_owner_leave_threads_for_others(bench: Bench) -> None:
    worker = bench.workers[0]
    running = []
    with suppress(Overloaded):
        for _ in range(worker.config.server.worker_concurrency):
            call_id = new_id()
            call = RunningCall(call_id, ALICE, worker.calls.answer(call_id))
            worker.calls.enter(call)
            running.append(call)

    assert len(running) == worker.config.server.worker_concurrency // 4
    path = {"path": str(own_folder(bench, ALICE))}
    assert ask(bench, "fs/readDirectory", path, ALICE)[0] == "Overloaded"
    assert "entries" in ask(bench, "fs/readDirectory", {"path": str(own_folder(bench, BOB))}, BOB)

    worker.calls.leave(running[0])
    assert "entries" in ask(bench, "fs/readDirectory", path, ALICE)


def test_internal_error_is_reported_without_details(bench: Bench) -> None:
    assert ask(bench, "fs/readFile", {"no": "path"}) == ("KeyError", "internal error")


# -- searches and differences


def test_search_in_a_repository_skips_ignored_files(bench: Bench) -> None:
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


def test_search_outside_of_a_repository_does_not_follow_links(bench: Bench) -> None:
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
def test_characters_are_matched_in_order_and_close_together(query: str, path: str, indices: list[int] | None) -> None:
    matched = fuzzy_file_search.match(query, path)

    assert (matched.indices if matched else None) == indices


def test_diff_to_remote_has_commits_changes_and_new_files(bench: Bench) -> None:
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


OLD: dict[str, bytes] = {
    "naïve file.txt": b"one\ntwo\n",
    "日本/ファイル": b"a\n",
    'quo"te\t': b"q\n",
    "binary": b"\0\1old",
    "moved": b"".join(b"%d\n" % number for number in range(100)),
    "script": b"#!/bin/sh\n",
    "gone": b"x\n",
    "crlf": b"a\r\nb\r\n",
}
NEW: dict[str, bytes] = {
    "naïve file.txt": b"one\n2\n",
    "日本/ファイル": b"b",
    'quo"te\t': b"r\n",
    "binary": b"\0\1new",
    "moved to ñ": OLD["moved"],
    "script": b"#!/bin/sh\n",
    "crlf": b"a\r\nc\r\n",
    "new ü": b"new\n",
    "new binary": bytes(range(256)),
    "empty": b"",
    "-dash": b"x\n",
}
NOT_UTF8_OLD = {
    "Latin-1": b"caf\xe9\nx\n",
    "late NUL": b"a" * 9000 + b"\nq\0z\n",
    "[x].py": b"\xe9\n",
    "gone too": b"\xff\n",
}
NOT_UTF8_NEW = {
    "Latin-1": b"caf\xe9\ny\n",
    "late NUL": b"a" * 9000 + b"\nq\0z\nk\n",
    "[x].py": b"\xe9\xe8\n",
    "new": b"\xff\n",
}
CHANGES = {"UTF-8": (OLD, NEW), "not UTF-8": ({**OLD, **NOT_UTF8_OLD}, {**NEW, **NOT_UTF8_NEW})}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_git_applies_the_diff_to_remote(bench: Bench, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    remote, work, other = (bench.cwd / name for name in ("remote", "work", "other"))

    def git(*words: str, given: str | None = None) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        data = given and given.encode()
        subprocess.run(
            ["git", *who, *words], cwd=work if work.exists() else "/", check=True, capture_output=True, input=data
        )

    git("init", "-q", "--bare", str(remote))
    git("clone", "-q", str(remote), str(work))
    write_files(work, old)
    git("add", "-A")
    git("commit", "-qm", "first")
    git("push", "-q", "origin", "HEAD")
    for setting in ("diff.noprefix=true", "diff.mnemonicPrefix=true", "core.quotePath=true", "diff.submodule=log"):
        git("config", *setting.split("="))
    for name in old.keys() - new.keys():
        (work / name).unlink()
    git("add", "-A")
    write_files(work, new)
    (work / "script").chmod(0o755)
    (work / "link").symlink_to("script")
    git("add", "moved to ñ")
    git("init", "-q", "nested")
    (work / "nested" / "file").touch()

    diff = ask(bench, "gitDiffToRemote", {"cwd": str(work)})["diff"]

    assert "+++ b/naïve file.txt" in diff
    git("clone", "-q", str(remote), str(other))
    git("-C", str(other), "apply", given=diff)
    found = {str(path.relative_to(other)): path.read_bytes() for path in other.rglob("*") if path.is_file()}
    assert {name: data for name, data in found.items() if not name.startswith(".git/")} == {
        **new,
        "link": new["script"],
    }
    assert (other / "link").is_symlink()
    assert (other / "script").stat().st_mode & 0o777 == 0o755
    assert ("rename from moved" in diff) is (new is NEW)


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def test_only_the_local_user_reads_what_the_operator_must_mend() -> None:
    error = SandboxUnavailable("no runner at /run/runner.sock: start it")

    assert str(run_call.error_for_client(error, LOCAL_USER)) == str(error)
    hosted = run_call.error_for_client(error, "ada")
    assert isinstance(hosted, Unavailable)
    assert str(hosted) == NO_FOLDERS
