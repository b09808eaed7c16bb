"""The contract: the JSON Schemas of the original, which every frame that a test client sees is checked against.

The pinned npm package generates them (`codex app-server generate-json-schema`), so nothing of them is kept here.
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

ROOT = Path(__file__).parents[2]
CODEX = ROOT / "node_modules" / ".bin" / "codex"
# Requests whose result's name does not follow from that of their params.
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
    "remoteControl/status/read": "RemoteControlStatusReadResponse",
    "rollout/compress": "RolloutCompressResponse",
    "windowsSandbox/readiness": "WindowsSandboxReadinessResponse",
}
OLDER = frozenset({"getAuthStatus", "thread/rollback"})  # served for clients of before this schema
# Requests that only we answer.
OWN = frozenset(
    {
        "admin/turn/interrupt",
        "admin/user/disable",
        "admin/user/enable",
        "admin/user/list",
        "erasure/list",
        "feedback/list",
        "feedback/read",
        "thread/workspace/read",
    }
)
OURS = "threadhouse/"  # notifications that only we send

Frame = Mapping[str, Any]


@dataclass
class Recording:
    """What one test client asked and saw.

    sent:   request id → method
    wired:  it is a real connection, not the in-memory one whose events tests make up
    """

    wired: bool = False
    sent: dict[Any, str] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        RECORDINGS.append(self)

    def note(self, frame: Any) -> None:
        """A frame that the client sends."""
        if isinstance(frame, dict) and type(frame.get("id")) in (int, str) and isinstance(frame.get("method"), str):
            self.sent[frame["id"]] = frame["method"]
            params = frame.get("params")
            opted_out = isinstance(params, dict) and (params.get("capabilities") or {}).get("optOutNotificationMethods")
            self.wired = self.wired and not opted_out

    def streams(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """The events of each thread that the client began and followed ever since, for tests.support.order."""
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
}  # then a stream may repeat or lack

RECORDINGS: list[Recording] = []  # of the test that runs; tests/conftest.py looks into them at its end


class Contract:
    """The schemas in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._validators: dict[str, Any] = {}

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Of the client's requests: name → the schema of the whole request."""
        return self._variants("ClientRequest")

    @cached_property
    def notifications(self) -> dict[str, dict[str, Any]]:
        return self._variants("ServerNotification")

    @cached_property
    def questions(self) -> dict[str, dict[str, Any]]:
        """Of the server's requests."""
        return self._variants("ServerRequest")

    def violations(self, recordings: Iterable[Recording]) -> list[str]:
        """What is wrong with frames from the server, each fault once."""
        found = [self._frame_violations(one.sent, frame) for one in recordings for frame in list(one.received)]
        return list(dict.fromkeys(wrong for some in found for wrong in some))

    def request_violations(self, method: str, params: Any) -> list[str]:
        """What is wrong with a client's request."""
        return self._errors(f"request {method}", self.methods[method], {"id": 0, "method": method, "params": params})

    def result_violations(self, method: str, result: Any) -> list[str]:
        """What is wrong with the result of a method."""
        return self._errors(f"result of {method}", self._result_schema(method), result)

    def _frame_violations(self, sent: Mapping[Any, str], frame: Frame) -> list[str]:
        method = frame.get("method")
        if method is not None and method.startswith(OURS):
            return []
        if method is not None:
            known = self.questions if "id" in frame else self.notifications
            return self._errors(method, known[method], frame) if method in known else [f"{method}: not in the schema"]
        if "error" in frame:
            return self._errors("error reply", self._file("JSONRPCError"), frame)
        asked = sent.get(frame["id"])
        if asked is None or asked in OLDER | OWN:
            return []
        return self.result_violations(asked, frame["result"])

    def _result_schema(self, method: str) -> dict[str, Any]:
        name = RESULTS.get(method)
        if name is None:
            params = self.methods[method]["properties"]["params"]
            ref = params.get("$ref") or next(one["$ref"] for one in params["anyOf"] if "$ref" in one)
            name = ref.rsplit("/", 1)[1].replace("Params", "Response")
        return self._file(name)

    def _file(self, name: str) -> dict[str, Any]:
        path = next(self._folder.rglob(f"{name}.json"))
        schema: dict[str, Any] = json.loads(path.read_text())
        return schema

    def _variants(self, name: str) -> dict[str, dict[str, Any]]:
        whole = self._file(name)
        return {
            one["properties"]["method"]["enum"][0]: {"definitions": whole["definitions"], **one}
            for one in whole["oneOf"]
        }

    def _errors(self, what: str, schema: dict[str, Any], value: Any) -> list[str]:
        if what not in self._validators:
            self._validators[what] = jsonschema.Draft7Validator(schema)
        return [f"{what}: {_told(error)}" for error in self._validators[what].iter_errors(value)]


def generate(folder: Path) -> Contract:
    """The schemas of the pinned original, experimental ones too. Errors: OSError, CalledProcessError."""
    command = [str(CODEX), "app-server", "generate-json-schema", "--out", str(folder), "--experimental"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return Contract(folder)


def _told(error: Any) -> str:
    """The deepest reason, and where."""
    reasons: Sequence[Any] = sorted(error.context or (), key=lambda one: -len(one.absolute_path))
    deepest = reasons[0] if reasons else error
    return f"{deepest.json_path}: {deepest.message[:300]}"
