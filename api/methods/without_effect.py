"""Methods whose result is empty by design, and methods that are refused by design. All of them answer at once."""

from __future__ import annotations

from collections.abc import Mapping

NO_PAGE: Mapping[str, object] = {"data": [], "nextCursor": None}
NO_MARKETPLACES: Mapping[str, object] = {"marketplaces": [], "marketplaceLoadErrors": []}

# Method → its result, whatever the params are (PROTOCOL 5.11, 5.12).
EMPTY: Mapping[str, Mapping[str, object]] = {
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
    "memory/status": {"v2Ready": False, "v2ConsolidatedThreads": 0},
    "plugin/installed": NO_MARKETPLACES,
    "plugin/list": {**NO_MARKETPLACES, "featuredPluginIds": []},
    "project/list": NO_PAGE,
    "thread/readState/update": {"readState": {"firstUnread": None, "revision": "0"}},
    "threadSection/list": NO_PAGE,
}

# Method → why its result is empty, for the documentation.
EMPTY_REASONS: Mapping[str, str] = {
    "account/bedrock/checkGovCloudRequirements": "The operator configures models, so there are no requirements.",
    "account/workspaceMessages/read": "There is no workspace of a model vendor.",
    "app/installed": "This server has no apps.",
    "app/list": "This server has no apps.",
    "collaborationMode/list": "The collaboration modes are plan and default.",
    "experimentalFeature/list": "There are no experimental features to turn on.",
    "getAuthStatus": "There is no login with a model vendor.",
    "memory/status": "This server keeps no memories besides the threads.",
    "plugin/installed": "This server has no plugins.",
    "plugin/list": "This server has no plugins.",
    "project/list": "This server does not sort threads into projects.",
    "thread/readState/update": "This server does not record what was read.",
    "threadSection/list": "This server does not sort threads into sections.",
}

# Why a method is refused: the end of the error "<method> is not served: …".
_LOGIN = "the credential of the connection says who the caller is; there is no login with a model vendor"
_PROVIDERS = "the operator configures models and their keys"
_PLUGINS = "this server has no plugins, apps or marketplaces"
_MCP_EVENTS = "MCP event subscriptions are only supported for hosted apps"
_ELICITATION = "questions of MCP servers are stored, and their time limit is not paused"
_PROJECTS = "this server does not sort threads into projects or sections"
_DEVICE = "it is for an app on a personal computer, and this is a server for many users"
_PROCESS = "it runs programs without a sandbox; use command/exec"
_ENVIRONMENT = "turns run on the server's own workers"
_WATCH = "a watch would hold a worker for as long as it lasts; call fs/getMetadata, or follow the thread"
_FEEDBACK = "send reports with feedback/upload"
_PREDICTION = "this server calls the model only in turns"
_MEMORY = "this server keeps no memories besides the threads"
_REALTIME = "this server has no audio; use turn/start with text"
_QUEUE = "the client keeps its own queue; turn/start and turn/steer pass input to the running turn"
_ATTACHMENTS = "threads have no attachments; send images in the input of turn/start"

# Method → why it is refused; each answers -32601 with this text.
REFUSED: Mapping[str, str] = {
    "account/bedrock/discover": _PROVIDERS,
    "account/bedrock/setup": _PROVIDERS,
    "account/gatewayOAuth/cancel": _LOGIN,
    "account/gatewayOAuth/login": _LOGIN,
    "account/gatewayOAuth/read": _LOGIN,
    "account/gcp/setup": _PROVIDERS,
    "account/login/cancel": _LOGIN,
    "account/login/start": _LOGIN,
    "account/logout": _LOGIN,
    "account/rateLimitResetCredit/consume": "the operator sets the limits; they cannot be raised by credits",
    "account/securitySetup/read": _LOGIN,
    "account/sendAddCreditsNudgeEmail": "this server sends no messages to people",
    "accountSession/list": _LOGIN,
    "accountSession/switch": _LOGIN,
    "app/read": _PLUGINS,
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
    "mcpServer/event/stream/start": _MCP_EVENTS,
    "mcpServer/event/stream/stop": _MCP_EVENTS,
    "memory/reset": _MEMORY,
    "mock/experimentalMethod": "it is a test method of the original",
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
    "rollout/compress": "the server writes session files and does not compress them",
    "server/diagnostics": "only the operator sees the server's state; they run `threadhouse doctor`",
    "thread/attachment/add": _ATTACHMENTS,
    "thread/attachment/list": _ATTACHMENTS,
    "thread/attachment/remove": _ATTACHMENTS,
    "thread/attachmentOwner/list": _ATTACHMENTS,
    "thread/decrement_elicitation": _ELICITATION,
    "thread/guardianReview": "a review is made when the model asks for an approval, and at no other time",
    "thread/increment_elicitation": _ELICITATION,
    "thread/items/read": "thread/items/list returns whole items, so there is nothing more to read",
    "thread/memory/read": _MEMORY,
    "thread/memoryMode/set": _MEMORY,
    "thread/prediction/request": _PREDICTION,
    "thread/prepareApprovedPlan": "begin the plan with turn/start in the default collaboration mode",
    "thread/queue/add": _QUEUE,
    "thread/queue/delete": _QUEUE,
    "thread/queue/list": _QUEUE,
    "thread/queue/reorder": _QUEUE,
    "thread/queue/start": _QUEUE,
    "thread/queue/update": _QUEUE,
    "thread/realtime/appendAudio": _REALTIME,
    "thread/realtime/appendSpeech": _REALTIME,
    "thread/realtime/appendText": _REALTIME,
    "thread/realtime/list": _REALTIME,
    "thread/realtime/listVoices": _REALTIME,
    "thread/realtime/start": _REALTIME,
    "thread/realtime/stop": _REALTIME,
    "thread/sample": _PREDICTION,
    "thread/sample/cancel": _PREDICTION,
    "thread/section/move": _PROJECTS,
    "thread/timeline/list": "use thread/turns/list and thread/items/list",
    "threadSection/create": _PROJECTS,
    "threadSection/delete": _PROJECTS,
    "threadSection/update": _PROJECTS,
    "turn/settings/update": "use thread/settings/update, which has effect from the next turn on",
    "userVerification/cancel": _DEVICE,
    "userVerification/delete": _DEVICE,
    "userVerification/enroll": _DEVICE,
    "userVerification/status": _DEVICE,
    "userVerification/verify": _DEVICE,
    "windowsSandbox/readiness": "commands run on Linux",
    "windowsSandbox/setupStart": "commands run on Linux",
}
