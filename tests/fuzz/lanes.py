"""Hostile clients: each runs its share of the cases and records what must not happen."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from random import Random
from typing import Any

import websocket

from api.requests.examples import THREAD_ID, TURN_ID
from tests.fuzz import frames, posts, values
from tests.support.protocol_client import connect as connect_client
from tests.support.protocol_client import dial
from tests.support.turns import command, run_turn, start_thread

ANSWER_SECONDS = 180.0  # on a busy machine
BATCH = 16  # frames that are sent before the answers are read
RENEW_EACH = 128  # cases, after which a lane makes a new thread and a new connection
PROVIDER = "scripted"  # of a lane's own turns; a case may have made another one the user's default
# What the original answers with -32603, and this server over HTTP with 502: an MCP server is missing or broken.
MCP_METHODS = "mcpServer/"
OF_MCP_SERVERS = ("unknown MCP server", "failed to get client")
EXPECTED_CODES = {-32600, -32601, -32602, -32001}
MAX_FAULTS = 50  # of all lanes, after which a lane ends


class Tally:
    """The results of all lanes of one run.

    answers: the number of replies by error code, HTTP status or kind
    reached: methods that answered with a result
    faults:  what must not happen, each with its case; the seed repeats it
    """

    def __init__(self) -> None:
        self.cases = 0
        self.answers: Counter[str] = Counter()
        self.reached: set[str] = set()
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def count(self, *answers: str) -> None:
        with self._lock:
            self.answers.update(answers)

    def add_cases(self, cases: int) -> None:
        with self._lock:
            self.cases += cases

    def add_fault(self, fault: str) -> None:
        with self._lock:
            self.faults.append(fault)


class Lane(threading.Thread):
    """One hostile client. number: its index among the lanes of its kind; seed, kind and number determine its cases."""

    def __init__(self, kind: str, number: int, seed: str, url: str, key: str, cases: int, tally: Tally) -> None:
        super().__init__(name=f"{kind}-{number}", daemon=True)
        self._seed = f"{seed}:{self.name}"
        self._url = url
        self._key = key
        self._count = cases
        self._tally = tally
        self._own: dict[str, str] = {}

    def run(self) -> None:
        try:
            for start in range(0, self._count, RENEW_EACH):
                self._own = self._make_own()
                self._run(range(start, min(start + RENEW_EACH, self._count)))
                if len(self._tally.faults) > MAX_FAULTS:
                    return
        except Exception as error:  # noqa: BLE001 - the test reports it
            self._tally.add_fault(f"{self.name}: the lane ended: {error!r}")

    def _run(self, numbers: range) -> None:
        raise NotImplementedError

    def _rng(self, number: int) -> Random:
        return Random(f"{self._seed}:{number}")

    def _make_own(self) -> dict[str, str]:
        """Make a thread with a turn. Return the texts of the examples that the cases replace → the replacements."""
        client = connect_client(self._url.replace("http", "ws", 1) + "/", self._key)
        client.recording.received.clear()
        try:
            client.initialize()
            thread_id = start_thread(client, modelProvider=PROVIDER)
            turn = run_turn(client, thread_id, "[[say fuzz]]", deadline_s=ANSWER_SECONDS)
            cwd = client.request("thread/read", {"threadId": thread_id})["thread"]["cwd"]
            client.request("fs/writeFile", {"path": f"{cwd}/notes.txt", "dataBase64": "aGVsbG8K"})
        finally:
            client.drop()
        return {"/workspaces/local/" + THREAD_ID: cwd, "/FOLDER": cwd, THREAD_ID: thread_id, TURN_ID: turn["id"]}


class SocketLane(Lane):
    """Sends frames, a batch at a time; a valid request after each batch shows that the connection is still served."""

    def _run(self, numbers: range) -> None:
        self._socket = self._connect()
        self._start_approval_and_shell()
        for start in range(numbers.start, numbers.stop, BATCH):
            self._run_batch(range(start, min(start + BATCH, numbers.stop)))
        self._socket.shutdown()

    def _connect(self) -> websocket.WebSocket:
        opened = websocket.create_connection(
            self._url.replace("http", "ws", 1) + "/",
            header=[f"Authorization: Bearer {self._key}"],
            suppress_origin=True,
            socket=dial(self._url),
            timeout=ANSWER_SECONDS,
        )
        hello = {"id": "hello", "method": "initialize", "params": {"clientInfo": {"name": "fuzz", "version": "1"}}}
        opened.send(json.dumps(hello))
        return opened

    def _start_approval_and_shell(self) -> None:
        """Start a turn that requests an approval, which `_receive` answers, and a command that reads input."""
        thread = self._call("thread/start", {"approvalPolicy": "untrusted", "modelProvider": PROVIDER})["thread"]
        turn_input = [{"type": "text", "text": command("touch asked")}]
        turn = self._call("turn/start", {"threadId": thread["id"], "input": turn_input})["turn"]
        self._active = {**self._own, THREAD_ID: thread["id"], TURN_ID: turn["id"]}
        shell = {"command": ["cat"], "processId": "shell-1", "tty": True, "timeoutMs": 60_000}
        self._socket.send(json.dumps({"id": "shell", "method": "command/exec", "params": shell}))

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        self._socket.send(json.dumps({"id": "call", "method": method, "params": params}))
        while (reply := self._receive([])) is not None:
            if reply.get("id") == "call":
                return reply["result"]
        raise ConnectionError("closed")

    def _run_batch(self, numbers: range) -> None:
        cases = [
            frames.case(self._rng(number), number, self._own if number % 4 else self._active) for number in numbers
        ]
        lasting = [case for case in cases if not case.ending]
        self._exchange(lasting)
        for case in cases:
            if case.ending:
                self._end_by(case)
                self._socket = self._connect()
        self._tally.add_cases(len(cases))

    def _exchange(self, cases: list[frames.Case]) -> None:
        probe = {"id": "probe", "method": "account/read", "params": {}}
        awaited = {case.answer for case in cases if case.answer} | {"probe"}
        about = "\n    ".join(case.about for case in cases)
        try:
            self._socket.sock.sendall(b"".join(case.data for case in cases))
            self._socket.send(json.dumps(probe))
            while awaited:
                reply = self._receive(cases)
                if reply is None:
                    raise ConnectionError("closed")
                if "method" not in reply and reply.get("id") in awaited:
                    awaited.discard(reply["id"])
        except (OSError, websocket.WebSocketException) as error:
            missing = [case.about for case in cases if case.answer in awaited] or [about]
            self._tally.add_fault(f"{self.name}: {error!r}; not answered: {missing}")
            self._socket.shutdown()
            self._socket = self._connect()

    def _receive(self, cases: list[frames.Case]) -> dict[str, Any] | None:
        """Return the next JSON object; answer it if it is a request. None: the server closed the connection."""
        while True:
            opcode, data = self._socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            if opcode == websocket.ABNF.OPCODE_TEXT:
                break
        reply: dict[str, Any] = json.loads(data)
        if "method" in reply and "id" in reply:
            rng = Random(f"{self._seed}:{reply['method']}:{self._tally.cases}")
            self._socket.send(values.encode(rng, values.answer(rng, reply["id"])))
            self._tally.count("server requests")
        error = reply.get("error") if "method" not in reply else None
        if isinstance(error, dict):
            self._tally.count(str(error["code"]))
            if error["code"] not in EXPECTED_CODES and not str(error["message"]).startswith(OF_MCP_SERVERS):
                about = [case.about for case in cases if case.answer == reply.get("id")] or [c.about for c in cases]
                self._tally.add_fault(f"{self.name}: {error}: {about}")
        elif "method" not in reply:
            self._tally.count("result")
            self._tally.reached |= {case.about.split(" ")[0] for case in cases if case.answer == reply.get("id")}
        return reply

    def _end_by(self, case: frames.Case) -> None:
        try:
            self._socket.sock.sendall(case.data)
            if case.ending == "half":
                self._socket.sock.shutdown(socket.SHUT_WR)
            if case.ending != "drop":
                while self._socket.sock.recv(65536):
                    pass
        except TimeoutError:
            self._tally.add_fault(f"{self.name}: not closed after: {case.about}")
        except OSError:  # reset: the server closed before it had read everything
            pass
        self._tally.count("closed")
        self._socket.shutdown()


class HttpLane(Lane):
    """Sends one request per connection; reads the answer to its end, or a stream's to the end of its header."""

    def _run(self, numbers: range) -> None:
        for number in numbers:
            post = posts.case(self._rng(number), self._key, self._own)
            head = self._exchange(post)
            status = head.split(b" ")[1].decode(errors="replace") if head.startswith(b"HTTP/1.1 ") else "none"
            self._tally.count(f"HTTP {status}")
            is_gateway_error = status == "502" and not post.about.startswith(MCP_METHODS)
            if status == "500" or is_gateway_error or (status == "none" and post.whole):
                self._tally.add_fault(f"{self.name}: HTTP {status}: {post.about} → {head[-300:]!r}")
            self._tally.add_cases(1)

    def _exchange(self, post: posts.Post) -> bytes:
        """Send a request. Return the answer with at least its header; empty: there was none."""
        answer = b""
        with dial(self._url) as opened:
            opened.settimeout(ANSWER_SECONDS if post.whole else 5)
            try:
                opened.sendall(post.data)
                if not post.whole:
                    opened.shutdown(socket.SHUT_WR)
                if post.drop:
                    opened.settimeout(0.05)
                while not (b"\r\n\r\n" in answer and b"text/event-stream" in answer) and len(answer) < 1 << 20:
                    data = opened.recv(65536)
                    if not data:
                        break
                    answer += data
            except OSError:
                pass
        return answer
