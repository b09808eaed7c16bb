"""Methods that are empty or refused by design. None of them hangs."""

from __future__ import annotations

from typing import Any

NO_PAGE: dict[str, Any] = {"data": [], "nextCursor": None}
NO_MARKETPLACES: dict[str, Any] = {"marketplaces": [], "marketplaceLoadErrors": []}

# Method → its result, whatever the params (PROTOCOL 5.11, 5.12).
EMPTY: dict[str, dict[str, Any]] = {
    "account/bedrock/checkGovCloudRequirements": {"isGovCloud": False, "shouldWarn": False},
    "account/workspaceMessages/read": {"featureEnabled": False, "messages": []},
    "app/installed": {"apps": []},
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
    "memory/status": {"v2Ready": False, "v2ConsolidatedThreads": 0},
    "modelProvider/capabilities/read": {"imageGeneration": False, "webSearch": False},
    "plugin/installed": NO_MARKETPLACES,
    "plugin/list": {**NO_MARKETPLACES, "featuredPluginIds": []},
    "project/list": NO_PAGE,
    "thread/backgroundTerminals/list": NO_PAGE,
    "thread/readState/update": {"readState": {"firstUnread": None, "revision": "0"}},
    "threadSection/list": NO_PAGE,
}

_LOGIN = "whoever speaks here is known by the credential of the connection; there is no login with a model vendor"
_PROVIDERS = "models and their keys are the operator's configuration"
_PLUGINS = "this server has no plugins, apps or marketplaces"
_MCP = "this server connects to no MCP servers"
_PROJECTS = "threads are not sorted into projects or sections here"
_DEVICE = "it belongs to an app on a person's own machine, and this is a server of many users"
_PROCESS = "it has no sandbox; use command/exec"
_ENVIRONMENT = "turns work on the server's own workers"
_WATCH = "a watch would hold a worker as long as it lives; ask fs/getMetadata, or follow the thread"
_FEEDBACK = "reports are sent by feedback/upload"
_PREDICTION = "this server makes no predictions and draws no samples outside of turns"
_MEMORY = "this server keeps no memories beside the threads"
_REALTIME = "this server speaks text only"
_QUEUE = "input for a running turn steers it (turn/start, turn/steer); a client keeps its own queue for later"
_ATTACHMENTS = "threads have no attachments here; images travel in the input"
_SKILLS = "skills are not configured by clients here"
_SEARCH = "thread/list with searchTerm searches names and first messages"

# Method → why not; each answers -32601 with these words.
REFUSED: dict[str, str] = {
    "account/bedrock/discover": _PROVIDERS,
    "account/bedrock/setup": _PROVIDERS,
    "account/gatewayOAuth/cancel": _LOGIN,
    "account/gatewayOAuth/login": _LOGIN,
    "account/gatewayOAuth/read": _LOGIN,
    "account/gcp/setup": _PROVIDERS,
    "account/login/cancel": _LOGIN,
    "account/login/start": _LOGIN,
    "account/logout": _LOGIN,
    "account/rateLimitResetCredit/consume": "limits of use are the operator's, not bought by credits",
    "account/securitySetup/read": _LOGIN,
    "account/sendAddCreditsNudgeEmail": "this server sends no mail",
    "accountSession/list": _LOGIN,
    "accountSession/switch": _LOGIN,
    "app/read": _PLUGINS,
    "config/mcpServer/reload": _MCP,
    "environment/add": _ENVIRONMENT,
    "environment/info": _ENVIRONMENT,
    "environment/status": _ENVIRONMENT,
    "experimentalFeature/enablement/set": "there are no experimental features to turn on",
    "externalAgentConfig/detect": _DEVICE,
    "externalAgentConfig/import": _DEVICE,
    "externalAgentConfig/import/readHistories": _DEVICE,
    "externalAgentConfig/import/recordHistory": _DEVICE,
    "feedback/save": _FEEDBACK,
    "fs/unwatch": _WATCH,
    "fs/watch": _WATCH,
    "marketplace/add": _PLUGINS,
    "marketplace/remove": _PLUGINS,
    "marketplace/upgrade": _PLUGINS,
    "mcpServer/event/stream/start": _MCP,
    "mcpServer/event/stream/stop": _MCP,
    "mcpServer/oauth/login": _MCP,
    "mcpServer/resource/read": _MCP,
    "mcpServer/tool/call": _MCP,
    "memory/reset": _MEMORY,
    "mock/experimentalMethod": "a test of the original with itself",
    "modelProvider/config/write": _PROVIDERS,
    "plugin/install": _PLUGINS,
    "plugin/read": _PLUGINS,
    "plugin/reconcile": _PLUGINS,
    "plugin/search": _PLUGINS,
    "plugin/share/checkout": _PLUGINS,
    "plugin/share/delete": _PLUGINS,
    "plugin/share/list": _PLUGINS,
    "plugin/share/save": _PLUGINS,
    "plugin/share/updateTargets": _PLUGINS,
    "plugin/skill/read": _PLUGINS,
    "plugin/uninstall": _PLUGINS,
    "process/kill": _PROCESS,
    "process/resizePty": _PROCESS,
    "process/spawn": _PROCESS,
    "process/writeStdin": _PROCESS,
    "project/create": _PROJECTS,
    "project/delete": _PROJECTS,
    "project/import": _PROJECTS,
    "project/move": _PROJECTS,
    "project/read": _PROJECTS,
    "project/update": _PROJECTS,
    "remoteControl/client/list": _DEVICE,
    "remoteControl/client/revoke": _DEVICE,
    "remoteControl/disable": _DEVICE,
    "remoteControl/enable": _DEVICE,
    "remoteControl/pairing/start": _DEVICE,
    "remoteControl/pairing/status": _DEVICE,
    "remoteControl/status/read": _DEVICE,
    "rollout/compress": "session files are written by the server, which keeps them as they are",
    "server/diagnostics": "what a server is doing is the operator's to see (threadhouse doctor)",
    "skills/config/write": _SKILLS,
    "skills/extraRoots/set": _SKILLS,
    "thread/approveGuardianDeniedAction": "there is no automatic reviewer whose refusal could be lifted",
    "thread/attachment/add": _ATTACHMENTS,
    "thread/attachment/list": _ATTACHMENTS,
    "thread/attachment/remove": _ATTACHMENTS,
    "thread/attachmentOwner/list": _ATTACHMENTS,
    "thread/backgroundTerminals/clean": "no terminal stays open behind a turn",
    "thread/backgroundTerminals/terminate": "no terminal stays open behind a turn",
    "thread/decrement_elicitation": _MCP,
    "thread/guardianReview": "there is no automatic reviewer",
    "thread/increment_elicitation": _MCP,
    "thread/items/read": "thread/items/list shows whole items; no output is put off",
    "thread/memory/read": _MEMORY,
    "thread/memoryMode/set": _MEMORY,
    "thread/prediction/request": _PREDICTION,
    "thread/prepareApprovedPlan": "a plan is carried out by the next turn/start in the default mode",
    "thread/queue/add": _QUEUE,
    "thread/queue/delete": _QUEUE,
    "thread/queue/list": _QUEUE,
    "thread/queue/reorder": _QUEUE,
    "thread/queue/start": _QUEUE,
    "thread/queue/update": _QUEUE,
    "thread/realtime/appendAudio": _REALTIME,
    "thread/realtime/appendSpeech": _REALTIME,
    "thread/realtime/appendText": _REALTIME,
    "thread/realtime/listVoices": _REALTIME,
    "thread/realtime/start": _REALTIME,
    "thread/realtime/stop": _REALTIME,
    "thread/sample": _PREDICTION,
    "thread/sample/cancel": _PREDICTION,
    "thread/search": _SEARCH,
    "thread/searchOccurrences": _SEARCH,
    "thread/section/move": _PROJECTS,
    "thread/timeline/list": "thread/turns/list and thread/items/list tell all there is",
    "threadSection/create": _PROJECTS,
    "threadSection/delete": _PROJECTS,
    "threadSection/update": _PROJECTS,
    "turn/settings/update": "settings change with thread/settings/update, from the next turn on",
    "userVerification/cancel": _DEVICE,
    "userVerification/delete": _DEVICE,
    "userVerification/enroll": _DEVICE,
    "userVerification/status": _DEVICE,
    "userVerification/verify": _DEVICE,
    "windowsSandbox/readiness": "commands run on Linux",
    "windowsSandbox/setupStart": "commands run on Linux",
}
