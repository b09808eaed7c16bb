"""What an automatic reviewer reads: the history of a thread and one planned action, both as JSON.

All texts are quoted by a JSON encoder and none is put into a sentence, so that no text can end the data that it is part
of. What the reviewer may take for the user's word is recognized by where a row comes from, never by what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.protocol.items import message_text
from shared.store.items import Item
from workers.agent.compaction import SUMMARY_OPENING
from workers.tools import request_user_input
from workers.tools.base import PreparedCall

ACTION_CHARACTERS = 60_000  # of the planned action; a longer one cannot be judged as a whole
ENTRY_CHARACTERS = 4_000  # of one text of the history
USER_CHARACTERS = 30_000  # of what the user said, the newest first
OTHER_CHARACTERS = 30_000  # of everything else, the newest first
TRUSTED = ("user", "user_answer", "developer")

Entry = dict[str, str]


def history(rows: Sequence[Item]) -> str:
    """Return the newest of a thread's log as a JSON list of {"from", "text"}, oldest first."""
    left = {True: USER_CHARACTERS, False: OTHER_CHARACTERS}
    kept: list[Entry] = []
    for entry in reversed([entry for row in rows for entry in _entries(row)]):
        is_trusted = entry["from"] in TRUSTED
        text = _cut(entry["text"], ENTRY_CHARACTERS)
        if len(text) <= left[is_trusted]:
            left[is_trusted] -= len(text)
            kept.append({"from": entry["from"], "text": text})
    return json.dumps(kept[::-1])


def planned_action(prepared: PreparedCall) -> str | None:
    """Return a call that is to be judged as JSON; None: it is too long to be judged as a whole."""
    item: Mapping[str, Any] = prepared.item or {}
    requirement = prepared.requirement
    known = ("command", "cwd", "changes", "server", "tool", "arguments")
    action: dict[str, object] = {name: item[name] for name in known if name in item}
    if requirement is not None:
        action |= {"outside_of_sandbox": requirement.escalates, "justification": requirement.reason}
    text = json.dumps({"tool_name": prepared.call.name, **action})
    return text if len(text) <= ACTION_CHARACTERS else None


def _entries(row: Item) -> Iterator[Entry]:
    """Yield what a row says, by whom. Context of the server is left out: files of the project make most of it."""
    if row.kind == "context":
        return
    if row.kind == "userMessage" and row.item is not None:
        yield {"from": "user", "text": message_text(row.item)}  # not what the server added for the model
        return
    call_name = ""
    for item in row.model_items:
        match item["type"]:
            case "message":
                yield {"from": _speaker(row, item), "text": _text(item["content"])}
            case "function_call" | "custom_tool_call":
                call_name = f"{item.get('namespace') or ''}{item['name']}"
                yield {"from": "tool_call", "text": f"{call_name}: {item.get('arguments') or item.get('input')}"}
            case "function_call_output" | "custom_tool_call_output":
                # Only our own tool returns the user's word: not one of a server with this name, nor what was injected.
                is_answer = call_name == request_user_input.NAME and row.kind == "call"
                yield {"from": "user_answer" if is_answer else "tool_result", "text": _text(item["output"])}


def _speaker(row: Item, message: Any) -> str:
    """Return who a message is from. What a client injected as the user's may be any text, such as a file's."""
    role = message["role"]
    if row.kind == "contextCompaction":
        return "summary" if _text(message["content"]).startswith(SUMMARY_OPENING) else "user"
    if role == "user":
        return "tool_result"
    return "developer" if role == "developer" and row.kind == "injected" else "assistant"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "[image]")) for part in content)


def _cut(text: str, most: int) -> str:
    """Return the beginning and the end of a text that is too long."""
    if len(text) <= most:
        return text
    half = most // 2 - 20
    return f"{text[:half]}…[{len(text) - 2 * half} characters]…{text[-half:]}"
