"""A git server on loopback that requires a password: git's own http-backend behind a small HTTP server."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER, TOKEN = "robot", "s3cret-token-of-the-operator"
COMMITTER = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class GitServer:
    """A server of the repositories in a folder; a context manager.

    seen:     request lines, in order
    redirect: URL prefix that every request is redirected to, or None
    serving:  while this event is cleared, requests for objects wait
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: list[str] = []
        self.redirect: str | None = None
        self.serving = threading.Event()
        self.serving.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_address[1]}"

    def url(self, name: str = "project.git") -> str:
        return f"http://{self.host}/{name}"

    def __enter__(self) -> GitServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.serving.set()
        self._http.shutdown()
        self._http.server_close()


def make_repository(root: Path, name: str = "project.git") -> str:
    """Create a repository with two commits on `main`, a tag `v1` and a branch `other` on the first.

    Returns the id of the newest commit on main.
    """
    work = root / f"{name}-work"
    work.mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    (work / "README").write_text("one\n")
    (work / "run.sh").write_text("#!/bin/sh\necho hello\n")
    (work / "run.sh").chmod(0o755)
    (work / "link").symlink_to("README")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "one")
    git(work, "tag", "-a", "-m", "first", "v1")
    git(work, "branch", "other")
    (work / "README").write_text("two\n")
    (work / ".gitignore").write_text("*.log\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "two")
    git(root, "clone", "-q", "--bare", str(work), str(root / name))
    return git(work, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str, **environ: str) -> str:
    """Run git without the configuration of the user and the system. Return its output."""
    env = {**os.environ, **COMMITTER, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **environ}
    done = subprocess.run(["git", "-C", str(folder), *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            server.seen.append(self.requestline)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.redirect is not None:
                self._answer(302, {"Location": server.redirect + self.path}, b"")
            elif self.headers.get("Authorization") != expected:
                self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
            else:
                if self.command == "POST":
                    server.serving.wait(60)
                self._backend(body)

        def _backend(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": USER,
                "REMOTE_ADDR": "127.0.0.1",
            }
            out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False).stdout
            head, _, content = out.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    return Handler
