"""Workspaces made from a source: once, completely, by one of several workers, and shown as a command of the turn."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shared.config import Limits
from shared.config.workspaces import GitCredential, GitHost, WorkspaceSettings
from shared.ids import new_id
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from shared.store.workspaces import FAILED, READY
from tests.builders import SilentQueue
from tests.support.git_server import TOKEN, USER, GitServer, git, make_repository
from tests.support.turns import command
from tests.workers.builders import DEADLINE_SECONDS, PROVIDER, Bench, Freeze, start
from tests.workers.tasks.test_run_call import CallProbe
from workers.control import fault_points
from workers.sources import workspace_maker
from workers.tasks import make_workspace, run_call

ALICE = "alice"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    root = tmp_path / "git"
    root.mkdir()
    make_repository(root)
    with GitServer(root) as running:
        yield running


def settings(server: GitServer, *, private: bool = True, http: bool = True, **more: Any) -> WorkspaceSettings:
    credential = GitCredential(server.host, ("*",), USER, "TOKEN", TOKEN)
    hosts = {server.host: GitHost(private, http)}
    return WorkspaceSettings(git_hosts=hosts, credentials={"robot": credential}, **more)


Open = Callable[..., Bench]


def thread_from(bench: Bench, source: dict[str, Any], owner: str = LOCAL_USER) -> Thread:
    """Return a thread whose workspace is made from a source."""
    store, config = bench.workers[0].store, bench.workers[0].config
    from shared.clock import now_ms

    thread_id = new_id()
    times = dict.fromkeys(("created_at_ms", "updated_at_ms", "recency_at_ms", "used_at_ms"), now_ms())
    thread = Thread(
        id=thread_id,
        owner=owner,
        session_id=thread_id,
        source="vscode",
        settings={
            "model": "mock-model",
            "modelProvider": PROVIDER,
            "cwd": str(config.server.workspaces_dir / owner / thread_id),
            "approvalPolicy": "never",
            "approvalsReviewer": "user",
            "sandboxPolicy": {"type": "workspaceWrite"},
            "workspace": True,
        },
        **times,
    )
    store.threads.create(thread, source)
    return thread


def folder(bench: Bench, thread: Thread) -> Path:
    return bench.workers[0].config.server.workspaces_dir / thread.owner / thread.id


def beside(bench: Bench, owner: str = LOCAL_USER) -> list[str]:
    """Return what is left of temporary folders."""
    return [name for name in os.listdir(bench.workers[0].config.server.workspaces_dir / owner) if name.startswith(".")]


def make(bench: Bench, thread: Thread) -> None:
    workspace_maker.make_workspace(bench.workers[0].config, bench.workers[0].store, thread.id, thread.owner)


def upload(bench: Bench, data: bytes, owner: str = LOCAL_USER) -> dict[str, Any]:
    archives = bench.workers[0].store.archives
    archive_id = archives.create(owner)
    for number, at in enumerate(range(0, len(data), 1000)):
        archives.append(archive_id, owner, number, data[at : at + 1000])
    archives.finish(archive_id, owner)
    return {"archive": archive_id}


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(bench: Bench, thread: Thread, format_: str) -> bytes:
    """Return what a download gives. Errors: AssertionError with the error."""
    made = bench.workers[0].store.workspaces.find(thread.id, thread.owner)
    start_tree, base = (made.start_tree, made.base) if made else (None, None)
    asked = CallProbe(bench)
    params = {"thread_id": thread.id, "format": format_, "start_tree": start_tree, "base": base}
    run_call.run(bench.workers[0], asked.id, "thread/workspace/read", params, thread.owner)
    messages = asked.read_messages()
    assert messages[-1][0] == "result", messages[-1]
    outputs = [value for what, *values in messages if what == "output" for value in values]
    return b"".join(base64.b64decode(piece["delta_base64"]) for piece in outputs if piece["stream"] == "stdout")


# -- from git


def test_first_turn_works_in_the_clone_and_shows_the_clone_command(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})

    turn = bench.run_turn(thread, command("cat README; env; cat .git/config; git log --oneline; git status --short"))

    assert turn.status == "completed", turn.error
    cloned, _, shown = [item for item in bench.shown(thread) if item["type"] in ("commandExecution", "userMessage")]
    assert cloned["command"] == f"git clone --depth=50 {server.url()} ."
    assert (cloned["status"], cloned["exitCode"]) == ("completed", 0)
    assert "two\n" in shown["aggregatedOutput"]
    assert " two\n" in shown["aggregatedOutput"]
    assert '[branch "main"]' in shown["aggregatedOutput"]
    at = folder(bench, thread)
    assert (at / "link").is_symlink()
    assert os.access(at / "run.sh", os.X_OK)
    assert beside(bench) == []


def command_lines() -> list[bytes]:
    """Return the command lines of all processes of this host."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            found.append(file.read_bytes())
    return found


def test_token_appears_nowhere(open_bench: Open, server: GitServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})
    freeze = Freeze()
    fault_points.call_at("mid_clone", freeze)

    turn = bench.begin(thread, command("env; cat /proc/self/environ /proc/1/environ; git config --list"))
    running = bench.start_run()
    assert freeze.reached.wait(DEADLINE_SECONDS)
    lines = command_lines()
    freeze.release()
    running.join()

    assert bench.turn(turn).status == "completed"
    secrets = [TOKEN.encode(), base64.b64encode(f"{USER}:{TOKEN}".encode())]
    rows = (bench.home / "threadhouse.sqlite3").read_bytes() + (bench.home / "threadhouse.sqlite3-wal").read_bytes()
    events = repr(bench.events(thread)).encode()
    files = b"".join(file.read_bytes() for file in bench.home.rglob("workspaces/**/*") if file.is_file())
    for secret in secrets:
        assert not any(secret in line for line in lines)
        for output in (rows, events, files, caplog.text.encode()):
            assert secret not in output
    assert b"two" in files


@pytest.mark.parametrize(
    ("ref", "readme", "head"),
    [
        ("main", "two\n", "refs/heads/main"),
        ("other", "one\n", "refs/heads/other"),
        ("refs/heads/other", "one\n", "refs/heads/other"),
        ("v1", "one\n", None),
        ("sha", "one\n", None),
    ],
)
def test_branch_tag_or_commit_is_checked_out(
    open_bench: Open, server: GitServer, ref: str, readme: str, head: str | None
) -> None:
    bench = open_bench(workspaces=settings(server, git_depth=1))
    sha = git(server.root / "project.git", "rev-parse", "other").strip()
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot", "ref": sha if ref == "sha" else ref})

    make(bench, thread)

    at = folder(bench, thread)
    assert (at / "README").read_text() == readme
    named = (at / ".git" / "HEAD").read_text().strip()
    assert named == (f"ref: {head}" if head else sha)
    assert git(at, "status", "--short") == ""
    assert git(at, "fsck") == ""
    found = bench.workers[0].store.workspaces.find(thread.id, LOCAL_USER)
    assert found is not None
    assert (found.state, found.base) == (READY, git(at, "rev-parse", "HEAD").strip())


def refused(bench: Bench, source: dict[str, Any]) -> str:
    """Return why a workspace cannot be made from a source, and check that nothing of it is left."""
    thread = thread_from(bench, source)
    turn = bench.run_turn(thread, "hello")
    assert turn.status == "failed"
    assert turn.error is not None
    found = bench.workers[0].store.workspaces.find(thread.id, LOCAL_USER)
    assert found is not None
    assert found.state == FAILED
    assert not folder(bench, thread).exists()
    assert beside(bench) == []
    return str(turn.error["message"])


def test_worker_refuses_sources_that_the_operator_does_not_allow(open_bench: Open, server: GitServer) -> None:
    named = {"gitUrl": server.url(), "credential": "robot"}

    private = refused(open_bench(workspaces=settings(server, private=False)), named)

    assert "private, local and reserved addresses are refused" in private
    assert server.seen == []


def test_other_hosts_plain_http_and_other_protocols_are_refused(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server, http=False))
    wrong = [server.url(), "https://example.com/a.git", f"file://{server.root}/project.git", "ext::sh -c id", "-uroot"]

    reasons = [refused(bench, {"gitUrl": url}) for url in wrong]

    assert all("allowed hosts" in reason or "expected https://HOST/PATH" in reason for reason in reasons), reasons
    assert server.seen == []


def test_redirect_to_another_host_is_not_followed(open_bench: Open, server: GitServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with GitServer(other) as target:
        server.redirect = f"http://{target.host}"

        reason = refused(open_bench(workspaces=settings(server)), {"gitUrl": server.url(), "credential": "robot"})

    assert "redirects" in reason
    assert target.seen == []


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ({}, {}, "another credential"),
        ({"credential": "robot", "ref": "nowhere"}, {}, "no branch, tag or commit"),
        ({"credential": "robot", "ref": "0" * 40}, {}, "no such branch"),
        ({"credential": "robot"}, {"max_entries": 2}, "would have 4 files"),
        ({"credential": "robot"}, {"max_bytes": 100}, "larger than this server allows"),
        ({"credential": "robot", "ref": "--upload-pack=id"}, {}, "not a branch"),
    ],
)
def test_turn_error_says_why_the_clone_failed(
    open_bench: Open, server: GitServer, source: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    reason = refused(open_bench(workspaces=settings(server, **more)), {"gitUrl": server.url(), **source})

    assert words in reason


def test_missing_repository_is_reported_and_the_next_turn_retries(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url("later.git"), "credential": "robot"})
    first = bench.run_turn(thread, "hello")
    make_repository(server.root, "later.git")

    second = bench.run_turn(thread, "again")

    assert first.error is not None
    assert "no such repository" in first.error["message"]
    assert second.status == "completed"
    assert (folder(bench, thread) / "README").exists()


def test_clone_that_takes_too_long_is_ended(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server, git_seconds=1.0))
    server.serving.clear()

    reason = refused(bench, {"gitUrl": server.url(), "credential": "robot"})

    assert "not done in 1 seconds" in reason


def test_interrupt_ends_a_clone_and_the_next_turn_retries(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})
    server.serving.clear()
    turn = bench.begin(thread, "hello")
    follower = bench.follow(thread)
    running = bench.start_run()
    follower.wait_for("item/started")

    services = bench.workers[0]
    services.store.turns.interrupt(thread.id, LOCAL_USER, None)
    from workers.control.signal import StopReason

    services.running[turn.id].request(StopReason.INTERRUPT)
    running.join()
    server.serving.set()

    assert bench.turn(turn).status == "interrupted"
    clone = bench.shown(thread)[0]
    assert (clone["status"], clone["aggregatedOutput"]) == ("failed", "stopped before it was done\n")
    assert beside(bench) == []
    assert bench.run_turn(thread, "again").status == "completed"
    assert (folder(bench, thread) / "README").exists()


@pytest.mark.parametrize("point", ["mid_clone", "before_placed"])
def test_of_two_workers_one_makes_the_workspace_and_the_other_waits(
    open_bench: Open, server: GitServer, point: str
) -> None:
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})
    freeze = Freeze()
    fault_points.call_at(point, freeze)
    first = start(lambda: make(bench, thread))
    assert freeze.reached.wait(DEADLINE_SECONDS)
    second = start(lambda: make(bench, thread))

    freeze.release()
    first.join()
    second.join()

    assert (folder(bench, thread) / "README").read_text() == "two\n"
    assert len([line for line in server.seen if line.startswith("GET")]) <= 2  # one ls-remote, one fetch


def test_hooks_filters_and_submodules_of_a_repository_are_not_run(open_bench: Open, server: GitServer) -> None:
    work = server.root / "project.git-work"
    (work / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (work / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = http://127.0.0.1:1/x\n')
    sha = git(work, "rev-parse", "HEAD").strip()
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{sha},x")
    git(work, "add", ".gitattributes", ".gitmodules")
    git(work, "commit", "-qm", "three")
    git(work, "push", "-q", str(server.root / "project.git"), "main")
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})

    make(bench, thread)

    at = folder(bench, thread)
    assert (at / "README").read_text() == "two\n"
    assert list((at / "x").iterdir()) == []
    assert not (at / ".git" / "hooks").exists()


# -- from an archive


def test_archive_is_unpacked_once_and_then_deleted(open_bench: Open) -> None:
    bench = open_bench()
    source = upload(bench, tar_of({"a/b.txt": b"hello\n"}))
    thread = thread_from(bench, source)

    turn = bench.run_turn(thread, command("cat a/b.txt"))

    assert turn.status == "completed", turn.error
    assert bench.shown(thread)[-2]["aggregatedOutput"] == "hello\n"
    assert refused(bench, source).endswith("kept for a day")


def test_hostile_archive_is_refused_with_a_reason_and_leaves_nothing(open_bench: Open) -> None:
    bench = open_bench()

    reason = refused(bench, upload(bench, tar_of({"good": b"1", "../evil": b"2"})))

    assert "leads out of the archive: '../evil'" in reason


def test_archive_of_another_user_is_not_found(open_bench: Open) -> None:
    bench = open_bench()
    source = upload(bench, tar_of({"a": b"1"}), ALICE)

    assert "no archive" in refused(bench, source)


def test_existing_files_are_not_overwritten(open_bench: Open) -> None:
    bench = open_bench()
    thread = thread_from(bench, upload(bench, tar_of({"a": b"1"})))
    folder(bench, thread).mkdir(parents=True)
    (folder(bench, thread) / "a").write_text("mine")

    with pytest.raises(workspace_maker.WorkspaceFailed, match="files in the workspace already"):
        make(bench, thread)

    assert (folder(bench, thread) / "a").read_text() == "mine"
    assert beside(bench) == []


# -- from another workspace


def test_copy_keeps_links_and_modes(open_bench: Open) -> None:
    bench = open_bench()
    origin = thread_from(bench, upload(bench, tar_of({"a/b.txt": b"hello\n"})))
    make(bench, origin)
    (folder(bench, origin) / "out").symlink_to("/etc/passwd")
    (folder(bench, origin) / "a" / "b.txt").chmod(0o755)
    fork = thread_from(bench, {"forkOf": origin.id})

    make(bench, fork)

    at = folder(bench, fork)
    assert os.readlink(at / "out") == "/etc/passwd"
    assert (at / "a" / "b.txt").stat().st_mode & 0o777 == 0o755
    assert read(bench, fork, "diff") == b""


def test_copy_has_limits(open_bench: Open) -> None:
    bench = open_bench(workspaces=WorkspaceSettings(max_entries=3))
    origin = thread_from(bench, upload(bench, tar_of({"a": b"1"})))
    make(bench, origin)
    for name in "bcd":
        (folder(bench, origin) / name).touch()

    assert "would have 4 files" in refused(bench, {"forkOf": origin.id})


def test_copy_counts_towards_the_disk_space_of_the_user(open_bench: Open) -> None:
    bench = open_bench(limits=Limits(workspaces_bytes=8 << 20))
    origin = thread_from(bench, upload(bench, tar_of({"a": b"1"}), ALICE), ALICE)
    make(bench, origin)
    (folder(bench, origin) / "noise").write_bytes(os.urandom(48 << 20))  # git needs a while to pack it
    fork = thread_from(bench, {"forkOf": origin.id}, ALICE)

    with pytest.raises(workspace_maker.WorkspaceFailed, match="the limit of its workspace"):
        make(bench, fork)

    assert beside(bench, ALICE) == []


# -- ahead of the first turn


def test_a_user_with_many_forks_does_not_hold_up_the_forks_of_others(open_bench: Open) -> None:
    bench = open_bench()
    services = bench.workers[0]
    first, second, third = (thread_from(bench, upload(bench, tar_of({"a": b"1"}), ALICE), ALICE) for _ in range(3))
    other = thread_from(bench, upload(bench, tar_of({"a": b"1"})))
    freeze = Freeze()
    fault_points.call_at("before_placed", freeze)
    running = start(lambda: make_workspace.run(services, first.id, ALICE))
    assert freeze.reached.wait(DEADLINE_SECONDS)

    for thread in (second, third, other):
        make_workspace.run(services, thread.id, thread.owner)

    assert not folder(bench, second).exists(), "it waits for the user's own first one"
    assert (folder(bench, other) / "a").exists()
    freeze.release()
    running.join()
    assert all((folder(bench, thread) / "a").exists() for thread in (first, second, third))


def test_workspaces_that_wait_in_a_process_that_shuts_down_are_enqueued_again(open_bench: Open) -> None:
    services = open_bench().workers[0]
    queue: Any = SilentQueue()
    services.queue = queue
    for thread_id in ("T1", "T2"):
        services.unmade_workspaces.put(ALICE, thread_id)

    services.drain()

    assert queue.made == [("T1", ALICE), ("T2", ALICE)]
    assert services.unmade_workspaces.take() is None


# -- and out again


def change(at: Path) -> None:
    """Make changes of every kind."""
    (at / "README").write_text("three\n")
    (at / "run.sh").unlink()
    (at / "new folder").mkdir()
    (at / "new folder" / "b\u00e4d name").write_text("new\n")
    (at / "binary").write_bytes(bytes(range(256)) * 4)
    (at / "noise.log").write_text("ignored\n")
    (at / "pointer").symlink_to("/nowhere")


def same_files(left: Path, right: Path) -> bool:
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", "-x", ".git", "-x", "*.log", str(left), str(right)],
        capture_output=True,
        check=False,
    )
    assert not done.stdout, done.stdout
    return done.returncode == 0


@pytest.mark.parametrize("with_git", [True, False], ids=["clone", "archive"])
def test_diff_applied_to_the_start_gives_the_workspace(
    open_bench: Open, server: GitServer, tmp_path: Path, with_git: bool
) -> None:
    bench = open_bench(workspaces=settings(server))
    original = tmp_path / "original"
    git(tmp_path, "clone", "-q", str(server.root / "project.git"), str(original))
    source = {"gitUrl": server.url(), "credential": "robot"}
    if not with_git:
        files = {name: (original / name).read_bytes() for name in ("README", "run.sh", ".gitignore")}
        source = upload(bench, tar_of(files))
        for name in ("link", ".git/HEAD"):
            (original / name).unlink()
        subprocess.run(["chmod", "-x", str(original / "run.sh")], check=True)
        subprocess.run(["rm", "-r", str(original / ".git")], check=True)
        git(original, "init", "-q")
    thread = thread_from(bench, source)
    make(bench, thread)
    assert read(bench, thread, "diff") == b""

    change(folder(bench, thread))
    patch = read(bench, thread, "diff")

    assert b"noise.log" not in patch
    (tmp_path / "patch").write_bytes(patch)
    git(original, "apply", str(tmp_path / "patch"))
    assert same_files(original, folder(bench, thread))


def test_bundle_of_a_clone_has_the_agents_commits_on_top_of_the_start(
    open_bench: Open, server: GitServer, tmp_path: Path
) -> None:
    bench = open_bench(workspaces=settings(server, git_depth=1))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})
    make(bench, thread)
    at = folder(bench, thread)
    (at / "committed").write_text("by the agent\n")
    git(at, "add", "committed")
    git(at, "commit", "-qm", "the agent's")
    change(at)

    (tmp_path / "bundle").write_bytes(read(bench, thread, "bundle"))

    mine = tmp_path / "mine"
    git(tmp_path, "clone", "-q", str(server.root / "project.git"), str(mine))
    git(mine, "fetch", "-q", str(tmp_path / "bundle"), "workspace")
    git(mine, "checkout", "-q", "FETCH_HEAD")
    assert git(mine, "log", "--format=%s").splitlines() == ["workspace", "the agent's", "two", "one"]
    assert same_files(mine, at)


def test_bundle_of_a_workspace_without_git_can_be_cloned(open_bench: Open, tmp_path: Path) -> None:
    bench = open_bench()
    thread = thread_from(bench, upload(bench, tar_of({"README": b"1\n", "run.sh": b"2\n", ".gitignore": b"*.log\n"})))
    make(bench, thread)
    change(folder(bench, thread))

    (tmp_path / "bundle").write_bytes(read(bench, thread, "bundle"))

    git(tmp_path, "clone", "-q", "bundle", "mine")
    assert git(tmp_path / "mine", "log", "--format=%s").splitlines() == ["workspace", "start"]
    assert same_files(tmp_path / "mine", folder(bench, thread))


def test_empty_workspace_has_diff_bundle_and_tar_too(bench: Bench, tmp_path: Path) -> None:
    thread = bench.thread()
    assert read(bench, thread, "diff") == b""
    at = folder(bench, thread)
    (at / "a").write_text("hello\n")
    (at / "nested" / ".git").mkdir(parents=True)
    (at / "nested" / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (at / "nested" / "b").write_text("b\n")

    patch, bundle, tar = (read(bench, thread, format_) for format_ in ("diff", "bundle", "tar"))

    assert b"+++ b/a\n" in patch
    assert b"+++ b/nested/b\n" in patch
    assert bundle.startswith(b"# v2 git bundle\n")
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert {"./a", "./nested/.git/HEAD", "./nested/b"} <= set(opened.getnames())


def test_reading_a_hostile_repository_runs_nothing_of_it(open_bench: Open, server: GitServer) -> None:
    bench = open_bench(workspaces=settings(server))
    thread = thread_from(bench, {"gitUrl": server.url(), "credential": "robot"})
    make(bench, thread)
    at = folder(bench, thread)
    evil = "echo ran >&2; exit 1"
    with (at / ".git" / "config").open("a") as config:
        config.write(f'[core]\n\tfsmonitor = "{evil}"\n\thooksPath = hooks\n\tworktree = /\n')
        config.write(f'[filter "evil"]\n\tclean = "{evil}"\n\trequired = true\n')
        config.write(f'[diff "evil"]\n\ttextconv = "{evil}"\n\tcommand = "{evil}"\n[include]\n\tpath = /dev/zero\n')
    (at / ".gitattributes").write_text("* filter=evil diff=evil text working-tree-encoding=UTF-16\n")
    (at / "README").write_bytes(b"kept\r\n")

    patch = read(bench, thread, "diff")

    assert b"+kept\r\n" in patch
    assert b"-two\n" in patch
    assert b"# v2 git bundle" in read(bench, thread, "bundle")


def test_missing_start_is_reported_and_the_tar_still_works(open_bench: Open) -> None:
    bench = open_bench()
    thread = thread_from(bench, upload(bench, tar_of({"a": b"1"})))
    make(bench, thread)
    subprocess.run(["rm", "-r", f"{folder(bench, thread)}.start"], check=True)

    with pytest.raises(AssertionError, match="ask for format tar"):
        read(bench, thread, "diff")

    assert b"./a" in read(bench, thread, "tar")


def test_threads_cannot_see_the_start_of_any_workspace(open_bench: Open) -> None:
    bench = open_bench()
    thread = thread_from(bench, upload(bench, tar_of({"a": b"1"}), ALICE), ALICE)

    bench.run_turn(thread, command("ls -a .. ../*.start"))

    shown = bench.shown(thread)[-2]["aggregatedOutput"]
    assert f"{thread.id}.start" not in shown.replace("../*.start", "")
