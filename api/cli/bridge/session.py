"""The client's session: what outlives a connection and is put on the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from api.cli.bridge.followed_thread import FollowedThread
from api.cli.bridge.messages import INPUT_METHODS, SUBSCRIBING_METHODS, Message, Thread, is_repeatable, notification
from api.cli.bridge.server_connection import ServerConnection
from shared.errors import Unavailable

MAX_SENDS = 3  # of one request: it may itself be what breaks the connection


@dataclass(slots=True)
class ClientRequest:
    """A request of the client that has no reply yet.

    data:  the message as it goes to the server
    sends: how often it was sent
    """

    id: int | str
    method: str
    params: object
    data: bytes
    sends: int = 0

    @property
    def may_be_lost(self) -> bool:
        """Whether it was sent on a connection that broke and must not be sent again."""
        return self.sends > 0 and not (is_repeatable(self.method) and self.sends < MAX_SENDS)


@dataclass(slots=True)
class ServerRequest:
    """A request of the server that the client has, such as an approval request.

    answer: the client's reply; it may not have reached the server
    """

    thread_id: str
    answer: bytes | None = None


class Session:
    """The requests, server requests and followed threads of one client, and its current connection.

    Both threads use it. Each method holds the lock, and none sends, receives or writes while it does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: ServerConnection | None = None  # None: the server is away
        self._is_given_up = False  # the server has been away for so long that requests do not wait for it
        self._requests: dict[int | str, ClientRequest] = {}
        self._server_requests: dict[int | str, ServerRequest] = {}
        self._followed: dict[str, FollowedThread] = {}
        self.handshake: object = None  # params of the client's `initialize`, once the server has accepted it
        self.is_closing = False

    # -- the connection

    def attach(self, connection: ServerConnection) -> list[bytes]:
        """Make this connection the current one; return what has to be sent on it: requests, then answers."""
        with self._lock:
            self._connection, self._is_given_up = connection, False
            requests = list(self._requests.values())
            for request in requests:
                request.sends += 1
            answers = [request.answer for request in self._server_requests.values() if request.answer]
            return [request.data for request in requests] + answers

    def detach(self) -> None:
        """Note that the connection broke: followed threads have to be resumed on the next one."""
        with self._lock:
            self._connection = None
            for followed in self._followed.values():
                followed.before_resume = []

    def give_up(self) -> None:
        """Stop letting new requests wait, until there is a connection again."""
        with self._lock:
            self._is_given_up = True

    def close(self) -> ServerConnection | None:
        """Note that the client has ended; return the connection to close."""
        with self._lock:
            self.is_closing = True
            return self._connection

    # -- messages of the client

    def add_request(self, request: ClientRequest) -> ServerConnection | None:
        """Record a request; return the connection to send it on, None: it waits for the next one.

        Errors: Unavailable (the server has been away for too long; nothing was recorded)
        """
        with self._lock:
            if self._connection is not None:
                request.sends += 1
            if self._is_given_up:
                raise Unavailable("the server is away")
            self._requests[request.id] = request
            return self._connection

    def record_answer(self, request_id: object, data: bytes) -> ServerConnection | None:
        """Keep an answer to a server request, until the server confirms it; return the connection to send it on."""
        with self._lock:
            request = self._server_requests.get(request_id) if type(request_id) is int else None
            if request is not None:
                request.answer = data
            return self._connection

    def is_pending(self, request_id: int | str) -> bool:
        """Return whether a request of the client has no reply yet."""
        with self._lock:
            return request_id in self._requests

    def pending_input(self) -> list[ClientRequest]:
        """Return the requests that carry the user's input and have no reply yet."""
        with self._lock:
            return [request for request in self._requests.values() if request.method in INPUT_METHODS]

    def remove_requests(self, which: Callable[[ClientRequest], bool]) -> list[ClientRequest]:
        """Forget the requests for which `which` is true, and return them."""
        with self._lock:
            removed = [request for request in self._requests.values() if which(request)]
            for request in removed:
                del self._requests[request.id]
            return removed

    # -- messages of the server

    def handle(self, message: Message) -> Message | None:
        """Record a message of the server; return the part that the client must get, None: nothing of it."""
        with self._lock:
            if "method" not in message:
                return self._handle_reply(message)
            if "id" in message:
                return self._handle_server_request(message)
            return self._handle_notification(message)

    def _handle_reply(self, message: Message) -> Message | None:
        request = self._requests.pop(message["id"], None)
        if request is None:
            return None
        result, params = message.get("result"), request.params
        if not isinstance(result, dict):
            return message
        if request.method == "initialize":
            self.handshake = params
        elif request.method in SUBSCRIBING_METHODS:
            followed = self._followed.setdefault(result["thread"]["id"], FollowedThread())
            followed.advance(message.get("eventId"))
            followed.resumed_by_bridge = False
        elif isinstance(params, dict) and request.method == "thread/unsubscribe":
            self._followed.pop(params["threadId"], None)
        elif isinstance(params, dict) and request.method == "turn/start":
            thread = self._followed.get(params["threadId"])
            if thread is not None:
                thread.turn_id = result["turn"]["id"]
        return message

    def _handle_server_request(self, message: Message) -> Message | None:
        thread_id: str = message["params"].get("threadId", "")
        followed = self._followed.get(thread_id)
        if followed is not None:
            is_repeated = followed.resumed_by_bridge and "eventId" not in message
            if is_repeated and message["id"] in self._server_requests:
                return None  # the client has it; an answer that was lost is sent again by `attach`
            followed.advance(message.get("eventId"))
        self._server_requests[message["id"]] = ServerRequest(thread_id)
        return message

    def _handle_notification(self, message: Message) -> Message | None:
        params = message.get("params") or {}
        thread_id: str = params["thread"]["id"] if "thread" in params else params.get("threadId", "")
        if message["method"] == "serverRequest/resolved":
            self._server_requests.pop(params["requestId"], None)
        elif message["method"] == "turn/completed":
            self._server_requests = {
                key: request for key, request in self._server_requests.items() if request.thread_id != thread_id
            }
        followed = self._followed.get(thread_id)
        if followed is not None and followed.before_resume is not None:
            followed.before_resume.append(message)
            return None
        return message if followed is None else followed.new_part(message)

    # -- followed threads

    def followed_threads(self) -> list[str]:
        """Return the ids of the threads that the client follows."""
        with self._lock:
            return list(self._followed)

    def cursor(self, thread_id: str) -> str:
        """Return the id of the last event that the client has of a followed thread."""
        with self._lock:
            return self._followed[thread_id].last_event_id

    def catch_up(self, thread_id: str, reply: Message, is_gone: bool) -> list[Message]:
        """Record the reply to a thread/resume of the bridge; return the messages that the client lacks.

        reply:   when the log no longer has the cursor it has the turns, and the events are made from them
        is_gone: the thread can no longer be followed (archived or deleted), and the reply is that of thread/read
        """
        messages: list[Message] = []
        with self._lock:
            followed = self._followed[thread_id]
            followed.resumed_by_bridge = True
            before_resume, followed.before_resume = followed.before_resume or [], None
            thread: Thread = reply["result"]["thread"] if "result" in reply else {"id": thread_id, "turns": []}
            if thread["turns"]:  # the log has lost the cursor; else it repeats what came before the resume
                messages += self._close_unanswered(thread_id)
                if not is_gone:  # else thread/archived or thread/deleted follows below
                    messages += before_resume
                messages += followed.missed_events(thread)
            followed.advance(reply.get("eventId"))
            if is_gone:
                del self._followed[thread_id]
                method = "thread/archived" if "result" in reply else "thread/deleted"
                messages.append(notification(method, threadId=thread_id))
        return messages

    def _close_unanswered(self, thread_id: str) -> list[Message]:
        """Take the thread's unanswered server requests back: the server sends those again that are still open."""
        unanswered = [
            key
            for key, request in self._server_requests.items()
            if request.thread_id == thread_id and not request.answer
        ]
        for key in unanswered:
            del self._server_requests[key]
        return [notification("serverRequest/resolved", threadId=thread_id, requestId=key) for key in unanswered]
