"""One turn on a server as a stream of notifications that survives broken connections."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from api.cli.client import RESULT, Client, Event, EventData
from api.cli.output import Output
from shared.errors import InvalidRequest, ThreadhouseError, Unavailable
from shared.ids import new_id
from shared.protocol.user_input import UserInput

RECONNECT_SECONDS = 0.5  # between two attempts to reach a server that went away
GIVE_UP_SECONDS = 120.0  # without an event; the turn itself continues on the server
BEFORE_FIRST_EVENT = "0-0"
CURSOR_EXPIRED = "threadhouse/cursorExpired"  # the log lost events after our cursor; the stored items have them


class TurnStream:
    """One turn, from its start to its end.

    err:     where it says that the server is away
    answers: whether the caller answers the requests of the server; otherwise they are refused
    message: the last message of the agent
    status:  how the turn ended; "inProgress" until then
    """

    def __init__(
        self,
        client: Client,
        thread_id: str,
        user_input: Sequence[UserInput],
        err: Output,
        output_schema: Mapping[str, object] | None = None,
        *,
        answers: bool = False,
    ) -> None:
        self.message: str | None = None
        self.status = "inProgress"
        self._client = client
        self._err = err
        self._answers = answers
        self._thread_id = thread_id
        self._turn_id: str | None = None
        self._is_interrupted = False  # the caller wants the turn to end
        self._was_requested = False  # the turn may have begun, although no reply came
        self._cursor = BEFORE_FIRST_EVENT
        self._completed: set[str] = set()  # ids of the items whose item/completed was yielded
        self._message_id = new_id()  # lets turn/start be repeated: the server accepts each id once
        self._start_params = {
            "threadId": thread_id,
            "input": list(user_input),
            "clientUserMessageId": self._message_id,
            **({"outputSchema": output_schema} if output_schema is not None else {}),
        }

    def events(self) -> Iterator[EventData]:
        """Yield the turn's notifications, each once. Errors: Unavailable (away for too long); those of Client."""
        give_up_at, is_connected = time.monotonic() + GIVE_UP_SECONDS, True
        while self.status == "inProgress":
            try:
                for event in self._new_events():
                    give_up_at, is_connected = time.monotonic() + GIVE_UP_SECONDS, True
                    if self._record(event):
                        yield event.data
                        if "id" in event.data and not self._answers:
                            self.refuse(event.data, {})
                    if self.status != "inProgress":
                        return
            except Unavailable as error:
                if time.monotonic() > give_up_at:
                    raise
                if is_connected:
                    self._err.write(f"{error}; trying again for {GIVE_UP_SECONDS:.0f} s")
                is_connected = False
            time.sleep(RECONNECT_SECONDS)

    def interrupt(self) -> None:
        """Interrupt the turn, at once or when its id is known. A failure is printed, because the caller ends anyway.

        Another thread than that of `events` may call it.
        """
        self._is_interrupted = True
        if self._turn_id is not None:
            try:
                self._client.call("turn/interrupt", {"threadId": self._thread_id, "turnId": self._turn_id})
            except ThreadhouseError as error:
                self._err.write(f"the turn was not interrupted: {error}")

    def answer(self, request_id: int, result: Mapping[str, object]) -> None:
        """Answer a request of the server, unless somebody has. Errors: Unavailable (away for too long)."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                with suppress(InvalidRequest):  # somebody has answered
                    self._client.call("serverRequest/respond", {"requestId": request_id, "result": result})
                return
            except Unavailable:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(RECONNECT_SECONDS)

    def refuse(self, event: EventData, result: Mapping[str, object]) -> bool:
        """Refuse a server request in our turn (a question, a call of a tool), so that the turn does not wait for ever.

        Somebody else's turn that took our input may have a client that answers. Return whether it was refused.
        """
        if self._stored_turn()["items"][0].get("clientId") != self._message_id:
            return False
        self._err.write(f"{event['method']}: nobody can answer here; the agent reads that")
        self.answer(event["id"], result)
        return True

    def _new_events(self) -> Iterator[Event]:
        """Yield events after the cursor; of a turn that has ended meanwhile, make them from its stored items."""
        if not self._was_requested:
            self._was_requested = True
            yield from self._client.stream("turn/start", self._start_params)
            return
        if self._turn_id is None:
            self._turn_id = self._client.call("turn/start", self._start_params)["turn"]["id"]
            if self._is_interrupted:
                self.interrupt()
        turn = self._stored_turn()
        if turn["status"] != "inProgress":
            yield from self._stored_items(turn)
            yield _notification("turn/completed", threadId=self._thread_id, turn=turn)
            return
        for event in self._client.events(self._thread_id, after=self._cursor):
            if event.name == CURSOR_EXPIRED:
                yield from self._stored_items(self._stored_turn())
            else:
                yield event

    def _stored_turn(self) -> Any:
        """Return the turn as it is stored; a very large one as its summary."""
        wanted = {"threadId": self._thread_id, "cursor": f"={self._turn_id}", "limit": 1, "itemsView": "full"}
        page = self._client.call("thread/turns/list", wanted)["data"]
        return next(turn for turn in page if turn["id"] == self._turn_id)

    def _stored_items(self, turn: Any) -> Iterator[Event]:
        """Yield item/completed of the stored items that have ended."""
        for item in turn["items"]:
            if item["completedAtMs"] is not None:
                yield _notification(
                    "item/completed",
                    threadId=self._thread_id,
                    turnId=self._turn_id,
                    item=item,
                    completedAtMs=item["completedAtMs"],
                )

    def _record(self, event: Event) -> bool:
        """Record what an event says; return whether it is one of this turn's notifications."""
        self._cursor = event.id or self._cursor
        if event.name == RESULT:
            self._turn_id = event.data["result"]["turn"]["id"]
            if self._is_interrupted:
                self.interrupt()
            return False
        params: Any = event.data.get("params", {})
        turn_id = params["turn"]["id"] if "turn" in params else params.get("turnId", self._turn_id)
        if turn_id != self._turn_id:
            return False
        if event.name == "item/completed":
            if params["item"]["id"] in self._completed:
                return False
            self._completed.add(params["item"]["id"])
            if params["item"]["type"] == "agentMessage":
                self.message = params["item"]["text"]
        elif event.name == "turn/completed":
            self.status = params["turn"]["status"]
        return True


def _notification(method: str, **params: object) -> Event:
    return Event(None, method, {"method": method, "params": params})
