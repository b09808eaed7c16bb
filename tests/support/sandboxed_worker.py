"""A worker that is not root and runs commands for tests, in real sandboxes, through its tool runner."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.unprivileged import Unprivileged, unprivileged

WORKER = """
import json, sys
from dataclasses import replace
from pathlib import Path
from workers.runner.hardening import disable_inspection
from workers.sandbox import runner
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end

home = Path("home").absolute()
workspace = home / "workspaces/me/thread"
disable_inspection()
runner.connect().close()
print(runner._runner._child.pid, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    policy = SandboxPolicy.from_wire(
        asked["policy"], workspace, hidden=[home], workspace=workspace if asked["hosted"] else None
    )
    policy = replace(policy, quotas=((workspace, *asked["quota"]),))
    argv = ["/bin/bash", "-c", asked["command"]]
    limits = CommandLimits(**asked["limits"])
    process = run_to_end(CommandSpec(argv=argv, cwd=workspace, policy=policy, limits=limits, separate_stderr=True))
    output = process.output.text() + process.stderr.text()
    print(json.dumps([process.exit_code, process.stopped_by, output]), flush=True)
"""


class Backend:
    """A worker, and the files on its host."""

    def __init__(self, someone: Unprivileged, secret: str) -> None:
        self.home = someone.folder / "home"
        self.workspace = self.home / "workspaces/me/thread"
        other = self.home / "workspaces/other/thread"
        for folder in (self.workspace, other):
            folder.mkdir(parents=True)
        for file in (other / "secret", self.home / "config.toml"):
            file.write_text(secret)
        self.someone = someone
        self.give(self.home)
        self.worker = someone.start(WORKER, OPENAI_API_KEY=secret)
        assert self.worker.stdout is not None
        self.runner_pid = int(self.worker.stdout.readline())

    def give(self, folder: Path) -> None:
        """Let a folder and all in it belong to the worker's user."""
        owner = self.someone.folder.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)

    def run(
        self,
        command: str,
        *,
        hosted: bool = True,
        kind: str = "workspaceWrite",
        network: bool = False,
        quota: tuple[int, int] = (0, 0),
        **limits: float,
    ) -> tuple[int, str | None, str]:
        """Return its exit code, what stopped it, and its output and errors."""
        policy: dict[str, Any] = {"type": kind, "networkAccess": network}
        asked = {"command": command, "hosted": hosted, "policy": policy, "limits": limits, "quota": quota}
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        print(json.dumps(asked), file=self.worker.stdin, flush=True)
        exit_code, stopped_by, output = json.loads(self.worker.stdout.readline())
        return exit_code, stopped_by, output


@contextmanager
def backend_of(secret: str = "") -> Iterator[Backend]:
    """Provide a backend. secret: what is in its environment, its configuration and another user's workspace."""
    with unprivileged() as someone:
        backend = Backend(someone, secret)
        try:
            yield backend
        finally:
            backend.worker.kill()
            backend.worker.communicate()
