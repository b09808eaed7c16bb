"""One example of params for each method that needs some; the documentation shows them, a test checks them."""

from __future__ import annotations

from typing import Any

THREAD = "01a20431-7b1c-7c3e-9d43-8a6f1f0f2b11"
TURN = "01a20431-9f02-7a10-b3c4-55d2a1c0e7f9"
INPUT = [{"type": "text", "text": "List the files here."}]
EDIT = {"keyPath": "model_reasoning_effort", "value": "high", "mergeStrategy": "replace"}
OF_A_THREAD = {"threadId": THREAD}

FILE = "/workspaces/local/" + THREAD + "/notes.txt"
FOLDER = "/workspaces/local/" + THREAD

EXAMPLES: dict[str, dict[str, Any]] = {
    "admin/turn/interrupt": OF_A_THREAD,
    "admin/user/disable": {"userId": "01a20430-11aa-7f00-9c41-6b7d2e9f0a33", "stopTurns": True},
    "admin/user/enable": {"userId": "01a20430-11aa-7f00-9c41-6b7d2e9f0a33"},
    "command/exec": {"command": ["ls", "-l"], "cwd": FOLDER},
    "command/exec/resize": {"processId": "shell-1", "size": {"cols": 120, "rows": 40}},
    "command/exec/terminate": {"processId": "shell-1"},
    "command/exec/write": {"processId": "shell-1", "deltaBase64": "bHMK"},
    "config/batchWrite": {"edits": [EDIT]},
    "config/value/write": EDIT,
    "feedback/read": {"feedbackId": "01a20432-3c5e-7b21-8f60-2f4c9d0a7e15"},
    "feedback/upload": {**OF_A_THREAD, "classification": "bug", "reason": "It stops half way.", "includeLogs": True},
    "fs/copy": {"sourcePath": FILE, "destinationPath": FILE + ".bak"},
    "fs/createDirectory": {"path": FOLDER + "/src", "recursive": True},
    "fs/getMetadata": {"path": FILE},
    "fs/readDirectory": {"path": FOLDER},
    "fs/readFile": {"path": FILE},
    "fs/remove": {"path": FILE},
    "fs/writeFile": {"path": FILE, "dataBase64": "aGVsbG8K"},
    "fuzzyFileSearch": {"query": "notes", "roots": [FOLDER]},
    "fuzzyFileSearch/sessionStart": {"sessionId": "search-1", "roots": [FOLDER]},
    "fuzzyFileSearch/sessionStop": {"sessionId": "search-1"},
    "fuzzyFileSearch/sessionUpdate": {"sessionId": "search-1", "query": "no"},
    "gitDiffToRemote": {"cwd": FOLDER},
    "initialize": {"clientInfo": {"name": "my_client", "version": "1.0.0"}},
    "review/start": {**OF_A_THREAD, "target": {"type": "uncommittedChanges"}},
    "thread/archive": OF_A_THREAD,
    "thread/compact/start": OF_A_THREAD,
    "thread/delete": OF_A_THREAD,
    "thread/fork": {**OF_A_THREAD, "lastTurnId": TURN},
    "thread/goal/clear": OF_A_THREAD,
    "thread/goal/get": OF_A_THREAD,
    "thread/goal/set": {**OF_A_THREAD, "objective": "All tests pass."},
    "thread/inject_items": {
        **OF_A_THREAD,
        "items": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "By the way: …"}]}],
    },
    "thread/items/list": {**OF_A_THREAD, "sortDirection": "desc", "limit": 50},
    "thread/list": {"limit": 20, "searchTerm": "tests"},
    "thread/metadata/update": {**OF_A_THREAD, "gitInfo": {"branch": "main"}},
    "thread/name/set": {**OF_A_THREAD, "name": "The flaky test"},
    "thread/read": {**OF_A_THREAD, "includeTurns": True},
    "thread/resume": {**OF_A_THREAD, "excludeTurns": True},
    "thread/revert": {**OF_A_THREAD, "beforeTurnId": TURN},
    "thread/rollback": {**OF_A_THREAD, "numTurns": 1},
    "thread/settings/update": {**OF_A_THREAD, "effort": "high"},
    "thread/shellCommand": {**OF_A_THREAD, "command": "git status"},
    "thread/start": {"sandbox": "workspace-write", "approvalPolicy": "on-request"},
    "thread/turns/list": {**OF_A_THREAD, "itemsView": "full"},
    "thread/unarchive": OF_A_THREAD,
    "thread/unsubscribe": OF_A_THREAD,
    "thread/workspace/read": {**OF_A_THREAD, "format": "diff"},
    "turn/interrupt": {**OF_A_THREAD, "turnId": TURN},
    "turn/start": {**OF_A_THREAD, "input": INPUT},
    "turn/steer": {**OF_A_THREAD, "expectedTurnId": TURN, "input": INPUT},
}
