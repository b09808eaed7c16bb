"""One container: start, health, exec, kill, stop. runc runs it."""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.image import runtime
from tests.image.compose import Health, Service
from tests.image.images import Image
from tests.image.network import NAME_SERVER, Attached, Networks, run
from tests.image.runtime import Bind
from tests.support.wait import until

EXEC_SECONDS = 120
STARTING_INTERVAL_SECONDS = 1.0  # until the first success; Docker has 5 s by default


@dataclass(frozen=True)
class Place:
    """What all containers of a deployment share. cgroup: parent of theirs."""

    folder: Path
    networks: Networks
    init: Path
    cgroup: str


class Container:
    """A container of a service.

    name:      the service and a number: `api-1`
    hostname:  twelve hexadecimal digits, as Docker gives it
    binds:     what is mounted into it, beside the files that Docker adds
    """

    def __init__(
        self,
        service: Service,
        number: int | str,
        image: Image,
        binds: list[Bind],
        place: Place,
        *,
        command: tuple[str, ...] | None,
    ) -> None:
        self.service = service
        self.name = f"{service.name}-{number}"
        self.hostname = secrets.token_hex(6)
        self.log = place.folder / f"{self.name}.log"
        self.starts = 0
        self._image = image
        self._binds = binds
        self._place = place
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._attached: Attached | None = None
        self._healthy = threading.Event()
        self._ended = threading.Event()

    @property
    def nofile(self) -> int | None:
        """How many files it may open, if the service limits it. Not every machine lets root raise its own limit."""
        return self.service.nofile and min(self.service.nofile, resource.getrlimit(resource.RLIMIT_NOFILE)[1])

    @property
    def address(self) -> str:
        """Its address in its first network."""
        assert self._attached is not None
        return next(iter(self._attached.addresses.values()))

    def start(self) -> None:
        """Start it with fresh files. It may run already when this returns, or have ended."""
        self._healthy, self._ended = threading.Event(), threading.Event()  # an earlier health check may still run
        self.starts += 1
        self._id = f"{self._place.folder.name}-{self.name}-{self.starts}"
        self._attached = self._place.networks.attach(
            self.name, self.service.networks, (self.service.name, self.name, self.hostname)
        )
        bundle = self._bundle(self._attached)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._runc, "run", "--bundle", str(bundle), self._id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if self.service.health is not None:
            threading.Thread(target=self._probe, args=(self.service.health,), daemon=True).start()

    def wait_until_healthy(self, seconds: float) -> None:
        """Return once its health check succeeds. Errors: AssertionError when it has ended or at the deadline."""
        until(lambda: self._healthy.is_set() or self.has_ended(), seconds=seconds)
        assert self._healthy.is_set(), f"{self.name} has ended:\n{self.tail()}"

    def is_healthy(self) -> bool:
        return self._healthy.is_set()

    def wait(self, seconds: float) -> int:
        """Wait for its end. Return its exit code. Errors: subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def is_running(self) -> bool:
        """Return whether its process has started; a program can run in it then."""
        done = subprocess.run([*self._runc, "state", self._id], capture_output=True, text=True, check=False)
        return done.returncode == 0 and json.loads(done.stdout)["status"] == "running"

    def exec(self, *arguments: str) -> str:
        """Run a program in it, as its user. Return what it printed. Errors: AssertionError when it fails."""
        done = self._exec(arguments, EXEC_SECONDS)
        assert done.returncode == 0, f"{self.name}: {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.tail()}"
        return done.stdout

    def problem(self, *arguments: str) -> str | None:
        """Run a program in it. Return None if it succeeds, else what it printed."""
        done = self._exec(arguments, EXEC_SECONDS)
        return None if done.returncode == 0 else done.stdout + done.stderr

    def fails(self, *arguments: str) -> str:
        """Run a program in it that must fail. Return what it printed."""
        problem = self.problem(*arguments)
        assert problem is not None, f"{self.name}: {' '.join(arguments)} succeeded"
        return problem

    def first_pid(self) -> int:
        """Return the process id, outside of it, of its process 1."""
        return int(json.loads(run(*self._runc, "state", self._id))["pid"])

    def kill(self) -> None:
        """End it at once, as `docker kill` does."""
        assert self._process is not None
        run(*self._runc, "kill", self._id, "KILL")
        self._process.wait(EXEC_SECONDS)
        self.remove()

    def stop(self) -> tuple[int, float]:
        """Stop it as Docker does. Return its exit code (137: it had to be killed) and the seconds that it took."""
        assert self._process is not None
        begin = time.monotonic()
        if not self.has_ended():
            run(*self._runc, "kill", self._id, self._image.stop_signal.removeprefix("SIG"))
            try:
                self._process.wait(self.service.grace_seconds)
            except subprocess.TimeoutExpired:
                run(*self._runc, "kill", self._id, "KILL")
                self._process.wait(EXEC_SECONDS)
        took = time.monotonic() - begin
        self.remove()
        return self._process.returncode, took

    def remove(self) -> None:
        """Remove what has ended: its files and its place in the networks."""
        if self._attached is None:
            return
        self._ended.set()
        self._place.networks.detach(self.name)
        run("umount", self._files("root"))
        self._attached = None

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- {self.name}", *text.splitlines()[-lines:]])

    @property
    def _runc(self) -> list[str]:
        return ["runc", "--root", str(self._place.folder / "runc")]

    def _exec(self, arguments: tuple[str, ...], seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._runc, "exec", self._id, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _files(self, name: str) -> Path:
        return self._place.folder / "containers" / f"{self.name}-{self.starts}" / name

    def _bundle(self, attached: Attached) -> Path:
        """Write what runc starts it from: an overlay over the image, and config.json. Return their folder."""
        root, upper, work = (self._files(name) for name in ("root", "upper", "work"))
        for folder in (root, upper, work):
            folder.mkdir(parents=True)
        run(
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={self._image.root},upperdir={upper},workdir={work}",
            root,
        )
        arguments = (
            *(("/sbin/docker-init", "--") if self.service.init else ()),
            *(self.service.entrypoint or self._image.entrypoint),
            *(self._command or self.service.command or self._image.command),
        )
        user = self.service.user or self._image.user
        described = runtime.description(
            self._image,
            runtime.Process(arguments, dict(self.service.environment), user, self.nofile, self.service.memory_bytes),
            self._binds + self._added(attached),
            root=root,
            network=attached.namespace,
            hostname=self.hostname,
            cgroup=f"{self._place.cgroup}/{self.name}-{self.starts}",
            security_opt=self.service.security_opt,
        )
        runtime.write(root.parent, described)
        return root.parent

    def _added(self, attached: Attached) -> list[Bind]:
        """Return the files that Docker adds: the init, and those of the network."""
        texts = {
            "/etc/hosts": f"127.0.0.1 localhost\n{next(iter(attached.addresses.values()))} {self.hostname}\n",
            "/etc/hostname": f"{self.hostname}\n",
            "/etc/resolv.conf": f"nameserver {NAME_SERVER}\noptions ndots:0\n",
        }
        added = [Bind(self._place.init, "/sbin/docker-init", True)] if self.service.init else []
        for target, text in texts.items():
            file = self._files(target.rpartition("/")[2])
            file.write_text(text)
            added.append(Bind(file, target))
        return added

    def _probe(self, health: Health) -> None:
        """Run the health check until the container ends. `retries` failures in a row make it unhealthy."""
        healthy, ended, failures = self._healthy, self._ended, 0
        while not ended.wait(health.interval_seconds if healthy.is_set() else STARTING_INTERVAL_SECONDS):
            try:
                succeeded = self._exec(health.command, health.timeout_seconds).returncode == 0
            except subprocess.TimeoutExpired:
                succeeded = False
            failures = 0 if succeeded else failures + 1
            if succeeded:
                healthy.set()
            elif failures >= health.retries:
                healthy.clear()
