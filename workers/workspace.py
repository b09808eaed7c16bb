"""The folder a thread works in: where it is, what it tells the model, what is known of its repository.

Everything in such a folder may be hostile: it is read by `workers.sandbox.files`, and what cannot be read is left out.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from xml.sax.saxutils import escape

from shared.config import Limits
from shared.errors import ToolError
from shared.ids import is_id
from workers.sandbox import files

if TYPE_CHECKING:
    from workers.sandbox.policy import SandboxPolicy

INSTRUCTION_FILES = ("AGENTS.override.md", "AGENTS.md")  # of each folder the first that says something
MAX_INSTRUCTIONS_BYTES = 32 * 1024  # all files of a thread together
MAX_FILE_BYTES = 1024 * 1024

OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REF = re.compile(r"refs/(?!.*\.\.)[^\0-\x20\x7f~^:?*\[\\]{1,250}")
PLAIN_ADDRESS = re.compile(r"\.{0,2}/.*|[\w.-]+@[\w.-]+:[^@]*")
REMOTE = re.compile(r'\[\s*remote\s+"([^"]*)"\s*\]', re.IGNORECASE)


def workspace_for(workspaces_root: Path, owner: str, thread_id: str) -> Path:
    """The thread's own folder, `<root>/<owner>/<thread>`, made with mode 0700 when it is not there.

    Errors: ValueError when owner or thread_id cannot be the name of a folder
    """
    own = _own_folder(owner, thread_id)
    return files.make_private_folder(workspaces_root, *own.parts)


def bounded(policy: SandboxPolicy, limits: Limits, workspaces: Path, workspace: Path | None = None) -> SandboxPolicy:
    """The policy with the room that a user's workspaces may take. workspaces: all of them; both are real paths."""
    quotas = [(workspaces, limits.workspaces_bytes, limits.workspaces_files)]
    if workspace is not None:
        quotas.append((workspace, limits.workspace_bytes, limits.workspace_files))
    return replace(policy, quotas=tuple(one for one in quotas if any(one[1:])))


def count_files(workspaces_root: Path, owner: str, thread_id: str | None) -> int:
    """How many files and links lie in the folders that a thread has, or in all of an owner's."""
    return sum(_count(workspaces_root, folder) for folder in _folders_of(workspaces_root, owner, thread_id))


def remove_workspace(workspaces_root: Path, owner: str, thread_id: str | None) -> None:
    """Remove the folders that a thread has, or all of an owner's; harmless when they are gone."""
    for folder in _folders_of(workspaces_root, owner, thread_id):
        files.remove_folder(workspaces_root, folder, recursive=True)


def _folders_of(root: Path, owner: str, thread_id: str | None) -> list[Path]:
    """As paths below root. A workspace that was still being made has the thread's id in its name, too."""
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
        raise ValueError(f"no folder can be named by owner {owner!r}, thread {thread_id!r}")
    return Path(owner) if thread_id is None else Path(owner, thread_id)


def _count(root: Path, folder: Path) -> int:
    entries = files.list_folder(root, folder, max_entries=sys.maxsize, follow_links=False)
    return sum(_count(root, folder / name) if stat.S_ISDIR(found.st_mode) else 1 for name, found in entries)


def instructions(cwd: Path, root: Path) -> list[tuple[Path, str]]:
    """(path, text) of the AGENTS.md files that hold for cwd, outermost first: from the project's root down to cwd.

    root: nothing above this folder is looked at; the project's root is the nearest folder with `.git`, else cwd
    """
    project = _repository(cwd, root) or cwd
    found = []
    left = MAX_INSTRUCTIONS_BYTES
    for folder in reversed([cwd, *cwd.parents][: len(cwd.relative_to(project).parts) + 1]):
        for name in INSTRUCTION_FILES:
            path = folder / name
            if text := _text(_read(project, path)):
                data = text.encode()[:left]
                left -= len(data)
                if data:
                    found.append((path, data.decode(errors="ignore")))
                break
    return found


def environment_context(cwd: Path, sandbox: SandboxPolicy, approval_policy: str, now: datetime) -> str:
    """What the model is told about where it works; `now` carries the time zone.

    Source: PROTOCOL.md 11 (the item with the environment)
    """
    facts = {
        "cwd": escape(str(cwd)),
        "approval_policy": approval_policy,
        "sandbox_mode": sandbox.kind,
        "network_access": "enabled" if sandbox.network_access else "restricted",
        "writable_roots": "".join(f"<root>{escape(str(root))}</root>" for root in sandbox.writable_roots),
        "shell": "bash",
        "current_date": now.date().isoformat(),
        "timezone": getattr(now.tzinfo, "key", None) or now.tzname() or "UTC",
    }
    lines = [f"  <{name}>{value}</{name}>" for name, value in facts.items() if value]
    return "\n".join(["<environment_context>", *lines, "</environment_context>"])


def git_info(cwd: Path, root: Path) -> dict[str, str | None] | None:
    """{sha, branch, originUrl} of the repository around cwd, each or all of it None when unknown.

    root: nothing outside this folder is read, wherever a `.git` file points. git itself is never run: a repository's
    configuration can name programs. originUrl carries no credential.
    """
    project = _repository(cwd, root)
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


def _repository(cwd: Path, root: Path) -> Path | None:
    """The nearest folder from cwd up to root that holds `.git`."""
    for folder in (cwd, *cwd.parents):
        if not folder.is_relative_to(root):
            return None
        try:
            if files.exists(root, (folder / ".git").relative_to(root)):
                return folder
        except (ToolError, OSError):
            return None
    return None


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
            return _without_credentials(value.strip().strip('"'))
    return None


def _without_credentials(url: str) -> str | None:
    """The address alone: no user and password, no query. `git@host:path` stays, its user is no secret."""
    if "://" not in url:
        return url if "@" not in url or PLAIN_ADDRESS.fullmatch(url) else url.rpartition("@")[2]
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
