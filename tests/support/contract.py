"""The contract: the JSON Schemas of the original. Every frame that a test client receives is checked against them.

The pinned npm packages generate them (`codex app-server generate-json-schema`), so no copy of them is kept here. A
frame has to satisfy each version of the protocol that knows its method.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from tests.support.originals import VERSIONS

# Methods whose result schema has a name that does not follow from the name of their params schema.
RESULTS = {
    "account/gatewayOAuth/cancel": "GatewayOAuthCancelResponse",
    "account/logout": "LogoutAccountResponse",
    "account/securitySetup/read": "GetAccountSecuritySetupResponse",
    "account/workspaceMessages/read": "GetWorkspaceMessagesResponse",
    "accountSession/list": "AccountSessionsResponse",
    "config/batchWrite": "ConfigWriteResponse",
    "config/mcpServer/reload": "McpServerRefreshResponse",
    "config/value/write": "ConfigWriteResponse",
    "configRequirements/read": "ConfigRequirementsReadResponse",
    "externalAgentConfig/import/readHistories": "ExternalAgentConfigImportHistoriesReadResponse",
    "memory/reset": "MemoryResetResponse",
    "modelProvider/default/set": "ConfigWriteResponse",
    "remoteControl/status/read": "RemoteControlStatusReadResponse",
    "rollout/compress": "RolloutCompressResponse",
    "windowsSandbox/readiness": "WindowsSandboxReadinessResponse",
}
OLDER = frozenset({"getAuthStatus", "thread/rollback"})  # served for clients that are older than this schema
OURS = "threadhouse/"  # prefix of notifications that only this server sends

Frame = Mapping[str, Any]


@dataclass
class Recording:
    """What one test client sent and received.

    wired:     whether its connection is real; tests make up the events of an in-memory one
    sent:      request id → method
    received:  every frame, in order
    """

    wired: bool = False
    sent: dict[Any, str] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        RECORDINGS.append(self)

    def note(self, frame: Any) -> None:
        """Record a frame that the client sends."""
        if isinstance(frame, dict) and type(frame.get("id")) in (int, str) and isinstance(frame.get("method"), str):
            self.sent[frame["id"]] = frame["method"]
            params = frame.get("params")
            opted_out = isinstance(params, dict) and (params.get("capabilities") or {}).get("optOutNotificationMethods")
            self.wired = self.wired and not opted_out

    def streams(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """Return the events of each thread that the client started and kept following, for `tests.support.order`."""
        if not self.wired or RESUMED & set(self.sent.values()):
            return []
        frames = list(self.received)
        begun = {
            frame["result"]["thread"]["id"]
            for frame in frames
            if "result" in frame and self.sent.get(frame["id"]) == "thread/start"
        }
        streams: dict[str, list[tuple[str, dict[str, Any]]]] = {thread_id: [] for thread_id in begun}
        for frame in frames:
            params = frame.get("params") or {}
            if params.get("threadId") in begun:
                asked = {"requestId": frame["id"]} if "id" in frame else {}
                streams[params["threadId"]].append((frame["method"], {**params, **asked}))
        return list(streams.values())


RESUMED = {
    "thread/resume",
    "thread/unsubscribe",
    "thread/revert",
    "thread/rollback",
}  # after these a stream may repeat or omit events

RECORDINGS: list[Recording] = []  # of the running test; tests/conftest.py checks them at its end


class Schemas:
    """The generated schemas of one version, in a folder."""

    def __init__(self, version: str, folder: Path) -> None:
        self._version = version
        self._folder = folder
        self._validators: dict[str, Any] = {}
        self._schemas: dict[str, dict[str, Any]] = {}

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Requests of clients: method → the schema of the whole request."""
        return self._variants("ClientRequest")

    @cached_property
    def notifications(self) -> dict[str, dict[str, Any]]:
        """Notifications of the server: method → the schema of the whole frame."""
        return self._variants("ServerNotification")

    @cached_property
    def server_requests(self) -> dict[str, dict[str, Any]]:
        """Requests of the server: method → the schema of the whole request."""
        return self._variants("ServerRequest")

    def request_violations(self, method: str, params: Any) -> list[str]:
        """Return how a request of a client differs from its schema."""
        return self._errors(f"request {method}", self.methods[method], {"id": 0, "method": method, "params": params})

    def result_violations(self, method: str, result: Any) -> list[str]:
        """Return how the result of a method differs from its schema."""
        return self._errors(f"result of {method}", self._result_schema(method), result)

    def knows(self, sent: Mapping[Any, str], frame: Frame) -> bool:
        """Return whether the version has a schema for a frame."""
        if "method" in frame:
            return frame["method"] in (self.server_requests if "id" in frame else self.notifications)
        return "error" in frame or sent.get(frame["id"]) in self.methods

    def frame_violations(self, sent: Mapping[Any, str], frame: Frame) -> list[str]:
        """Return how a frame that the version knows differs from its schema."""
        method = frame.get("method")
        if method is not None:
            known = self.server_requests if "id" in frame else self.notifications
            return self._errors(method, known[method], frame)
        if "error" in frame:
            return self._errors("error reply", self._file("JSONRPCError"), frame)
        return self.result_violations(sent[frame["id"]], frame["result"])

    def _result_schema(self, method: str) -> dict[str, Any]:
        name = RESULTS.get(method)
        if name is None:
            params = self.methods[method]["properties"]["params"]
            ref = params.get("$ref") or next(one["$ref"] for one in params["anyOf"] if "$ref" in one)
            name = ref.rsplit("/", 1)[1].replace("Params", "Response")
        return self._file(name)

    def _file(self, name: str) -> dict[str, Any]:
        if name not in self._schemas:
            self._schemas[name] = json.loads(next(self._folder.rglob(f"{name}.json")).read_text())
        return self._schemas[name]

    def _variants(self, name: str) -> dict[str, dict[str, Any]]:
        whole = self._file(name)
        return {
            one["properties"]["method"]["enum"][0]: {"definitions": whole["definitions"], **one}
            for one in whole["oneOf"]
        }

    def _errors(self, what: str, schema: dict[str, Any], value: Any) -> list[str]:
        if what not in self._validators:
            self._validators[what] = jsonschema.Draft7Validator(schema)
        errors = self._validators[what].iter_errors(value)
        return [f"{what}: {_description(error)} ({self._version})" for error in errors]


class Contract:
    """The schemas of all versions, oldest first, and the checks against them."""

    def __init__(self, versions: Sequence[Schemas]) -> None:
        self._versions = versions

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Requests of clients: method → the schema of the whole request in the newest version that has it."""
        return {method: schema for version in self._versions for method, schema in version.methods.items()}

    def violations(self, recordings: Iterable[Recording]) -> list[str]:
        """Return how received frames differ from the schemas, each deviation once."""
        found = [self._frame_violations(each.sent, frame) for each in recordings for frame in list(each.received)]
        return list(dict.fromkeys(violation for violations in found for violation in violations))

    def request_violations(self, method: str, params: Any) -> list[str]:
        """Return how a request of a client differs from the newest schema."""
        return self._newest(method).request_violations(method, params)

    def result_violations(self, method: str, result: Any) -> list[str]:
        """Return how the result of a method differs from the newest schema."""
        return self._newest(method).result_violations(method, result)

    def _newest(self, method: str) -> Schemas:
        return next(version for version in reversed(self._versions) if method in version.methods)

    def _frame_violations(self, sent: Mapping[Any, str], frame: Frame) -> list[str]:
        if frame.get("method", "").startswith(OURS) or sent.get(frame.get("id")) in OLDER:
            return []
        versions = [version for version in self._versions if version.knows(sent, frame)]
        if not versions and "method" in frame:
            return [f"{frame['method']}: not in the schema"]
        return [violation for version in versions for violation in version.frame_violations(sent, frame)]


def generate(folder: Path) -> Contract | None:
    """Generate the schemas of the installed versions, with experimental methods; None: no version is installed.

    Errors: OSError, CalledProcessError
    """
    made = []
    for version, program in VERSIONS.items():
        if program.exists():
            command = [str(program), "app-server", "generate-json-schema", "--out", str(folder / version)]
            subprocess.run([*command, "--experimental"], check=True, capture_output=True, timeout=60)
            made.append(Schemas(version, folder / version))
    return Contract(made) if made else None


def _description(error: Any) -> str:
    """Return the path and the message of the deepest cause."""
    reasons: Sequence[Any] = sorted(error.context or (), key=lambda cause: -len(cause.absolute_path))
    deepest = reasons[0] if reasons else error
    return f"{deepest.json_path}: {deepest.message[:300]}"
