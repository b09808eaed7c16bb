"""A thread ⇄ a Codex rollout file (PROTOCOL section 12), so that `codex resume` goes on where a thread of ours stands.

We write history mode "paginated": every line has its ordinal, and what clients see are `item_completed` lines beside
the `response_item` lines that the model sees. Both modes are read.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import orjson

from shared.catalogue import context_window
from shared.errors import InvalidRequest
from shared.ids import is_id, new_id
from shared.protocol import frames
from shared.protocol.thread import CODEX_VERSION
from shared.protocol.turn import turn_error
from shared.rollout_items import (
    MESSAGE_MEMBERS,
    error_info_from_rollout,
    error_to_rollout,
    from_rollout,
    policy_from_rollout,
    policy_to_rollout,
    to_rollout,
)
from shared.store.histories import History
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import PREVIEW_CHARACTERS, SHELL_COMMAND, Turn, output_for

ORIGINATOR = "threadhouse"
STARTED = "task_started"
COUNTERS = {
    "input_tokens": "inputTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
    "output_tokens": "outputTokens",
    "reasoning_output_tokens": "reasoningOutputTokens",
    "total_tokens": "totalTokens",
}
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
# What of a Responses item goes back to a model: ids are another server's, the rest is Codex's own.
MODEL_MEMBERS = {
    "message": ("type", "role", "content", "phase"),
    "reasoning": ("type", "summary", "content", "encrypted_content"),
    "compaction": ("type", "encrypted_content"),
    "function_call": ("type", "name", "arguments", "call_id"),
    "function_call_output": ("type", "call_id", "output"),
    "custom_tool_call": ("type", "name", "input", "call_id"),
    "custom_tool_call_output": ("type", "call_id", "output"),
}

Line = tuple[int, str, dict[str, Any]]  # its time in Unix ms, its type, its payload


def file_name(thread: Thread) -> PurePosixPath:
    """YYYY/MM/DD/rollout-YYYY-MM-DDTHH-MM-SS-<thread id>.jsonl, by the time of creation in UTC."""
    at = datetime.datetime.fromtimestamp(thread.created_at_ms / 1000, datetime.UTC)
    return PurePosixPath(f"{at:%Y/%m/%d}", f"rollout-{at:%Y-%m-%dT%H-%M-%S}-{thread.id}.jsonl")


# -- a thread → lines


def write(history: History) -> Iterator[bytes]:
    """The lines of a thread's file, each with its line end."""
    latest_ms = 0
    for ordinal, (at_ms, kind, payload) in enumerate(_lines(history)):
        latest_ms = max(latest_ms, at_ms)
        line = {"timestamp": _timestamp(latest_ms), "ordinal": ordinal, "type": kind, "payload": payload}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _lines(history: History) -> Iterator[Line]:
    thread = history.thread
    yield thread.created_at_ms, "session_meta", _session_meta(thread)
    if thread.name is not None:
        named = {"type": "thread_name_updated", "thread_id": thread.id, "thread_name": thread.name}
        yield thread.created_at_ms, "event_msg", named
    rows: dict[str, list[Item]] = {}
    for row in history.items:
        rows.setdefault(row.turn_id, []).append(row)
    for turn in history.turns:
        is_last = turn is history.turns[-1]
        yield from _turn_lines(thread, turn, rows.get(turn.id, []), thread.token_usage if is_last else None)


def _session_meta(thread: Thread) -> dict[str, Any]:
    settings, git = thread.settings, thread.git_info
    meta: dict[str, Any] = {
        "id": thread.id,
        "session_id": thread.session_id,
        "timestamp": _timestamp(thread.created_at_ms),
        "cwd": settings["cwd"],
        "runtime_workspace_roots": [settings["cwd"]],
        "originator": thread.originator or ORIGINATOR,
        "cli_version": CODEX_VERSION,
        "source": thread.source,
        "model_provider": settings["modelProvider"],
        "history_mode": "paginated",
    }
    if thread.forked_from_id is not None:
        meta["forked_from_id"] = thread.forked_from_id
    if thread.thread_source is not None:
        meta["thread_source"] = thread.thread_source
    if settings.get("baseInstructions"):
        meta["base_instructions"] = {"text": settings["baseInstructions"], "provenance": {"type": "custom"}}
    if git is not None:
        meta["git"] = {"commit_hash": git["sha"], "branch": git["branch"], "repository_url": git["originUrl"]}
    return meta


def _turn_context(thread: Thread, turn: Turn) -> dict[str, Any]:
    settings = thread.settings
    mode = settings.get("collaborationMode") or {"mode": "default", "settings": {}}
    return {
        "turn_id": turn.id,
        "root_turn_id": turn.id,
        "cwd": settings["cwd"],
        "approval_policy": settings["approvalPolicy"],
        "approvals_reviewer": settings["approvalsReviewer"],
        "sandbox_policy": policy_to_rollout(settings["sandboxPolicy"]),
        "model": settings["model"],
        "effort": settings.get("effort"),
        "summary": settings.get("summary") or "none",
        "personality": settings.get("personality"),
        "collaboration_mode": {
            "mode": mode["mode"],
            "settings": {
                "model": settings["model"],
                "reasoning_effort": settings.get("effort"),
                "developer_instructions": mode["settings"].get("developer_instructions")
                or settings.get("developerInstructions"),
            },
        },
    }


def _turn_lines(thread: Thread, turn: Turn, rows: Sequence[Item], usage: dict[str, Any] | None) -> Iterator[Line]:
    at_ms = turn.started_at_ms or turn.created_at_ms
    window = usage["modelContextWindow"] if usage else context_window(thread.settings["model"])
    began = {"started_at": at_ms // 1000, "model_context_window": window, "collaboration_mode_kind": "default"}
    yield at_ms, "event_msg", {"type": STARTED, "turn_id": turn.id, "root_turn_id": turn.id, **began}
    yield at_ms, "turn_context", _turn_context(thread, turn)
    message = None
    for row in rows:
        at_ms = row.completed_at_ms or row.started_at_ms or at_ms
        if row.kind == "agentMessage" and row.item is not None:
            message = row.item["text"]
        for kind, payload in _row_lines(row):
            yield at_ms, kind, payload
    if usage is not None:
        yield at_ms, "event_msg", {"type": "token_count", "info": _token_info(usage), "rate_limits": None}
    if turn.completed_at_ms is None:
        return
    end: dict[str, Any] = {
        "turn_id": turn.id,
        "root_turn_id": turn.id,
        "started_at": (turn.started_at_ms or turn.created_at_ms) // 1000,
        "completed_at": turn.completed_at_ms // 1000,
        "duration_ms": turn.completed_at_ms - (turn.started_at_ms or turn.created_at_ms),
    }
    if turn.status == "interrupted":
        yield turn.completed_at_ms, "event_msg", {"type": "turn_aborted", **end, "reason": "interrupted"}
    elif turn.status == "failed" and turn.error is not None:
        failed = {"last_agent_message": None, "error": error_to_rollout(turn.error)}
        yield turn.completed_at_ms, "event_msg", {"type": "task_complete", **end, **failed}
    else:
        yield turn.completed_at_ms, "event_msg", {"type": "task_complete", **end, "last_agent_message": message}


def _row_lines(row: Item) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the model said comes behind its item, what it was told before; a call, its item, its output."""
    before = {"agentMessage": 0, "reasoning": 0}.get(row.kind, 1 if row.call_id else len(row.model_items))
    if row.kind == "contextCompaction":
        yield "compacted", {"message": _text(row.model_items[-1:]), "replacement_history": row.model_items}
    else:
        yield from (("response_item", item) for item in row.model_items[:before] if item["type"] != SHELL_COMMAND)
    if row.item is not None and row.completed_at_ms is not None:
        completed = {
            "type": "item_completed",
            "thread_id": row.thread_id,
            "turn_id": row.turn_id,
            "item": to_rollout(row.kind, row.id, row.item),
            "started_at_ms": row.started_at_ms,
            "completed_at_ms": row.completed_at_ms,
        }
        yield "event_msg", completed
    yield from (("response_item", item) for item in row.model_items[before:])


def _text(model_items: Sequence[dict[str, Any]]) -> str:
    parts = (part for item in model_items for part in item.get("content") or ())
    return "".join(part.get("text", "") for part in parts)


def _token_info(usage: dict[str, Any]) -> dict[str, Any]:
    total, last = ({ours: usage[of][wire] for ours, wire in COUNTERS.items()} for of in ("total", "last"))
    return {
        "total_token_usage": total,
        "last_token_usage": last,
        "last_usage_includes_reasoning": False,
        "model_context_window": usage["modelContextWindow"],
    }


# -- lines → a thread


def read(lines: Iterable[bytes], owner: str) -> History:
    """The thread of a rollout file, as its owner's.

    Its settings are those that the file names, unchecked and not all of them: merge them into defaults. Ids that cannot
    be ours are replaced. What no API takes as input (definitions of tools, world states) is left out.
    Errors: InvalidRequest, naming the line
    """
    reader = _Reader(owner)
    torn = 0
    for number, raw in enumerate(lines, 1):
        if torn:
            raise InvalidRequest(f"line {torn}: not JSON")
        if not raw.strip():
            continue
        try:
            line = frames.decode(raw)
        except ValueError:
            torn = number  # the last line of a writer that died in mid-line; anywhere else an error
            continue
        try:
            reader.take(line)
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InvalidRequest(f"line {number}: not a line of a rollout file ({error!r})") from None
    if reader.meta is None:
        raise InvalidRequest(f"line {max(torn, 1)}: not a rollout file; its first line must be a session_meta")
    return reader.history()


def turn_ids(lines: Iterable[bytes]) -> set[str]:
    """Ids of the turns that a file has."""
    found = (orjson.loads(line) for line in lines if b'"task_started"' in line)
    return {line["payload"]["turn_id"] for line in found if line["payload"].get("type") == STARTED}


class _Reader:
    """The file so far. A turn has its place in `turns` as its id, until history() knows better.

    own_ids:    what the file calls the turns; None: it does not say
    calls:      call id → place of the last call with that id; open_calls: of those without an output
    compaction: place of the row whose item is still to come
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.meta: dict[str, Any] | None = None
        self.settings: dict[str, Any] = {}
        self.name: str | None = None
        self.usage: dict[str, Any] | None = None
        self.turns: list[Turn] = []
        self.own_ids: list[str | None] = []
        self.rows: list[Item] = []
        self.calls: dict[str, int] = {}
        self.open_calls: dict[str, int] = {}
        self.compaction: int | None = None
        self.at_ms = 0

    def take(self, line: dict[str, Any]) -> None:
        kind, payload = line["type"], line["payload"]
        self.at_ms = max(self.at_ms, _unix_ms(line["timestamp"]))
        if self.meta is None:
            if kind != "session_meta":
                raise InvalidRequest("not a rollout file; its first line must be a session_meta")
            return self._session_meta(payload)
        match kind:
            case "turn_context":
                self._turn_context(payload)
            case "response_item":
                self._response_item(_model_item(payload))
            case "compacted":
                self._compacted(payload)
            case "event_msg":
                self._event(payload)

    def _session_meta(self, meta: dict[str, Any]) -> None:
        if not is_id(meta["id"]):
            raise InvalidRequest("the thread's id is not a UUID")
        if meta.get("history_base") is not None:
            base = meta["history_base"]["thread_id"]
            raise InvalidRequest(f"a fork or a reverted thread: its beginning is in another file of thread {base}")
        self.meta = meta
        self.created_at_ms = _unix_ms(meta["timestamp"])
        base_instructions = meta.get("base_instructions") or {}
        is_model_own = (base_instructions.get("provenance") or {}).get("type") == "model"
        if base_instructions.get("text") and not is_model_own:
            self.settings["baseInstructions"] = base_instructions["text"]
        self.settings |= {"cwd": str(meta["cwd"]), "modelProvider": meta.get("model_provider")}

    def _turn_context(self, context: dict[str, Any]) -> None:
        mode = context.get("collaboration_mode")
        found = {
            "cwd": context.get("cwd"),
            "approvalPolicy": context.get("approval_policy"),
            "approvalsReviewer": context.get("approvals_reviewer"),
            "sandboxPolicy": policy_from_rollout(context["sandbox_policy"]) if "sandbox_policy" in context else None,
            "model": context.get("model"),
            "effort": context.get("effort"),
            "summary": context.get("summary"),
            "personality": context.get("personality"),
            "developerInstructions": mode["settings"].get("developer_instructions") if mode else None,
        }
        self.settings |= {name: value for name, value in found.items() if value is not None}

    def _response_item(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message" and item["role"] == "assistant":
            self._said("agentMessage", item, {**MESSAGE_MEMBERS, "text": _text([item]), "phase": item.get("phase")})
        elif kind == "reasoning":
            texts = {name: [part["text"] for part in item.get(name) or ()] for name in ("summary", "content")}
            self._said("reasoning", item, texts)
        elif kind == "message":
            self._add("context" if _begins_with_text(item) else "userMessage", model_items=[item])
        elif kind in CALLS:
            self.calls[item["call_id"]] = self.open_calls[item["call_id"]] = len(self.rows)
            self._add("call", model_items=[item], call_id=item["call_id"], answered=False)
        elif kind in CALLS.values():
            place = self.open_calls.pop(item["call_id"], None)
            if place is not None:
                row = self.rows[place]
                self.rows[place] = replace(row, model_items=[*row.model_items, item], answered=True)

    def _said(self, kind: str, model_item: dict[str, Any], shown: dict[str, Any]) -> None:
        """The model said something; in paginated files its item stands before it, in legacy ones it is the item."""
        assert self.meta is not None
        if self.meta.get("history_mode") != "paginated":
            self._add(kind, model_items=[model_item], item=shown, **self._now())
            return
        for place in reversed(range(len(self.rows))):
            row = self.rows[place]
            if row.turn_id != self._turn().id or (row.kind == kind and row.model_items):
                break
            if row.kind == kind:
                self.rows[place] = replace(row, model_items=[model_item])
                return
        self._add(kind, model_items=[model_item])

    def _compacted(self, payload: dict[str, Any]) -> None:
        kept = payload.get("replacement_history")
        if kept is None:
            text = [{"type": "input_text", "text": payload["message"]}]
            kept = [{"type": "message", "role": "user", "content": text}]
        items = [_model_item(item) for item in kept if item["type"] in ("message", "reasoning", "compaction")]
        self.compaction = len(self.rows)
        self._add("contextCompaction", item={}, model_items=items, **self._now())

    def _event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "task_started" | "turn_started":
                self._begin(event.get("turn_id"))
            case "task_complete" | "turn_complete":
                error = event.get("error")
                info = error_info_from_rollout(error.get("codex_error_info")) if error else None
                self._end("failed" if error else "completed", turn_error(error["message"], info) if error else None)
            case "turn_aborted":
                self._end("interrupted", None)
            case "item_completed":
                self._item_completed(event)
            case "user_message":
                self._user_message(event)
            case "thread_name_updated":
                self.name = event.get("thread_name")
            case "token_count" if event.get("info"):
                self._token_count(event["info"])

    def _item_completed(self, event: dict[str, Any]) -> None:
        kind, item = from_rollout(event["item"])
        item_id = event["item"]["id"]
        ended = {"item": item, "started_at_ms": event.get("started_at_ms"), "completed_at_ms": event["completed_at_ms"]}
        ended["started_at_ms"] = ended["started_at_ms"] or ended["completed_at_ms"]
        last = self.rows[-1] if self.rows else None
        place: int | None = None
        if kind == "userMessage" and last and last.kind in ("context", "userMessage") and last.item is None:
            place = len(self.rows) - 1
        elif kind == "contextCompaction":
            place, self.compaction = self.compaction, None
        elif kind not in ("agentMessage", "reasoning"):
            place = self._call_of(item_id)
            ended["begun_at_ms"] = ended["started_at_ms"]
        if place is None:
            self._add(kind, id=item_id, **ended)
        else:
            self.rows[place] = replace(self.rows[place], id=item_id, kind=kind, **ended)

    def _call_of(self, item_id: str) -> int | None:
        """Where an item's call is: it has its id; ours have ids of their own and stand before the output."""
        place = self.calls.get(item_id)
        if place is None and is_id(item_id):
            place = next(reversed(self.open_calls.values()), None)
        return place if place is not None and self.rows[place].item is None else None

    def _user_message(self, event: dict[str, Any]) -> None:
        """What a person said, in a legacy file. Old ones do not say where turns begin: then it does."""
        content: list[dict[str, Any]] = []
        if event["message"]:
            elements = event.get("text_elements") or []
            content.append({"type": "text", "text": event["message"], "text_elements": elements})
        content += [{"type": "image", "url": url} for url in event.get("images") or ()]
        content += [{"type": "localImage", "path": path} for path in event.get("local_images") or ()]
        last = self.rows[-1] if self.rows else None
        shown = {"item": {"clientId": None, "content": content}, **self._now()}
        if not last or last.kind not in ("context", "userMessage") or last.item is not None:
            return self._add("userMessage", **shown)
        del self.rows[-1]
        turn = self._turn()
        said = any(row.turn_id == turn.id and row.kind == "userMessage" for row in self.rows)
        if said and self.own_ids[-1] is None:
            self._end("completed", None)
            self._begin(None)
        return self._add("userMessage", model_items=last.model_items, **shown)

    def _token_count(self, info: dict[str, Any]) -> None:
        found = (info["total_token_usage"], info["last_token_usage"])
        total, last = ({wire: usage.get(name, 0) for name, wire in COUNTERS.items()} for usage in found)
        self.usage = {"total": total, "last": last, "modelContextWindow": info.get("model_context_window")}

    def _now(self) -> dict[str, int]:
        return {"started_at_ms": self.at_ms, "completed_at_ms": self.at_ms}

    def _begin(self, turn_id: str | None) -> None:
        """A turn; while it is open, its id is its place."""
        if self.turns and self.turns[-1].phase == "running":
            self._cut_off()
        turn = Turn(str(len(self.turns)), "", self.owner, "running", "inProgress", {}, self.at_ms)
        self.turns.append(replace(turn, started_at_ms=self.at_ms))
        self.own_ids.append(turn_id)

    def _turn(self) -> Turn:
        """The turn that a line belongs to."""
        if not self.turns:
            self._begin(None)
        return self.turns[-1]

    def _end(self, status: str, error: dict[str, Any] | None) -> None:
        ended = replace(self._turn(), phase="done", status=status, error=error, completed_at_ms=self.at_ms)
        self.turns[-1] = ended

    def _cut_off(self) -> None:
        """The turn's end is not in the file: its process was lost (PROTOCOL section 9)."""
        self._end("interrupted", None)
        self.turns[-1] = replace(self.turns[-1], completed_at_ms=None)

    def _add(self, kind: str, **values: Any) -> None:
        row = Item(values.pop("id", ""), "", self._turn().id, len(self.rows) + 1, kind, announced=2, **values)
        self.rows.append(row)

    # -- the end of the file

    def history(self) -> History:
        assert self.meta is not None
        if self.turns and self.turns[-1].phase == "running":
            if self.own_ids[-1] is None:
                self._end("completed", None)
            else:
                self._cut_off()
        ids = self._turn_ids()
        thread = self._thread(self.meta)
        turns = [
            replace(turn, id=turn_id, thread_id=thread.id, announced=2)
            for turn, turn_id in zip(self.turns, ids, strict=True)
        ]
        taken: set[str] = set()
        rows = []
        for position, row in enumerate(self.rows, 1):
            item_id = row.id if is_id(row.id) and row.id not in taken else new_id()
            taken.add(item_id)
            turn_id = ids[int(row.turn_id)]
            row = replace(_answered(row), id=item_id, thread_id=thread.id, turn_id=turn_id, position=position)
            rows.append(row)
        return History(thread, turns, rows)

    def _turn_ids(self) -> list[str]:
        """Their own, if they are in order; lists go by them."""
        own = [str(turn_id) for turn_id in self.own_ids]
        if all(is_id(turn_id) for turn_id in own) and own == sorted(set(own)):
            return own
        return sorted(new_id() for _ in own)

    def _thread(self, meta: dict[str, Any]) -> Thread:
        git = meta.get("git")
        said = (row.item["content"] for row in self.rows if row.kind == "userMessage" and row.item)
        texts = ["\n".join(part["text"] for part in content if part["type"] == "text") for content in said]
        return Thread(
            id=meta["id"],
            owner=self.owner,
            session_id=meta.get("session_id") or meta["id"],
            settings=self.settings,
            source=meta["source"] if isinstance(meta.get("source"), str) else "unknown",
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.at_ms,
            recency_at_ms=self.at_ms,
            used_at_ms=self.at_ms,
            name=self.name,
            preview=next((text for text in texts if text), "")[:PREVIEW_CHARACTERS],
            forked_from_id=meta.get("forked_from_id"),
            thread_source=meta.get("thread_source"),
            originator=meta.get("originator"),
            git_info=git
            and {"sha": git.get("commit_hash"), "branch": git.get("branch"), "originUrl": git.get("repository_url")},
            materialized=True,
            token_usage=self.usage,
        )


def _model_item(item: dict[str, Any]) -> dict[str, Any]:
    """What of an item a model is sent; empty for kinds that it is not sent."""
    members = MODEL_MEMBERS.get(item["type"], ())
    return {name: item[name] for name in members if item.get(name) is not None}


def _begins_with_text(message: dict[str, Any]) -> bool:
    """What the harness says does; it is told from what a person says by that."""
    return bool(message["content"]) and "text" in message["content"][0]


def _answered(row: Item) -> Item:
    """A call that was cut off gets the output that no request to a model is built without."""
    if row.answered:
        return row
    told = output_for(row.model_items[0], "aborted")
    return replace(row, answered=True, model_items=[*row.model_items, told])


def _timestamp(at_ms: int) -> str:
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unix_ms(timestamp: str) -> int:
    return round(datetime.datetime.fromisoformat(timestamp).timestamp() * 1000)
