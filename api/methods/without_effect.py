"""Methods that are empty or refused by design. None of them hangs."""

from __future__ import annotations

from typing import Any

from shared.errors import InvalidRequest, RequestError, UnknownMethod

NO_PAGE: dict[str, Any] = {"data": [], "nextCursor": None}
NO_MARKETPLACES: dict[str, Any] = {"marketplaces": [], "marketplaceLoadErrors": []}

# Method → its result, whatever the params (PROTOCOL 5.11, 5.12).
EMPTY: dict[str, dict[str, Any]] = {
    "account/bedrock/checkGovCloudRequirements": {"isGovCloud": False, "shouldWarn": False},
    "app/list": NO_PAGE,
    "collaborationMode/list": {
        "data": [
            {"name": "Plan", "mode": "plan", "model": None, "reasoning_effort": "medium"},
            {"name": "Default", "mode": "default", "model": None, "reasoning_effort": None},
        ]
    },
    "experimentalFeature/list": NO_PAGE,
    "getAuthStatus": {"authMethod": None, "authToken": None, "requiresOpenaiAuth": False},
    "hooks/list": {"data": []},
    "mcpServerStatus/list": NO_PAGE,
    "permissionProfile/list": {
        "data": [
            {"id": ":read-only", "description": None, "allowed": True},
            {"id": ":workspace", "description": None, "allowed": True},
            {"id": ":danger-full-access", "description": None, "allowed": True},
        ],
        "nextCursor": None,
    },
    "plugin/installed": NO_MARKETPLACES,
    "plugin/list": {**NO_MARKETPLACES, "featuredPluginIds": []},
    "project/list": NO_PAGE,
    "thread/backgroundTerminals/list": NO_PAGE,
    "thread/goal/get": {"goal": None},
    "thread/readState/update": {"readState": {"firstUnread": None, "revision": "0"}},
    "threadSection/list": NO_PAGE,
}

NO_WATCHES = UnknownMethod(
    "fs/watch is not served: a watch would hold a worker as long as it lives; ask fs/getMetadata, or follow the thread"
)
NO_FREE_PROCESSES = UnknownMethod("process/* is not served: it has no sandbox; use command/exec")

# Method → why not.
REFUSED: dict[str, RequestError] = {
    "account/rateLimits/read": InvalidRequest("codex account authentication required to read rate limits"),
    "fs/unwatch": NO_WATCHES,
    "fs/watch": NO_WATCHES,
    "process/kill": NO_FREE_PROCESSES,
    "process/resizePty": NO_FREE_PROCESSES,
    "process/spawn": NO_FREE_PROCESSES,
    "process/writeStdin": NO_FREE_PROCESSES,
}
