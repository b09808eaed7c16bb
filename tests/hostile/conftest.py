"""A hosted server with two users: Eve, who attacks, and Ada, whose files, turns and time are to stay hers."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.deployment import DATABASES, STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import DEADLINE_S, ProtocolClient, RpcError

EXEC_TIMEOUT_MS = 60_000  # on a busy machine


@dataclass
class Tenant:
    """One user of the server and her first thread."""

    deployment: Deployment
    user_id: str
    key: str
    client: ProtocolClient
    canary: str = field(default_factory=lambda: f"canary-{secrets.token_hex(8)}")

    def start_thread(self) -> dict[str, Any]:
        """A new thread whose workspace is there."""
        thread: dict[str, Any] = self.client.request("thread/start", {})["thread"]
        self.run("true", thread["cwd"])
        return thread

    @property
    def folder(self) -> Path:
        """The folder that holds all workspaces of the user."""
        return self.deployment.config.server.workspaces_dir / self.user_id

    def run(self, line: str, cwd: str | None = None, **params: Any) -> dict[str, Any]:
        """A line for the shell by command/exec."""
        asked = {"command": ["/bin/sh", "-c", line], "timeoutMs": EXEC_TIMEOUT_MS, "cwd": cwd, **params}
        result: dict[str, Any] = self.client.request("command/exec", asked)
        return result

    def attempt(self, method: str, params: dict[str, Any]) -> str:
        """Whatever the server answers, as text."""
        try:
            return json.dumps(self.client.request(method, params))
        except RpcError as error:
            return f"error {error.code}: {error.message}"

    def download_workspace(self, thread_id: str) -> bytes:
        parts = urlsplit(self.deployment.urls[0])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
        try:
            path = f"/v2/thread/workspace?threadId={thread_id}&format=tar"
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.key}"})
            return connection.getresponse().read()
        finally:
            connection.close()


@dataclass
class Tenants:
    deployment: Deployment
    eve: Tenant
    ada: Tenant


@pytest.fixture(scope="module", params=DATABASES)
def tenants(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    home = tmp_path_factory.mktemp("hostile")
    with (
        Deployment(home, request.param, api=1, workers=2, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        found = []
        for name in ("eve", "ada"):
            user_id, key = deployment.add_user(name)
            found.append(Tenant(deployment, user_id, key, deployment.connect(0, token=key)))
        eve, ada = found
        ada.run(f"echo {ada.canary} > secret.txt", ada.start_thread()["cwd"])
        yield Tenants(deployment, eve, ada)
