"""What a command, a patch or a read of one thread may touch.

Protected is the `.git` of a local user's folders, as in the original: its configuration and hooks name programs, which
the user's own git would run outside of any sandbox. In the workspace of a user of a hosted server it is not: nobody
runs git there but sandboxed commands, and agents without a person to ask are to commit.

One table of rules (`SandboxPolicy.rules`) decides both what bubblewrap mounts and what the server's own file access
allows: of the folders that hold a path, the deepest one with a rule counts.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.errors import ToolError
from workers.sandbox import files

Kind = Literal["read-only", "workspace-write", "danger-full-access"]
KINDS: dict[str, Kind] = {
    "readOnly": "read-only",
    "workspaceWrite": "workspace-write",
    "dangerFullAccess": "danger-full-access",
    "externalSandbox": "danger-full-access",  # the client says that something outside of us contains the commands
}
SYSTEM_FOLDERS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix")))
OWN_FOLDERS = tuple(map(Path, ("/dev", "/proc", "/tmp", "/run")))  # a command has its own; /run is full of sockets
RESOLV_CONF = Path("/etc/resolv.conf")  # often a link into /run


class Access(enum.IntEnum):
    HIDDEN = 0
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class SandboxPolicy:
    """All paths are absolute and free of links.

    kind:            "read-only", "workspace-write" or "danger-full-access" (host, network and all; nothing is hidden)
    cwd:             the thread's folder, always visible
    writable_roots:  folders that may be written, with all below
    readable_roots:  None: all of the host may be read; else only these and the system's folders
    quotas:          (folder, most bytes, most files and folders in it; 0: no limit): commands that write end beyond it
    network_access:  whether commands share the host's network
    hidden:          folders of the host that are never visible, save for roots below them
    protected:       what cannot be written, if it is there, though it lies in a writable root
    exclude_slash_tmp: /tmp cannot be written (it is a command's own in any case and ends with it)
    exclude_tmpdir_env_var: no effect, as $TMPDIR of the server never reaches a command; kept for the wire
    """

    kind: Kind
    cwd: Path
    writable_roots: tuple[Path, ...] = ()
    readable_roots: tuple[Path, ...] | None = None
    network_access: bool = False
    hidden: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    quotas: tuple[tuple[Path, int, int], ...] = ()
    exclude_tmpdir_env_var: bool = False
    exclude_slash_tmp: bool = False

    @classmethod
    def from_wire(
        cls, policy: dict[str, Any], cwd: Path, *, hidden: Sequence[Path], workspace: Path | None = None
    ) -> SandboxPolicy:
        """The policy object of PROTOCOL section 4 for a thread that works in cwd.

        workspace: the thread's own folder on a server with users: nothing else of theirs may be named or read, and
                   all of it may be written in workspace-write. None: a local user, who may name any folder.
        Errors:    ToolError for a folder outside of the workspace, or one that is hidden
        """
        kind = KINDS[policy["type"]]
        named = [cwd, *(cwd / root for root in policy.get("writableRoots") or ())]
        own = [] if workspace is None else [workspace]
        real = files.real_paths([*named, *own, *hidden])
        roots, hidden = real[: len(named)], real[len(named) + len(own) :]
        cwd = roots[0]
        readable = None
        if workspace is not None:
            workspace = real[len(named)]
            for root in roots:
                if not root.is_relative_to(workspace):
                    raise ToolError(f"outside of this thread's workspace: {root}")
            # The whole workspace, not folders in it: a command could swap those for links before they are mounted.
            roots = [workspace]
            readable = (workspace,)
        made = cls(
            kind=kind,
            cwd=cwd,
            writable_roots=tuple(dict.fromkeys(roots)) if kind == "workspace-write" else (),
            readable_roots=readable,
            network_access=kind == "danger-full-access" or policy.get("networkAccess") in (True, "enabled"),
            hidden=tuple(hidden),
            protected=tuple(root / ".git" for root in roots) if workspace is None else (),
            exclude_tmpdir_env_var=bool(policy.get("excludeTmpdirEnvVar")),
            exclude_slash_tmp=bool(policy.get("excludeSlashTmp")),
        )
        for root in roots:
            if made.access_real(root) is Access.HIDDEN:
                raise ToolError(f"a folder of the server itself, which no thread may see: {root}")
        return made

    def rules(self) -> dict[Path, Access]:
        """What may be done in each folder that has a rule, outermost first."""
        rules = {Path("/"): Access.READ if self.readable_roots is None else Access.HIDDEN}
        if self.readable_roots is not None:
            rules |= dict.fromkeys(SYSTEM_FOLDERS, Access.READ)
        rules |= dict.fromkeys(OWN_FOLDERS, Access.HIDDEN)
        if self.network_access and RESOLV_CONF.exists():
            rules[Path(os.path.realpath(RESOLV_CONF))] = Access.READ
        rules |= dict.fromkeys(self.readable_roots or (self.cwd,), Access.READ)
        rules |= dict.fromkeys(self.writable_roots, Access.WRITE)
        if self.writable_roots:
            rules |= dict.fromkeys(self.protected, Access.READ)
        rules |= dict.fromkeys(self.hidden, Access.HIDDEN)
        return dict(sorted(rules.items(), key=lambda rule: len(rule[0].parts)))

    def access(self, path: Path) -> Access:
        """What may be done with a path of the host, after following its links."""
        return self.access_real(files.real_path(path))

    def access_real(self, path: Path) -> Access:
        """The same for a path without links."""
        if self.kind == "danger-full-access":
            return Access.WRITE
        rules = self.rules()
        return next(rules[folder] for folder in (path, *path.parents) if folder in rules)

    def may_read(self, path: Path) -> bool:
        return self.access(path) >= Access.READ

    def may_write(self, path: Path) -> bool:
        return self.access(path) is Access.WRITE
