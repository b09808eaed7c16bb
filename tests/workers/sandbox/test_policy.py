"""What the policy objects of the wire allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from workers.sandbox.policy import SandboxPolicy

READ_ONLY: dict[str, Any] = {"type": "readOnly", "networkAccess": False}
WORKSPACE_WRITE: dict[str, Any] = {"type": "workspaceWrite"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a server's folder with two workspaces, and a folder of the user beside it."""
    for folder in ("project/inner", "elsewhere", "home/workspaces/me/thread/inner", "home/workspaces/other/thread"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("wire", "kind", "network", "writes_project", "writes_elsewhere"),
    [
        ({"type": "readOnly"}, "read-only", False, False, False),
        ({"type": "readOnly", "networkAccess": True}, "read-only", True, False, False),
        ({"type": "workspaceWrite"}, "workspace-write", False, True, False),
        ({"type": "workspaceWrite", "writableRoots": ["../elsewhere"]}, "workspace-write", False, True, True),
        ({"type": "dangerFullAccess"}, "danger-full-access", True, True, True),
        ({"type": "externalSandbox", "networkAccess": "restricted"}, "danger-full-access", True, True, True),
    ],
)
def test_each_kind_of_policy_allows_its_own_writes(
    home: Path, wire: dict[str, Any], kind: str, network: bool, writes_project: bool, writes_elsewhere: bool
) -> None:
    policy = SandboxPolicy.from_wire(wire, home.parent / "project", hidden=[home])

    assert policy.kind == kind
    assert policy.network_access is network
    assert policy.may_write(home.parent / "project/inner/new") is writes_project
    assert policy.may_write(home.parent / "elsewhere/new") is writes_elsewhere
    assert policy.may_read(Path("/etc/passwd"))


def test_servers_folder_is_hidden_except_the_threads_own_workspace(home: Path) -> None:
    own = home / "workspaces/me/thread"
    for workspace in (None, own):
        policy = SandboxPolicy.from_wire(WORKSPACE_WRITE, own, hidden=[home], workspace=workspace)

        assert policy.may_write(own / "file")
        assert not policy.may_read(home / "config.toml")
        assert not policy.may_read(home / "workspaces/other/thread/file")


def test_hosted_user_reads_only_the_system_and_the_workspace(home: Path) -> None:
    own = home / "workspaces/me/thread"
    policy = SandboxPolicy.from_wire(READ_ONLY, own / "inner", hidden=[home], workspace=own)

    assert policy.may_read(own / "file")
    assert not policy.may_write(own / "inner/file")
    assert policy.may_read(Path("/usr/bin/env"))
    assert not policy.may_read(home.parent / "project")
    assert not policy.may_read(Path("/root/file"))
    assert not policy.may_read(Path("/proc/self/environ"))


def test_whole_workspace_is_writable_from_a_folder_inside_it(home: Path) -> None:
    own = home / "workspaces/me/thread"
    policy = SandboxPolicy.from_wire(WORKSPACE_WRITE, own / "inner", hidden=[home], workspace=own)

    assert policy.may_write(own / "inner/file")
    assert policy.may_write(own / "file")


def test_links_are_resolved_before_access_is_decided(home: Path) -> None:
    own = home / "workspaces/me/thread"
    (own / "away").symlink_to("../../other/thread")
    policy = SandboxPolicy.from_wire(WORKSPACE_WRITE, own, hidden=[home], workspace=own)

    assert not policy.may_read(own / "away/file")
    assert not policy.may_write(own / "inner/../../../other/thread/file")
    with pytest.raises(ToolError, match="outside of this thread's workspace"):
        SandboxPolicy.from_wire(WORKSPACE_WRITE, own / "away", hidden=[home], workspace=own)


@pytest.mark.parametrize("root", ["../../other/thread", "/etc", "/", "../.."])
def test_hosted_user_cannot_name_a_root_outside_of_the_workspace(home: Path, root: str) -> None:
    own = home / "workspaces/me/thread"
    with pytest.raises(ToolError, match="outside of this thread's workspace"):
        SandboxPolicy.from_wire({**WORKSPACE_WRITE, "writableRoots": [root]}, own, hidden=[home], workspace=own)


def test_servers_folder_cannot_be_a_root(home: Path) -> None:
    with pytest.raises(ToolError, match="belongs to the server itself"):
        SandboxPolicy.from_wire(WORKSPACE_WRITE, home, hidden=[home])
    with pytest.raises(ToolError, match="belongs to the server itself"):
        SandboxPolicy.from_wire(READ_ONLY, home, hidden=[home])


def test_visible_folders_are_read_and_never_written_also_below_hidden_ones(home: Path) -> None:
    own, skills = home / "workspaces/me/thread", home / "workspaces/me/skills"
    for workspace in (None, own):
        policy = SandboxPolicy.from_wire(
            WORKSPACE_WRITE, own, hidden=[home], workspace=workspace, visible=[skills, home, home.parent]
        )

        assert policy.visible == (skills,)  # the others contain what is hidden
        assert policy.may_read(skills / "a/SKILL.md")
        assert not policy.may_write(skills / "a/SKILL.md")
        assert not policy.may_read(home / "config.toml")


def test_a_private_tmp_shows_nothing_that_is_below_tmp() -> None:
    folders = (Path("/tmp/server/skills"), Path("/srv/skills"))
    policy = SandboxPolicy("workspace-write", Path("/srv/work"), visible=folders)
    in_tmp = SandboxPolicy("workspace-write", Path("/tmp/work"), visible=folders)

    private = policy.with_private_tmp(Path("/srv/work.tmp"))

    assert (private.private_tmp, private.visible) == (Path("/srv/work.tmp"), folders[1:])
    assert in_tmp.with_private_tmp(Path("/srv/work.tmp")) == in_tmp
