"""The folder of a thread, and what is read from it for the model and for clients."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from workers.sandbox.policy import SandboxPolicy
from workers.workspace.folders import environment_context, git_info, workspace_for

THREAD = "019e3a5c-0000-7000-8000-000000000001"
SHA, OTHER_SHA = "a" * 40, "b" * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "root"
    folder.mkdir()
    return folder


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_threads_folder_is_made_once_with_mode_0700(tmp_path: Path) -> None:
    folder = workspace_for(tmp_path / "workspaces", "local", THREAD)
    (folder / "file").touch()

    assert folder == tmp_path / "workspaces" / "local" / THREAD
    assert workspace_for(tmp_path / "workspaces", "local", THREAD) == folder
    assert (folder / "file").exists()
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3


@pytest.mark.parametrize("owner", ["", ".", "..", "a/b", "../x", "a\0b", "a\n", "x" * 129])
def test_owner_cannot_name_a_folder_elsewhere(tmp_path: Path, owner: str) -> None:
    with pytest.raises(ValueError, match="name of a folder"):
        workspace_for(tmp_path, owner, THREAD)
    with pytest.raises(ValueError, match="name of a folder"):
        workspace_for(tmp_path, "local", f"../{owner}")

    assert list(tmp_path.iterdir()) == []


def test_the_place_of_a_missing_git_folder_is_no_repository(root: Path) -> None:
    write(root / ".git" / "HEAD", "ref: refs/heads/main")
    (root / "a" / ".git").mkdir(parents=True)

    assert git_info(root / "a", root) == git_info(root, root)


def test_environment_has_the_originals_format_and_says_what_becomes_of_tmp(root: Path) -> None:
    cwd = root / "a<b>"
    cwd.mkdir()
    sandbox = SandboxPolicy.from_wire({"type": "workspaceWrite"}, cwd, hidden=[])

    text = environment_context(cwd, sandbox, "on-request", datetime(2026, 11, 22, tzinfo=ZoneInfo("Etc/UTC")))

    assert text == (
        "<environment_context>\n"
        f"  <cwd>{root}/a&lt;b&gt;</cwd>\n"
        "  <approval_policy>on-request</approval_policy>\n"
        "  <sandbox_mode>workspace-write</sandbox_mode>\n"
        "  <network_access>restricted</network_access>\n"
        f"  <writable_roots><root>{root}/a&lt;b&gt;</root></writable_roots>\n"
        "  <tmp>each command has its own /tmp, which ends with it</tmp>\n"
        "  <shell>bash</shell>\n"
        "  <current_date>2026-11-22</current_date>\n"
        "  <timezone>Etc/UTC</timezone>\n"
        "</environment_context>"
    )


def test_environment_without_writable_roots_names_none(root: Path) -> None:
    sandbox = SandboxPolicy.from_wire({"type": "dangerFullAccess"}, root, hidden=[])

    text = environment_context(root, sandbox, "never", datetime(2026, 1, 2, tzinfo=UTC))

    assert "<network_access>enabled</network_access>\n  <shell>" in text
    assert "<timezone>UTC</timezone>" in text


def repository(folder: Path, head: str = "ref: refs/heads/main\n", **files: str) -> None:
    write(folder / ".git" / "HEAD", head)
    for name, text in files.items():
        write(folder / ".git" / name.replace("__", "/").replace("_", "-"), text)


def test_git_info_agrees_with_git(root: Path) -> None:
    def git(*words: str, at: Path = root) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        clean = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", *who, *words], cwd=at, env=clean, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q", "p")
    project = root / "p"
    assert git_info(project, root) == {"sha": None, "branch": "main", "originUrl": None}

    git("commit", "-q", "--allow-empty", "-m", "x", at=project)
    git("remote", "add", "origin", "https://user:password@example.org/o/r.git?token=t#f", at=project)
    sha = git("rev-parse", "HEAD", at=project)
    (project / "sub").mkdir()
    expected = {"sha": sha, "branch": "main", "originUrl": "https://example.org/o/r.git"}
    assert git_info(project / "sub", root) == expected

    git("pack-refs", "--all", at=project)
    assert git_info(project, root) == expected

    git("worktree", "add", "-q", "-b", "feature/x", "../tree", at=project)
    assert git_info(root / "tree", root) == expected | {"branch": "feature/x"}
    assert git_info(root / "tree", root / "tree") is None

    git("checkout", "-q", "--detach", at=project)
    assert git_info(project, root) == expected | {"branch": None}


def test_no_git_info_without_a_repository(root: Path) -> None:
    repository(root.parent)

    assert git_info(root, root) is None


HOSTILE_HEADS = ["", "nonsense", "ref: ../../secret", "ref: refs/heads/../../../secret", "ref: /etc/passwd", "\0" * 50]


@pytest.mark.parametrize("head", HOSTILE_HEADS)
def test_hostile_head_gives_no_git_info(root: Path, head: str) -> None:
    write(root / "secret", OTHER_SHA)
    repository(root / "p", head)

    facts = git_info(root / "p", root)

    assert facts in (None, {"sha": None, "branch": None, "originUrl": None})


def test_git_file_that_points_outside_is_not_followed(root: Path, tmp_path: Path) -> None:
    repository(tmp_path / "victim", SHA)
    write(root / "file" / ".git", f"gitdir: {tmp_path}/victim/.git")
    write(root / "relative" / ".git", "gitdir: ../../victim/.git")
    (root / "link").mkdir()
    (root / "link" / ".git").symlink_to(tmp_path / "victim" / ".git")

    for name in ("file", "relative", "link"):
        assert git_info(root / name, root) is None


ADDRESSES = {
    "https://example.org/r.git": "https://example.org/r.git",
    "https://token@example.org/r.git": "https://example.org/r.git",
    "https://u:p@ss@example.org:8443/r.git": "https://example.org:8443/r.git",
    "https://example.org/r.git?access_token=t": "https://example.org/r.git",
    "ssh://git@example.org/r.git": "ssh://example.org/r.git",
    "git@example.org:o/r.git": "git@example.org:o/r.git",
    "user:password@example.org:o/r.git": "example.org:o/r.git",
    "/srv/git/a@b.git": "/srv/git/a@b.git",
    "../sibling": "../sibling",
    "https://[broken": None,
    "/srv/a\x1b[2J\0b": "/srv/a\ufffd[2J\ufffdb",
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_origin_url_never_contains_a_credential(root: Path, address: str, shown: str | None) -> None:
    others = '[core]\n\turl = no\n[remote "fork"]\n\turl = no\n'
    repository(root, SHA, config=f'{others}[remote "origin"]\n\tfetch = +refs/*:refs/*\n\turl = {address}\n')

    assert git_info(root, root) == {"sha": SHA, "branch": None, "originUrl": shown}
