"""What the methods' examples are made of: ids and objects of one thread of one user.

Each method has an EXAMPLE; the documentation shows it, and tests check that its params and its result are valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from api.requests.results import SessionResult
from api.requests.schemas import to_wire
from shared.protocol.items import agent_message
from shared.protocol.settings import ThreadSettings
from shared.protocol.thread import SOURCE, StoredGoal
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn
from shared.views.thread import goal_object, session_result, thread_object
from shared.views.turn import turn_object


@dataclass(frozen=True)
class Example:
    """A request and its result, as JSON. Both are empty objects unless given."""

    params: Mapping[str, object] = field(default_factory=dict)
    result: Mapping[str, object] = field(default_factory=dict)


THREAD_ID = "01a20431-7b1c-7c3e-9d43-8a6f1f0f2b11"
TURN_ID = "01a20431-9f02-7a10-b3c4-55d2a1c0e7f9"
USER_ID = "01a20430-11aa-7f00-9c41-6b7d2e9f0a33"
FEEDBACK_ID = "01a20432-3c5e-7b21-8f60-2f4c9d0a7e15"
SHARE_ID = "01a20433-5b0d-7d44-a1c7-90d3b2e8f456"
ERASURE_ID = "01a20434-6f3a-7e02-9b44-1c2d3e4f5a60"
KEY_ID = "01a20430-4b2c-7d10-8a55-3e6f7a8b9c0d"
DELIVERY_ID = "01a20433-5d7e-7c21-9e66-4f5a6b7c8d9e"
BEGIN_MS = 1_764_324_000_000
END_MS = BEGIN_MS + 4000
FOLDER = "/workspaces/local/" + THREAD_ID
FILE = FOLDER + "/notes.txt"

# params
ON_THREAD = {"threadId": THREAD_ID}
INPUT = [{"type": "text", "text": "List the files here."}]
CONFIG_EDIT = {"keyPath": "model_reasoning_effort", "value": "high", "mergeStrategy": "replace"}

# results
_SETTINGS: ThreadSettings = {
    "model": "gpt-5.5",
    "modelProvider": "openai",
    "cwd": FOLDER,
    "approvalPolicy": "on-request",
    "approvalsReviewer": "user",
    "sandboxPolicy": {
        "type": "workspaceWrite",
        "writableRoots": [],
        "networkAccess": False,
        "excludeTmpdirEnvVar": False,
        "excludeSlashTmp": False,
    },
}
_GOAL: StoredGoal = {
    "objective": "All tests pass.",
    "status": "active",
    "tokenBudget": None,
    "tokensBefore": 0,
    "createdAtMs": BEGIN_MS,
    "updatedAtMs": BEGIN_MS,
}
_THREAD = Thread(
    id=THREAD_ID,
    owner="local",
    session_id=THREAD_ID,
    settings=_SETTINGS,
    source=SOURCE,
    preview="List the files here.",
    originator="my_client",
    goal=_GOAL,
    created_at_ms=BEGIN_MS,
    updated_at_ms=BEGIN_MS,
    recency_at_ms=BEGIN_MS,
    used_at_ms=BEGIN_MS,
)
MESSAGE = Item(
    id="01a20431-a3c4-7d20-8e11-0f6b7c8d9e21",
    thread_id=THREAD_ID,
    turn_id=TURN_ID,
    position=2,
    kind="agentMessage",
    item=dict(agent_message("There is one file, notes.txt.", "final_answer")),
    started_at_ms=BEGIN_MS + 1000,
    completed_at_ms=END_MS,
)
_TURN = Turn(TURN_ID, THREAD_ID, "local", phase="queued", status="inProgress", options={}, created_at_ms=BEGIN_MS)
TURN = turn_object(_TURN)
ENDED_TURN = turn_object(
    replace(_TURN, phase="done", status="completed", started_at_ms=BEGIN_MS, completed_at_ms=END_MS), [MESSAGE], "full"
)
THREAD = thread_object(_THREAD)
GOAL = goal_object(_THREAD, 0)
SESSION = to_wire(SessionResult(**session_result(_THREAD)))
FEEDBACK = {
    "id": FEEDBACK_ID,
    "threadId": THREAD_ID,
    "classification": "bug",
    "reason": "It stops half way.",
    "tags": {},
    "includeLogs": True,
    "status": "delivered",
    "error": None,
    "duplicateOf": None,
    "createdAt": BEGIN_MS // 1000,
    "updatedAt": END_MS // 1000,
}
USER = {"userId": USER_ID, "name": "ada", "role": "member", "createdAtMs": BEGIN_MS, "disabledAtMs": None}
CONFIG_WRITTEN = {"status": "ok", "version": "3", "filePath": "/threadhouse/config.toml", "overriddenMetadata": None}
OPEN_TURN = {
    "turnId": TURN_ID,
    "threadId": THREAD_ID,
    "userId": USER_ID,
    "state": "queued",
    "sinceMs": BEGIN_MS,
    "worker": None,
    "lostWorkers": 0,
    "cause": "noWorker",
    "why": "no worker takes turns: start one with `threadhouse worker`",
}
