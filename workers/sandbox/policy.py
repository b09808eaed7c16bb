"""What a command, a patch or a read of one thread may touch.

The `.git` of a local user's folders is protected, as in the original: its configuration and hooks name programs, which
the user's own git would run outside of any sandbox. In the workspace of a user of a hosted server it is not protected:
only sandboxed commands run git there, and agents that have no person to ask must be able to commit.

One table of rules (`SandboxPolicy.rules`) decides both what bubblewrap mounts and what the server's own file access
allows. Of the folders that contain a path, the innermost one with a rule counts.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import ToolError
from shared.protocol.sandbox_modes import FULL_ACCESS, MODE_OF_POLICY_TYPE, WORKSPACE_WRITE, SandboxMode
from workers.sandbox import files, thread_paths
from workers.sandbox.thread_paths import RealPaths

if TYPE_CHECKING:  # the tool runner has nothing but the standard library
    from shared.protocol.settings import SandboxPolicy as WirePolicy

SYSTEM_FOLDERS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix")))
OWN_FOLDERS = tuple(map(Path, ("/dev", "/proc", "/tmp", "/run")))  # a command gets its own; /run is full of sockets
RESOLV_CONF = Path("/etc/resolv.conf")  # often a link into /run
TMP = Path("/tmp")


def named_folders(policy: WirePolicy, cwd: Path) -> list[Path]:
    """Return the folders that a policy object names for a thread that works in cwd, which comes first."""
    return [cwd, *(cwd / root for root in policy.get("writableRoots") or ())]


def is_git_protected(policy: WirePolicy, *, hosted: bool) -> bool:
    """Return whether the `.git` of the folders that may be written must be protected."""
    return not hosted and MODE_OF_POLICY_TYPE[policy["type"]] == WORKSPACE_WRITE


class Access(enum.IntEnum):
    """What may be done with a path; each level includes the ones below it."""

    HIDDEN = 0
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class SandboxPolicy:
    """What may be touched. All paths are absolute and contain no links.

    kind:            "read-only", "workspace-write" or "danger-full-access" (the whole host and network; nothing hidden)
    cwd:             the thread's folder, always visible
    writable_roots:  folders that may be written, with everything below
    readable_roots:  None: the whole host may be read; else only these and the system's folders
    quotas:          (folder, max bytes, max files and folders in it; 0: no limit): commands that may write are ended
                     when the folder exceeds it
    network_access:  whether commands share the host's network
    hidden:          folders of the host that are never visible, except for roots below them
    protected:       paths that cannot be written or made, although they are in a writable root
    visible:         more folders that may be read, also below hidden ones; those that do not exist are left out
    exclude_slash_tmp: /tmp cannot be written
    private_tmp:     the folder of the host that is /tmp in the sandbox, made when it is missing; None: each command has
                     a /tmp of its own in memory, which ends with it
    exclude_tmpdir_env_var: no effect, as $TMPDIR of the server never reaches a command; kept for the wire
    """

    kind: SandboxMode
    cwd: Path
    writable_roots: tuple[Path, ...] = ()
    readable_roots: tuple[Path, ...] | None = None
    network_access: bool = False
    hidden: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    quotas: tuple[tuple[Path, int, int], ...] = ()
    exclude_tmpdir_env_var: bool = False
    exclude_slash_tmp: bool = False
    private_tmp: Path | None = None
    visible: tuple[Path, ...] = ()

    @classmethod
    def from_wire(
        cls,
        policy: WirePolicy,
        cwd: Path,
        *,
        hidden: Sequence[Path],
        workspace: Path | None = None,
        visible: Sequence[Path] = (),
    ) -> SandboxPolicy:
        """Return the policy of a policy object (PROTOCOL section 4) for a thread that works in cwd.

        See from_real_paths. Errors: ToolError
        """
        has_git = is_git_protected(policy, hosted=workspace is not None)
        real = thread_paths.find_real_paths(named_folders(policy, cwd), hidden, git=has_git)
        return cls.from_real_paths(policy, real, workspace=workspace, visible=visible)

    @classmethod
    def from_real_paths(
        cls,
        policy: WirePolicy,
        real: RealPaths,
        *,
        workspace: Path | None = None,
        visible: Sequence[Path] = (),
    ) -> SandboxPolicy:
        """Return the policy of a policy object for a thread that works in the first of the roots.

        real:      of named_folders, and of the folders of the host that are hidden
        workspace: the thread's own folder on a server with users, as workspace_for returned it (it is not resolved
                   again, because it could be a link by now): no other folder of the user may be named or read, and all
                   of it may be written with workspace-write. None: a local user, who may name any folder.
        visible:   as of the policy, real paths; a folder that contains a hidden one is left out
        Errors:    ToolError for a folder outside of the workspace, or one that is hidden
        """
        kind = MODE_OF_POLICY_TYPE[policy["type"]]
        roots, hidden = real.roots, real.others
        cwd = roots[0]
        readable = None
        if workspace is not None:
            for root in roots:
                if not root.is_relative_to(workspace):
                    raise ToolError(f"outside of this thread's workspace: {root}")
            # Mount the whole workspace, not folders in it: a command could replace those by links beforehand.
            roots = [workspace]
            readable = (workspace,)
        made = cls(
            kind=kind,
            cwd=cwd,
            writable_roots=tuple(dict.fromkeys(roots)) if kind == WORKSPACE_WRITE else (),
            readable_roots=readable,
            network_access=kind == FULL_ACCESS or policy.get("networkAccess") in (True, "enabled"),
            hidden=tuple(hidden),
            visible=tuple(one for one in visible if not any(folder.is_relative_to(one) for folder in hidden)),
            exclude_tmpdir_env_var=bool(policy.get("excludeTmpdirEnvVar")),
            exclude_slash_tmp=bool(policy.get("excludeSlashTmp")),
        )
        for root in roots:
            if made.access_real(root) is Access.HIDDEN:
                raise ToolError(f"this folder belongs to the server itself, and no thread may see it: {root}")
        # Protect only what could be written: a rule for a path in a hidden folder would make it visible.
        protected = (path for path in dict.fromkeys(real.git) if made.access_real(path) is Access.WRITE)
        return replace(made, protected=tuple(protected)) if real.git else made

    def with_private_tmp(self, folder: Path) -> SandboxPolicy:
        """Return the policy with a folder as /tmp. Unchanged where the thread works below /tmp itself: mounts there
        need folders in it, which a command could have replaced by links beforehand. For the same reason nothing below
        /tmp is visible then.
        """
        if self.kind == FULL_ACCESS or any(
            _is_below_tmp(path) and access is not Access.HIDDEN and path not in self.visible
            for path, access in self.rules().items()
        ):
            return self
        visible = tuple(path for path in self.visible if not _is_below_tmp(path))
        return replace(self, private_tmp=folder, visible=visible)

    def host_path(self, path: Path) -> Path:
        """Return where a path that a command sees is on the host."""
        if self.private_tmp is None or not path.is_relative_to(TMP):
            return path
        return self.private_tmp / path.relative_to(TMP)

    def rules(self) -> dict[Path, Access]:
        """Return what may be done in each folder that has a rule, outermost first."""
        rules = {Path("/"): Access.READ if self.readable_roots is None else Access.HIDDEN}
        if self.readable_roots is not None:
            rules |= dict.fromkeys(SYSTEM_FOLDERS, Access.READ)
        rules |= dict.fromkeys(OWN_FOLDERS, Access.HIDDEN)
        if self.network_access and RESOLV_CONF.exists():
            rules[Path(os.path.realpath(RESOLV_CONF))] = Access.READ
        rules |= dict.fromkeys(self.visible, Access.READ)
        rules |= dict.fromkeys(self.readable_roots or (self.cwd,), Access.READ)
        rules |= dict.fromkeys(self.writable_roots, Access.WRITE)
        if self.writable_roots:
            rules |= dict.fromkeys(self.protected, Access.READ)
        rules |= dict.fromkeys(self.hidden, Access.HIDDEN)
        if self.private_tmp is not None:
            rules[self.private_tmp] = Access.READ if self.exclude_slash_tmp else Access.WRITE
        return dict(sorted(rules.items(), key=lambda rule: len(rule[0].parts)))

    def access(self, path: Path) -> Access:
        """Return what may be done with a path of the host, after resolving its links."""
        return self.access_real(files.real_path(path))

    def access_real(self, path: Path) -> Access:
        """Return the same for a path without links."""
        if self.kind == FULL_ACCESS:
            return Access.WRITE
        rules = self.rules()
        return next(rules[folder] for folder in (path, *path.parents) if folder in rules)

    def may_read(self, path: Path) -> bool:
        return self.access(path) >= Access.READ

    def may_write(self, path: Path) -> bool:
        """Return whether the server may write a path for the thread; for a local user, no files of repositories."""
        if self.access(path) is not Access.WRITE:
            return False
        return self.kind == FULL_ACCESS or not self.protected or not files.is_in_repository(path)


def _is_below_tmp(path: Path) -> bool:
    return str(path).startswith("/tmp/")
