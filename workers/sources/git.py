"""What git fetches, with the operator's credential: on the worker, outside of every workspace, and nothing is run.

The repository that it makes is bare, empty of hooks and configuration, and gone when its objects are in the sandbox,
where the checkout happens. The token is in git's environment only: in no file, no command line and no message.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import signal as signals
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.addresses import check_address
from shared.errors import InvalidRequest, Unavailable
from shared.workspaces import GitSource
from workers.agent.signal import Signal
from workers.agent.stops import raise_if_called
from workers.sandbox.limits import SYSTEM_PATH, system_program

SHA = re.compile(r"[0-9a-f]{40}")
LOOK_SECONDS = 0.1  # between looks at whether it has ended, or should
MAX_LIST_BYTES = 1 << 20
MAX_LINE_BYTES = 1000
MEMORY_BYTES = 4 << 30
CPU_SECONDS = 1800
ALL_HISTORY = "2147483647"
FETCHED = "refs/threadhouse/start"
# What git says → what it means to the one who can act.
MEANINGS = (
    (
        re.compile(r"authentication failed|could not read (username|password)|error: 40[13]", re.I),
        "it asks for another credential",
    ),
    (
        re.compile(r"redirect|error: 30\d", re.I),
        "it redirects; name the address that it redirects to (often with .git)",
    ),
    (re.compile(r"not found|does not appear to be a git", re.I), "there is no such repository, or not for this user"),
    (re.compile(r"file too large|signal 25|invalid index-pack output", re.I), "it is larger than this server allows"),
    (re.compile(r"couldn't find remote ref|not our ref", re.I), "it has no such branch, tag or commit"),
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """sha: of the commit. branch, tag: what ref named. object: what the tag names, perhaps an object of its own."""

    sha: str
    branch: str | None
    tag: str | None
    object: str
    packs: list[Path]
    shallow: Path | None


class Fetch:
    """One fetch into a folder that is empty and nobody else's. Errors of all: those of workers.agent.stops,
    InvalidRequest, Unavailable, AddressRefused."""

    def __init__(
        self,
        source: GitSource,
        folder: Path,
        signal: Signal,
        say: Callable[[str], None],
        *,
        depth: int,
        seconds: float,
        max_bytes: int,
    ) -> None:
        self._source = source
        self._folder = folder
        self._signal = signal
        self._say = say
        self._depth = depth
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._environ = self._environment(source)

    def run(self) -> Fetched:
        source = self._source
        self._git("init", "-q", "--bare", "--template=", ".")
        sha, branch, tag = self._resolve()
        depth = str(self._depth) if self._depth else ALL_HISTORY
        options = ["--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--progress", f"--depth={depth}"]
        wanted = f"refs/heads/{branch}" if branch else f"refs/tags/{tag}" if tag else sha
        self._git("fetch", *options, "--", source.url, f"+{wanted}:{FETCHED}")
        found = self._git("rev-parse", FETCHED, f"{FETCHED}^{{commit}}").split()
        shallow = self._folder / "shallow"
        return Fetched(
            found[1],
            branch,
            tag,
            found[0],
            sorted((self._folder / "objects" / "pack").glob("*.pack")),
            shallow if shallow.exists() else None,
        )

    def _resolve(self) -> tuple[str, str | None, str | None]:
        """(commit or "", branch, tag) of the ref that was asked for. Errors: InvalidRequest."""
        ref = self._source.ref
        if ref is not None and SHA.fullmatch(ref):
            return ref, None, None
        name = (ref or "HEAD").removeprefix("refs/heads/").removeprefix("refs/tags/")
        patterns = ["HEAD"] if ref is None else [f"refs/heads/{name}", f"refs/tags/{name}"]
        lines = self._git("ls-remote", "--symref", "--", self._source.url, *patterns).splitlines()
        found = {what: sha for sha, _, what in (line.partition("\t") for line in lines)}
        if ref is None:
            head = next((sha for sha, _, what in (line.partition("\t") for line in lines) if what == "HEAD"), "")
            if head.startswith("ref: refs/heads/"):
                return "", head.removeprefix("ref: refs/heads/"), None
            if SHA.fullmatch(found.get("HEAD", "")):
                return found["HEAD"], None, None
            raise self._failed("it is empty")
        if f"refs/heads/{name}" in found and not ref.startswith("refs/tags/"):
            return "", name, None
        if f"refs/tags/{name}" in found:
            return "", None, name
        raise self._failed(f"it has no branch, tag or commit {ref!r}")

    def _failed(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"{self._source.url} cannot be cloned: {why}")

    def _environment(self, source: GitSource) -> dict[str, str]:
        """All that git gets. Errors: AddressRefused, Unavailable."""
        addresses = check_address(source.host, source.port, (source.host,) if source.allowed.private else ())
        settings = [
            ("protocol.allow", "never"),
            (f"protocol.{source.scheme}.allow", "always"),
            ("http.followRedirects", "false"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("credential.helper", ""),
            ("core.hooksPath", "/dev/null"),
            ("fetch.unpackLimit", "1"),
            ("fetch.recurseSubmodules", "false"),
            ("fetch.writeCommitGraph", "false"),
            ("transfer.bundleURI", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
        ]
        if not _is_address(source.host):
            settings.append(("http.curloptResolve", f"{source.host}:{source.port}:{','.join(addresses)}"))
        if source.credential is not None:
            pair = f"{source.credential.username}:{source.credential.token}"
            header = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
            settings.append(("http.extraHeader", header))  # there are no redirects, so it goes to this host only
        environ = {
            "PATH": SYSTEM_PATH,
            "HOME": str(self._folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_DIR": str(self._folder),
            "GIT_ALLOW_PROTOCOL": source.scheme,
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (key, value) in enumerate(settings):
            environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return environ

    def _git(self, *arguments: str) -> str:
        """What it says on standard output; progress and complaints are passed on."""
        limits = [f"--fsize={self._max_bytes}", f"--data={MEMORY_BYTES}", f"--cpu={CPU_SECONDS}", "--core=0"]
        try:
            popen = subprocess.Popen(
                [
                    *(system_program("setpriv"), "--pdeathsig", "KILL", "--"),
                    *(system_program("prlimit"), *limits, "--"),
                    *("git", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environ,
                cwd=self._folder,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"git cannot be run on the worker: {error.strerror}") from error
        told = _Told(popen, self._secrets(), self._say)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    popen.wait(LOOK_SECONDS)
                    break
                raise_if_called(self._signal)
                if time.monotonic() > self._until:
                    raise self._failed(f"it was not done in {self._seconds:g} seconds")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(popen.pid, signals.SIGKILL)  # helpers too
            popen.wait()
            told.end()
        if popen.returncode != 0:
            if popen.returncode == 127:
                raise Unavailable("git is not installed on the worker")
            said = told.complaints()
            raise self._failed(
                next((meaning for words, meaning in MEANINGS if words.search(said)), said or "it failed")
            )
        return told.output.decode(errors="replace")

    def _secrets(self) -> list[str]:
        credential = self._source.credential
        if credential is None or credential.token is None:
            return []
        pair = f"{credential.username}:{credential.token}"
        return [credential.token, base64.b64encode(pair.encode()).decode()]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _Told:
    """What a git says while it runs: its output, and line by line what is for people. A server may echo anything."""

    def __init__(self, popen: subprocess.Popen[bytes], secrets: list[str], say: Callable[[str], None]) -> None:
        self.output = b""
        self._secrets = secrets
        self._say = say
        self._last: list[str] = []
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._files = (popen.stdout, popen.stderr)
        self._threads = [threading.Thread(target=act, daemon=True) for act in (self._read_output, self._read_lines)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join()
        for file in self._files:
            file.close()

    def complaints(self) -> str:
        """Its last words that complain."""
        lines = [line for line in self._last if line.startswith(("fatal:", "error:", "remote:"))]
        return "; ".join(lines[-3:])[:MAX_LINE_BYTES]

    def _read_output(self) -> None:
        self.output = self._files[0].read(MAX_LIST_BYTES)
        while self._files[0].read(1 << 16):
            pass

    def _read_lines(self) -> None:
        waiting = b""
        while data := os.read(self._files[1].fileno(), 1 << 14):
            *lines, waiting = re.split(rb"[\r\n]+", waiting + data)
            waiting = waiting[-MAX_LINE_BYTES:]
            for line in lines:
                self._hear(line[:MAX_LINE_BYTES].decode(errors="replace"))
        self._hear(waiting.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        line = "".join(one for one in line if one.isprintable()).strip()
        if line:
            self._last = [*self._last[-19:], line]
            self._say(line)
