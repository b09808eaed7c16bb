"""The lines of a rollout file → a thread.

A file may come from any version of the original: lines and members that mean nothing here are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import orjson

from shared.errors import InvalidRequest
from shared.ids import is_id, new_id
from shared.images import replace_refused
from shared.protocol import frames
from shared.protocol.model_item_checks import MEMBERS, OUTPUTS, checked, is_part
from shared.protocol.model_items import ModelCall, call_output
from shared.protocol.settings import ThreadSettings
from shared.protocol.thread import GitInfo
from shared.protocol.token_usage import ThreadTokenUsage
from shared.protocol.turn import TurnError, turn_error
from shared.protocol.user_input import ImageInput, LocalImageInput, UserInput, preview
from shared.protocol.web_search import CALL as WEB_SEARCH_CALL
from shared.protocol.web_search import of_provider
from shared.rollout.items import (
    MESSAGE_MEMBERS,
    counts_from_rollout,
    error_info_from_rollout,
    from_rollout,
    is_input,
    policy_from_rollout,
)
from shared.rollout.lines import TURN_STARTED, Compacted, Event, Git, SessionMeta, TokenInfo, TurnContext, unix_ms
from shared.rollout.writer import text_of
from shared.store.histories import History
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn

# Items beside those of MEMBERS that a model is sent again, and their members.
OTHER_MEMBERS = {"compaction": ("type", "encrypted_content"), WEB_SEARCH_CALL: ("type", "id", "status", "action")}


def read(lines: Iterable[bytes], owner: str) -> History:
    """Return the thread of a rollout file as a thread of the owner.

    Its settings are those that the file names, unchecked and not all of them: merge them into defaults. Ids that this
    server could not have made are replaced. What no API accepts as input (definitions of tools, world states) is left
    out.
    Errors: InvalidRequest, naming the line
    """
    reader = _Reader(owner)
    incomplete = 0  # the number of the last line, when its writer died while writing it
    for number, raw in enumerate(lines, 1):
        if incomplete:
            raise InvalidRequest(f"line {incomplete}: not JSON")
        if not raw.strip():
            continue
        try:
            line = frames.decode(raw)
        except ValueError:
            incomplete = number
            continue
        try:
            reader.add_line(line)
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InvalidRequest(f"line {number}: not a line of a rollout file ({error!r})") from None
    if reader.meta is None:
        raise InvalidRequest(f"line {max(incomplete, 1)}: not a rollout file; its first line must be a session_meta")
    return reader.history()


def turn_ids(lines: Iterable[bytes]) -> set[str]:
    """Return the ids of the turns in a file that this server wrote, without reading the whole file."""
    found = (orjson.loads(line) for line in lines if b'"task_started"' in line)
    return {line["payload"]["turn_id"] for line in found if line["payload"].get("type") == "task_started"}


class _Reader:
    """What has been read of a file so far. A turn's id is its index in `turns`, until `history` replaces it.

    own_ids:    the turns' ids in the file; None where the file does not name a turn
    calls:      call id → index of the last call's row with that id; open_calls: only of calls without an output
    compaction: index of the compaction's row whose item has not been read yet
    at_ms:      the latest timestamp, in Unix ms
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.meta: SessionMeta | None = None
        self.settings: dict[str, Any] = {}
        self.name: str | None = None
        self.usage: ThreadTokenUsage | None = None
        self.turns: list[Turn] = []
        self.own_ids: list[str | None] = []
        self.rows: list[Item] = []
        self.calls: dict[str, int] = {}
        self.open_calls: dict[str, int] = {}
        self.compaction: int | None = None
        self.at_ms = 0

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Add one line. Errors: InvalidRequest, or what a member of a wrong type raises."""
        kind, payload = line["type"], line["payload"]
        self.at_ms = max(self.at_ms, unix_ms(line["timestamp"]))
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

    def _session_meta(self, meta: SessionMeta) -> None:
        if not is_id(meta["id"]):
            raise InvalidRequest("the thread's id is not a UUID")
        base = meta.get("history_base")
        if base is not None:
            thread_id = base["thread_id"]
            raise InvalidRequest(f"a fork or a reverted thread: its beginning is in another file of thread {thread_id}")
        self.meta = meta
        self.created_at_ms = unix_ms(meta["timestamp"])
        instructions = meta.get("base_instructions")
        provenance = instructions.get("provenance") if instructions else None
        is_model_own = provenance is not None and provenance.get("type") == "model"
        if instructions and instructions.get("text") and not is_model_own:
            self.settings["baseInstructions"] = instructions["text"]
        self.settings |= {"cwd": str(meta["cwd"]), "modelProvider": meta.get("model_provider")}

    def _turn_context(self, context: TurnContext) -> None:
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

    # -- what the model saw

    def _response_item(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message" and item["role"] == "assistant":
            shown = {**MESSAGE_MEMBERS, "text": text_of([item]), "phase": item.get("phase")}
            self._model_wrote("agentMessage", item, shown)
        elif kind == "reasoning":
            texts = {name: [part["text"] for part in item.get(name) or ()] for name in ("summary", "content")}
            self._model_wrote("reasoning", item, texts)
        elif kind == WEB_SEARCH_CALL:
            self._model_wrote("webSearch", item, of_provider(item))
            if self.rows[-1].item is None:  # in files where the item, which has the call's id, is still to come
                self.calls[str(item.get("id"))] = len(self.rows) - 1
        elif kind == "message":
            self._add("context" if _begins_with_text(item) else "userMessage", model_items=[item])
        elif kind in OUTPUTS:
            self.calls[item["call_id"]] = self.open_calls[item["call_id"]] = len(self.rows)
            self._add("call", model_items=[item], call_id=item["call_id"], answered=False)
        elif kind in OUTPUTS.values():
            index = self.open_calls.pop(item["call_id"], None)
            if index is not None:
                row = self.rows[index]
                self.rows[index] = replace(row, model_items=[*row.model_items, item], answered=True)

    def _model_wrote(self, kind: str, model_item: dict[str, Any], item: Mapping[str, Any]) -> None:
        """Add what the model wrote. In paginated files its item precedes it; in legacy files it becomes the item."""
        assert self.meta is not None
        if self.meta.get("history_mode") != "paginated":
            self._add(kind, model_items=[model_item], item=item, **self._now())
            return
        for index in reversed(range(len(self.rows))):
            row = self.rows[index]
            if row.turn_id != self._turn().id or (row.kind == kind and row.model_items):
                break
            if row.kind == kind:
                self.rows[index] = replace(row, model_items=[model_item])
                return
        self._add(kind, model_items=[model_item])

    def _compacted(self, payload: Compacted) -> None:
        kept: Sequence[Mapping[str, Any]] | None = payload.get("replacement_history")
        if kept is None:
            text = [{"type": "input_text", "text": payload["message"]}]
            kept = [{"type": "message", "role": "user", "content": text}]
        items = [_model_item(item) for item in kept if item["type"] in ("message", "reasoning", "compaction")]
        self.compaction = len(self.rows)
        self._add("contextCompaction", item={}, model_items=items, **self._now())

    # -- what clients saw

    def _event(self, event: Event) -> None:
        match event["type"]:
            case name if name in TURN_STARTED:
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
            case "token_count":
                if info := event.get("info"):
                    self._token_count(info)

    def _item_completed(self, event: Event) -> None:
        kind, item = from_rollout(event["item"])
        item_id = str(event["item"]["id"])
        completed_at_ms = event["completed_at_ms"]
        started_at_ms = event.get("started_at_ms") or completed_at_ms
        ended: dict[str, Any] = {"item": item, "started_at_ms": started_at_ms, "completed_at_ms": completed_at_ms}
        last = self.rows[-1] if self.rows else None
        index: int | None = None
        if kind == "userMessage" and last and last.kind in ("context", "userMessage") and last.item is None:
            index = len(self.rows) - 1
        elif kind == "contextCompaction":
            index, self.compaction = self.compaction, None
        elif kind not in ("agentMessage", "reasoning"):
            index = self._call_of(item_id)
            ended["begun_at_ms"] = started_at_ms
        if index is None:
            self._add(kind, id=item_id, **ended)
        else:
            self.rows[index] = replace(self.rows[index], id=item_id, kind=kind, **ended)

    def _call_of(self, item_id: str) -> int | None:
        """Return the index of an item's call.

        In files of the original the call has the item's id. Items of this server have ids of their own and stand before
        the call's output.
        """
        index = self.calls.get(item_id)
        if index is None and is_id(item_id):
            index = next(reversed(self.open_calls.values()), None)
        return index if index is not None and self.rows[index].item is None else None

    def _user_message(self, event: Event) -> None:
        """Add what a person wrote, in a legacy file. In old files, which do not name turns, it begins a turn."""
        content: list[UserInput] = []
        if event["message"]:
            elements = event.get("text_elements") or []
            content.append({"type": "text", "text": event["message"], "text_elements": elements})
        content += [ImageInput(type="image", url=url) for url in event.get("images") or ()]
        content += [LocalImageInput(type="localImage", path=path) for path in event.get("local_images") or ()]
        last = self.rows[-1] if self.rows else None
        content = [part for part in content if is_input(part)]
        item = {"item": {"clientId": None, "content": content}, **self._now()}
        if not last or last.kind not in ("context", "userMessage") or last.item is not None:
            return self._add("userMessage", **item)
        del self.rows[-1]
        turn = self._turn()
        has_message = any(row.turn_id == turn.id and row.kind == "userMessage" for row in self.rows)
        if has_message and self.own_ids[-1] is None:
            self._end("completed", None)
            self._begin(None)
        return self._add("userMessage", model_items=last.model_items, **item)

    def _token_count(self, info: TokenInfo) -> None:
        total = counts_from_rollout(info["total_token_usage"])
        last = counts_from_rollout(info["last_token_usage"])
        self.usage = {"total": total, "last": last, "modelContextWindow": info.get("model_context_window")}

    def _now(self) -> dict[str, int]:
        return {"started_at_ms": self.at_ms, "completed_at_ms": self.at_ms}

    # -- turns and rows

    def _begin(self, turn_id: str | None) -> None:
        if self.turns and self.turns[-1].phase == "running":
            self._cut_off()
        turn = Turn(str(len(self.turns)), "", self.owner, "running", "inProgress", {}, self.at_ms)
        self.turns.append(replace(turn, started_at_ms=self.at_ms))
        self.own_ids.append(turn_id)

    def _turn(self) -> Turn:
        """Return the turn that a line belongs to."""
        if not self.turns:
            self._begin(None)
        return self.turns[-1]

    def _end(self, status: str, error: TurnError | None) -> None:
        ended = replace(self._turn(), phase="done", status=status, error=error, completed_at_ms=self.at_ms)
        self.turns[-1] = ended

    def _cut_off(self) -> None:
        """End a turn whose end is not in the file because its process was lost (PROTOCOL section 9)."""
        self._end("interrupted", None)
        self.turns[-1] = replace(self.turns[-1], completed_at_ms=None)

    def _add(self, kind: str, **values: Any) -> None:
        row = Item(values.pop("id", ""), "", self._turn().id, len(self.rows) + 1, kind, published_state=2, **values)
        self.rows.append(row)

    # -- the end of the file

    def history(self) -> History:
        """Return the thread. Call it after the last line."""
        assert self.meta is not None
        if self.turns and self.turns[-1].phase == "running":
            if self.own_ids[-1] is None:
                self._end("completed", None)
            else:
                self._cut_off()
        ids = self._turn_ids()
        thread = self._thread(self.meta)
        turns = [
            replace(turn, id=turn_id, thread_id=thread.id, published_state=2)
            for turn, turn_id in zip(self.turns, ids, strict=True)
        ]
        used: set[str] = set()
        rows = []
        for position, row in enumerate(self.rows, 1):
            item_id = row.id if is_id(row.id) and row.id not in used else new_id()
            used.add(item_id)
            turn_id = ids[int(row.turn_id)]
            row = replace(_answered(row), id=item_id, thread_id=thread.id, turn_id=turn_id, position=position)
            rows.append(replace(row, model_items=[replace_refused(item) for item in row.model_items]))
        return History(thread, turns, rows)

    def _turn_ids(self) -> list[str]:
        """Return the turns' ids in the file if they are in order, because lists sort by them; otherwise new ids."""
        own = [str(turn_id) for turn_id in self.own_ids]
        if all(is_id(turn_id) for turn_id in own) and own == sorted(set(own)):
            return own
        return sorted(new_id() for _ in own)

    def _thread(self, meta: SessionMeta) -> Thread:
        git, source = meta.get("git"), meta.get("source")
        contents = (row.item["content"] for row in self.rows if row.kind == "userMessage" and row.item)
        return Thread(
            id=meta["id"],
            owner=self.owner,
            session_id=meta.get("session_id") or meta["id"],
            settings=cast(ThreadSettings, self.settings),
            source=source if isinstance(source, str) else "unknown",
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.at_ms,
            recency_at_ms=self.at_ms,
            used_at_ms=self.at_ms,
            name=self.name,
            preview=next(filter(None, map(preview, contents)), ""),
            forked_from_id=meta.get("forked_from_id"),
            thread_source=meta.get("thread_source"),
            originator=meta.get("originator"),
            git_info=_git_info(git) if git else None,
            materialized=True,
            token_usage=self.usage,
        )


def _git_info(git: Git) -> GitInfo:
    return {"sha": git.get("commit_hash"), "branch": git.get("branch"), "originUrl": git.get("repository_url")}


def _model_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an item that a model is sent; none for kinds that no model is sent.

    Parts that this server does not know are left out. Errors: ValueError
    """
    kind = item["type"]
    if kind in OTHER_MEMBERS:
        return {name: item[name] for name in OTHER_MEMBERS[kind] if item.get(name) is not None}
    if kind not in MEMBERS:
        return {}
    known = {
        name: [part for part in value if is_part(part)] if isinstance(value, list) else value
        for name, value in item.items()
    }
    return checked({"summary": [], **known} if kind == "reasoning" else known, kind)


def _begins_with_text(message: Mapping[str, Any]) -> bool:
    """Return whether a message to the model begins with text, as all messages of the harness do.

    Its row is context until a line says that a person wrote it.
    """
    return bool(message["content"]) and "text" in message["content"][0]


def _answered(row: Item) -> Item:
    """Return a row whose call has an output: no request to a model is built while a call lacks one."""
    if row.answered:
        return row
    output = call_output(cast(ModelCall, row.model_items[0]), "aborted")
    return replace(row, answered=True, model_items=[*row.model_items, {**output}])
