"""Save what each client has got of its threads, and what the server answers at the end, for `make console-streams`.

Without the environment variable THREADHOUSE_STREAMS, a folder, nothing is saved. A file is {"session": the result of
thread/start, thread/fork or thread/resume, "events": what followed, "end": the thread of thread/read, or null if it was
deleted, "requests": those that wait for an answer}.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websocket import WebSocketException

if TYPE_CHECKING:
    from tests.support.protocol_client import ProtocolClient

FOLDER = os.environ.get("THREADHOUSE_STREAMS")
BEGINS = ("thread/start", "thread/fork", "thread/resume")
DEADLINE_S = 5.0
MOST_READS = 5


def save(client: ProtocolClient, test: str) -> None:
    """Save the streams of a client that is about to leave, as far as the server still answers. test: its name"""
    if FOLDER is None or not client.recording.wired or client.lost is not None:
        return
    if "thread/unsubscribe" in client.recording.sent.values():  # it gets no more events of some thread
        return
    from tests.support.protocol_client import ConnectionLost

    with suppress(ConnectionLost, OSError, WebSocketException):
        for index, session in _sessions(client):
            _save(Path(FOLDER), client, index, session, test)


def _sessions(client: ProtocolClient) -> list[tuple[int, dict[str, Any]]]:
    """Return each result with which a client began to follow a thread, and its place among the received frames."""
    found = []
    for index, frame in enumerate(list(client.received)):
        if "result" in frame and client.recording.sent.get(frame["id"]) in BEGINS:
            found.append((index, frame["result"]))
    return found


def _save(folder: Path, client: ProtocolClient, index: int, session: dict[str, Any], test: str) -> None:
    thread_id = session["thread"]["id"]
    end, requests = _read(client, index, thread_id)
    events = _events(client, index, thread_id)
    text = json.dumps({"test": test, "session": session, "events": events, "end": end, "requests": requests})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{thread_id}-{id(client)}-{index}.json").write_text(text)


def _events(client: ProtocolClient, index: int, thread_id: str) -> list[dict[str, Any]]:
    frames = list(client.received)[index:]
    return [frame for frame in frames if "method" in frame and frame["params"].get("threadId") == thread_id]


def _read(client: ProtocolClient, index: int, thread_id: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the thread and its requests as they are when all that the thread shows has had the time to arrive."""
    from tests.support.protocol_client import RpcError

    for _ in range(MOST_READS):
        known = len(_events(client, index, thread_id))
        try:
            end = client.request("thread/read", {"threadId": thread_id, "includeTurns": True}, DEADLINE_S)["thread"]
            listed = client.request("serverRequest/list", {"limit": 500}, DEADLINE_S)["data"]
        except RpcError:
            return None, []
        requests = [one for one in listed if one["threadId"] == thread_id]
        ended = {turn["id"] for turn in end["turns"] if turn["status"] != "inProgress"}
        ended -= {turn["id"] for turn in client.received[index]["result"]["thread"]["turns"]}
        for turn_id in ended:
            with suppress(TimeoutError):
                client.wait_for(lambda frame, one=turn_id: _is_end(frame, one), DEADLINE_S, after=index)  # type: ignore[misc]
        if len(_events(client, index, thread_id)) == known:
            break
    return end, requests


def _is_end(frame: dict[str, Any], turn_id: str) -> bool:
    return frame.get("method") == "turn/completed" and frame["params"]["turn"]["id"] == turn_id
