"""The folder that a thread works in: its path, its environment for the model, its git repository.

Everything in such a folder may be hostile: it is read by `workers.sandbox.files`, and what cannot be read is left out.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from xml.sax.saxutils import escape

from shared.config import Limits
from shared.errors import ToolError
from shared.ids import is_id
from shared.protocol.sandbox_modes import FULL_ACCESS
from shared.protocol.thread import GitInfo
from workers.sandbox import files, names

if TYPE_CHECKING:
    from workers.sandbox.policy import SandboxPolicy

MAX_FILE_BYTES = 1024 * 1024

OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REF = re.compile(r"refs/(?!.*\.\.)[^\0-\x20\x7f~^:?*\[\\]{1,250}")
PLAIN_ADDRESS = re.compile(r"\.{0,2}/.*|[\w.-]+@[\w.-]+:[^@]*")
REMOTE = re.compile(r'\[\s*remote\s+"([^"]*)"\s*\]', re.IGNORECASE)


def workspace_for(workspaces_root: Path, owner: str, thread_id: str) -> Path:
    """Return the thread's own folder, `<root>/<owner>/<thread>`. It is made with mode 0700 when it is missing.

    Errors: ValueError when owner or thread_id is not usable as the name of a folder
    """
    return files.make_private_folder(workspaces_root, *workspace_names(owner, thread_id))


def workspace_names(owner: str, thread_id: str) -> Sequence[str]:
    """Return the names of the thread's own folder below the folder of workspaces. Errors: as of workspace_for."""
    return _own_folder(owner, thread_id).parts


def private_tmp(workspace: Path) -> Path:
    """Return the folder that is /tmp for the commands of a thread: it lasts as long as the thread's own folder."""
    return workspace.with_name(f"{workspace.name}.tmp")


def bounded(policy: SandboxPolicy, limits: Limits, workspaces: Path, workspace: Path | None = None) -> SandboxPolicy:
    """Return the policy with quotas for the disk space of a user's workspaces.

    workspaces: the folder of all of them. workspace: that of one thread. Both are real paths.
    """
    quotas = [(workspaces, limits.workspaces_bytes, limits.workspaces_files)]
    if workspace is not None:
        for folder in (workspace, private_tmp(workspace)):
            quotas.append((folder, limits.workspace_bytes, limits.workspace_files))
    return replace(policy, quotas=tuple(quota for quota in quotas if any(quota[1:])))


def count_files(workspaces_root: Path, owner: str, thread_id: str | None) -> int:
    """Return the number of files and links in the folders of a thread, or in all folders of an owner."""
    return sum(files.count_files(workspaces_root, folder) for folder in _folders_of(workspaces_root, owner, thread_id))


def remove_workspace(workspaces_root: Path, owner: str, thread_id: str | None) -> None:
    """Remove the folders of a thread, or all folders of an owner; harmless when they are gone."""
    for folder in _folders_of(workspaces_root, owner, thread_id):
        files.remove_folder(workspaces_root, folder, recursive=True)


def _folders_of(root: Path, owner: str, thread_id: str | None) -> list[Path]:
    """Return paths below root. The temporary folder of an unfinished workspace has the thread's id in its name, too."""
    own = _own_folder(owner, None)
    if not files.exists(root, own):
        return []
    if thread_id is None:
        return [own]
    return [
        own / name
        for name, found in files.list_folder(root, own, max_entries=sys.maxsize)
        if thread_id in name and stat.S_ISDIR(found.st_mode)
    ]


def _own_folder(owner: str, thread_id: str | None) -> Path:
    if not OWNER.fullmatch(owner) or not (thread_id is None or is_id(thread_id)):
        raise ValueError(f"not usable as the name of a folder: owner {owner!r}, thread {thread_id!r}")
    return Path(owner) if thread_id is None else Path(owner, thread_id)


def environment_context(cwd: Path, sandbox: SandboxPolicy, approval_policy: str, now: datetime) -> str:
    """Return what the model reads about its environment. now: with a time zone.

    Source: PROTOCOL.md 11 (the item with the environment)
    """
    facts = {
        "cwd": escape(str(cwd)),
        "approval_policy": approval_policy,
        "sandbox_mode": sandbox.kind,
        "network_access": "enabled" if sandbox.network_access else "restricted",
        "writable_roots": "".join(f"<root>{escape(str(root))}</root>" for root in sandbox.writable_roots),
        "tmp": _about_tmp(sandbox),
        "shell": "bash",
        "current_date": now.date().isoformat(),
        "timezone": getattr(now.tzinfo, "key", None) or now.tzname() or "UTC",
    }
    lines = [f"  <{name}>{value}</{name}>" for name, value in facts.items() if value]
    return "\n".join(["<environment_context>", *lines, "</environment_context>"])


def _about_tmp(sandbox: SandboxPolicy) -> str:
    if sandbox.private_tmp is None:
        return "each command has its own /tmp, which ends with it" if sandbox.kind != FULL_ACCESS else ""
    named = "/tmp, which is HOME too," if sandbox.readable_roots is not None else "/tmp"
    return f"{named} belongs to this thread and is kept as long as it"


def git_info(cwd: Path, root: Path) -> GitInfo | None:
    """Return the commit, branch and origin of the repository around cwd; each of them, or all, None when unknown.

    root: nothing outside this folder is read, wherever a `.git` file points. git itself is never run, because a
    repository's configuration can name programs to run. originUrl contains no credential.
    """
    project = files.repository(cwd, root)
    if project is None:
        return None
    git = common = project / ".git"
    if (pointer := _read(root, git)) is not None:  # a worktree: "gitdir: path"
        git = common = _joined(project, pointer.removeprefix(b"gitdir:"))
        if (shared := _read(root, git / "commondir")) is not None:
            common = _joined(git, shared)
    head = _text(_read(root, git / "HEAD"))
    if not head:
        return None
    ref = head.removeprefix("ref:").strip()
    if not head.startswith("ref:"):
        return {"sha": _sha(head), "branch": None, "originUrl": _origin_url(root, common)}
    if not REF.fullmatch(ref):
        return None
    sha = _sha(_text(_read(root, git / ref))) or _sha(_text(_read(root, common / ref))) or _packed(root, common, ref)
    return {"sha": sha, "branch": ref.removeprefix("refs/heads/"), "originUrl": _origin_url(root, common)}


def _read(root: Path, path: Path) -> bytes | None:
    try:
        return files.read_bytes(root, path.relative_to(root), MAX_FILE_BYTES)
    except (ToolError, OSError, ValueError):  # ValueError: not below root
        return None


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace").strip()


def _joined(folder: Path, name: bytes) -> Path:
    return Path(os.path.normpath(folder / _text(name)))


def _sha(text: str) -> str | None:
    return text if SHA.fullmatch(text) else None


def _packed(root: Path, common: Path, ref: str) -> str | None:
    for line in _text(_read(root, common / "packed-refs")).split("\n"):
        sha, _, name = line.partition(" ")
        if name.strip() == ref:
            return _sha(sha)
    return None


def _origin_url(root: Path, common: Path) -> str | None:
    section = None
    for line in _text(_read(root, common / "config")).split("\n"):
        line = line.strip()
        if line.startswith("["):
            remote = REMOTE.match(line)
            section = remote[1] if remote else None
        key, equals, value = line.partition("=")
        if section == "origin" and equals and key.strip().lower() == "url":
            return _without_credentials(names.shown(value.strip().strip('"')))
    return None


def _without_credentials(url: str) -> str | None:
    """Return the address without user, password and query. `git@host:path` stays, as its user is not secret."""
    if "://" not in url:
        return url if "@" not in url or PLAIN_ADDRESS.fullmatch(url) else url.rpartition("@")[2]
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
