"""Fetches a git repository with the operator's credential, on the worker and outside of every workspace.

Nothing of the repository is run here. The repository that git makes is bare, without hooks and configuration, and is
removed when its objects have been handed to the sandbox, where the checkout happens. The token is only in git's
environment: in no file, no command line and no message.
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
from shared.config.workspaces import GitSource
from shared.errors import InvalidRequest, Unavailable
from workers.control.signal import Signal
from workers.control.stops import raise_if_stop_requested
from workers.sandbox.limits import SYSTEM_PATH, system_program

SHA = re.compile(r"[0-9a-f]{40}")
POLL_SECONDS = 0.1  # between checks whether git has ended or should be ended
MAX_LIST_BYTES = 1 << 20
MAX_LINE_BYTES = 1000
MEMORY_BYTES = 4 << 30
CPU_SECONDS = 1800
ALL_HISTORY = "2147483647"
FETCHED = "refs/threadhouse/start"
# A message of git → what it means for the user.
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
class FetchedCommit:
    """A fetched commit and its files.

    sha:         of the commit
    branch, tag: which of them the ref named
    object:      what the tag points to, which may be a tag object
    packs:       files with its objects
    shallow:     file that lists where the history was cut; None: the history is complete
    """

    sha: str
    branch: str | None
    tag: str | None
    object: str
    packs: list[Path]
    shallow: Path | None


class Fetch:
    """One fetch into an empty folder that only this fetch uses.

    Errors of all methods: those of workers.control.stops, InvalidRequest, Unavailable, AddressRefused
    """

    def __init__(
        self,
        source: GitSource,
        folder: Path,
        signal: Signal,
        on_progress: Callable[[str], None],
        *,
        depth: int,
        seconds: float,
        max_bytes: int,
    ) -> None:
        self._source = source
        self._folder = folder
        self._signal = signal
        self._on_progress = on_progress
        self._depth = depth
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._environ = self._environment(source)

    def run(self) -> FetchedCommit:
        """Fetch the ref that was asked for."""
        source = self._source
        self._git("init", "-q", "--bare", "--template=", ".")
        sha, branch, tag = self._resolve()
        depth = str(self._depth) if self._depth else ALL_HISTORY
        options = ["--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--progress", f"--depth={depth}"]
        wanted = f"refs/heads/{branch}" if branch else f"refs/tags/{tag}" if tag else sha
        self._git("fetch", *options, "--", source.url, f"+{wanted}:{FETCHED}")
        found = self._git("rev-parse", FETCHED, f"{FETCHED}^{{commit}}").split()
        shallow = self._folder / "shallow"
        return FetchedCommit(
            found[1],
            branch,
            tag,
            found[0],
            sorted((self._folder / "objects" / "pack").glob("*.pack")),
            shallow if shallow.exists() else None,
        )

    def _resolve(self) -> tuple[str, str | None, str | None]:
        """Return (commit or "", branch, tag) of the ref that was asked for. Errors: InvalidRequest."""
        ref = self._source.ref
        if ref is not None and SHA.fullmatch(ref):
            return ref, None, None
        name = (ref or "HEAD").removeprefix("refs/heads/").removeprefix("refs/tags/")
        patterns = ["HEAD"] if ref is None else [f"refs/heads/{name}", f"refs/tags/{name}"]
        lines = self._git("ls-remote", "--symref", "--", self._source.url, *patterns).splitlines()
        found = {name: sha for sha, _, name in (line.partition("\t") for line in lines)}
        if ref is None:
            head = next((sha for sha, _, name in (line.partition("\t") for line in lines) if name == "HEAD"), "")
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
        """Return all variables of git. Errors: AddressRefused, Unavailable."""
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
        if not _is_ip_address(source.host):
            settings.append(("http.curloptResolve", f"{source.host}:{source.port}:{','.join(addresses)}"))
        if source.credential is not None:
            pair = f"{source.credential.username}:{source.credential.token}"
            header = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
            settings.append(("http.extraHeader", header))  # redirects are off, so it is sent to this host only
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
        """Run git and return its standard output. Progress and error messages are passed on line by line."""
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
        reader = _OutputReader(popen, self._secrets(), self._on_progress)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    popen.wait(POLL_SECONDS)
                    break
                raise_if_stop_requested(self._signal)
                if time.monotonic() > self._until:
                    raise self._failed(f"it was not done in {self._seconds:g} seconds")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(popen.pid, signals.SIGKILL)  # and the helpers that git started
            popen.wait()
            reader.close()
        if popen.returncode != 0:
            if popen.returncode == 127:
                raise Unavailable("git is not installed on the worker")
            errors = reader.errors()
            meaning = next((meaning for pattern, meaning in MEANINGS if pattern.search(errors)), None)
            raise self._failed(meaning or errors or "it failed")
        return reader.output.decode(errors="replace")

    def _secrets(self) -> list[str]:
        credential = self._source.credential
        if credential is None or credential.token is None:
            return []
        pair = f"{credential.username}:{credential.token}"
        return [credential.token, base64.b64encode(pair.encode()).decode()]


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _OutputReader:
    """Reads what git writes while it runs: its output, and the messages line by line.

    The remote server may echo anything in messages, so secrets are removed from them.
    """

    def __init__(self, popen: subprocess.Popen[bytes], secrets: list[str], on_line: Callable[[str], None]) -> None:
        self.output = b""
        self._secrets = secrets
        self._on_line = on_line
        self._last: list[str] = []
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._files = (popen.stdout, popen.stderr)
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read_output, self._read_lines)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        for file in self._files:
            file.close()

    def errors(self) -> str:
        """Return the last lines that report an error."""
        lines = [line for line in self._last if line.startswith(("fatal:", "error:", "remote:"))]
        return "; ".join(lines[-3:])[:MAX_LINE_BYTES]

    def _read_output(self) -> None:
        self.output = self._files[0].read(MAX_LIST_BYTES)
        while self._files[0].read(1 << 16):
            pass

    def _read_lines(self) -> None:
        incomplete = b""
        while data := os.read(self._files[1].fileno(), 1 << 14):
            *lines, incomplete = re.split(rb"[\r\n]+", incomplete + data)
            incomplete = incomplete[-MAX_LINE_BYTES:]
            for line in lines:
                self._add_line(line[:MAX_LINE_BYTES].decode(errors="replace"))
        self._add_line(incomplete.decode(errors="replace"))

    def _add_line(self, line: str) -> None:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        line = "".join(char for char in line if char.isprintable()).strip()
        if line:
            self._last = [*self._last[-19:], line]
            self._on_line(line)
