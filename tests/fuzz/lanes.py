"""Clients that do harm: each runs its share of the cases, and notes what must not happen."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from random import Random
from typing import Any

import websocket

from api.examples import THREAD, TURN
from tests.fuzz import frames, posts, values
from tests.support.protocol_client import connect as connect_politely
from tests.support.protocol_client import dial
from tests.support.turns import command, run_turn, start_thread

ANSWER_SECONDS = 60.0
BATCH = 16  # frames that are sent before the answers are read
RENEW_EACH = 128  # cases: then a thread of its own again, and a new connection
MAY_BE_TOLD = {-32600, -32601, -32602, -32001}
MAX_FAULTS = 50  # then a lane gives up


class Tally:
    """What all lanes of one run did. faults: sentences with the case, to be repeated by its seed."""

    def __init__(self) -> None:
        self.cases = 0
        self.answers: Counter[str] = Counter()
        self.reached: set[str] = set()  # methods that answered with a result
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def count(self, *answers: str) -> None:
        with self._lock:
            self.answers.update(answers)

    def did(self, cases: int) -> None:
        with self._lock:
            self.cases += cases

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)


class Lane(threading.Thread):
    """One hostile client. number: its place, which the seed's randomness hangs on."""

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
                self._own = self._own_things()
                self._run(range(start, min(start + RENEW_EACH, self._count)))
                if len(self._tally.faults) > MAX_FAULTS:
                    return
        except Exception as error:  # noqa: BLE001 - said by the test
            self._tally.fault(f"{self.name}: the lane ended: {error!r}")

    def _run(self, numbers: range) -> None:
        raise NotImplementedError

    def _rng(self, number: int) -> Random:
        return Random(f"{self._seed}:{number}")

    def _own_things(self) -> dict[str, str]:
        """A thread with a turn: the cases name it where the examples name theirs."""
        client = connect_politely(self._url.replace("http", "ws", 1) + "/", self._key)
        client.recording.received.clear()
        try:
            client.initialize()
            thread_id = start_thread(client)
            turn = run_turn(client, thread_id, "[[say fuzz]]", deadline_s=ANSWER_SECONDS)
            cwd = client.request("thread/read", {"threadId": thread_id})["thread"]["cwd"]
            client.request("fs/writeFile", {"path": f"{cwd}/notes.txt", "dataBase64": "aGVsbG8K"})
        finally:
            client.drop()
        return {"/workspaces/local/" + THREAD: cwd, "/FOLDER": cwd, THREAD: thread_id, TURN: turn["id"]}


class SocketLane(Lane):
    """Frames, a batch at a time; a polite request behind each batch shows that the connection is still served."""

    def _run(self, numbers: range) -> None:
        self._socket = self._connect()
        self._have_a_question_asked()
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

    def _have_a_question_asked(self) -> None:
        """A turn that asks for leave (what it is told is in `_receive`), and a command that takes input."""
        thread = self._call("thread/start", {"approvalPolicy": "untrusted"})["thread"]
        asking = [{"type": "text", "text": command("touch asked")}]
        turn = self._call("turn/start", {"threadId": thread["id"], "input": asking})["turn"]
        self._active = {**self._own, THREAD: thread["id"], TURN: turn["id"]}
        shell = {"command": ["cat"], "processId": "shell-1", "tty": True, "timeoutMs": 60_000}
        self._socket.send(json.dumps({"id": "shell", "method": "command/exec", "params": shell}))

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        self._socket.send(json.dumps({"id": "polite", "method": method, "params": params}))
        while (reply := self._receive([])) is not None:
            if reply.get("id") == "polite":
                return reply["result"]
        raise ConnectionError("closed")

    def _run_batch(self, numbers: range) -> None:
        cases = [
            frames.case(self._rng(number), number, self._own if number % 4 else self._active) for number in numbers
        ]
        calm = [case for case in cases if not case.ending]
        self._exchange(calm)
        for case in cases:
            if case.ending:
                self._end_by(case)
                self._socket = self._connect()
        self._tally.did(len(cases))

    def _exchange(self, cases: list[frames.Case]) -> None:
        probe = {"id": "probe", "method": "account/read", "params": {}}
        waited = {case.answer for case in cases if case.answer} | {"probe"}
        about = "\n    ".join(case.about for case in cases)
        try:
            self._socket.sock.sendall(b"".join(case.data for case in cases))
            self._socket.send(json.dumps(probe))
            while waited:
                reply = self._receive(cases)
                if reply is None:
                    raise ConnectionError("closed")
                if "method" not in reply and reply.get("id") in waited:
                    waited.discard(reply["id"])
        except (OSError, websocket.WebSocketException) as error:
            missing = [case.about for case in cases if case.answer in waited] or [about]
            self._tally.fault(f"{self.name}: {error!r}; not answered: {missing}")
            self._socket.shutdown()
            self._socket = self._connect()

    def _receive(self, cases: list[frames.Case]) -> dict[str, Any] | None:
        """The next JSON object. None: the server closed the connection."""
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
            self._tally.count("questions")
        error = reply.get("error") if "method" not in reply else None
        if isinstance(error, dict):
            self._tally.count(str(error["code"]))
            if error["code"] not in MAY_BE_TOLD:
                about = [case.about for case in cases if case.answer == reply.get("id")] or [c.about for c in cases]
                self._tally.fault(f"{self.name}: {error}: {about}")
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
            self._tally.fault(f"{self.name}: not closed after: {case.about}")
        except OSError:  # reset: the server closed before it had read everything
            pass
        self._tally.count("closed")
        self._socket.shutdown()


class HttpLane(Lane):
    """One request a connection; the answer is read to its end, that of a stream to its head."""

    def _run(self, numbers: range) -> None:
        for number in numbers:
            post = posts.case(self._rng(number), self._key, self._own)
            head = self._exchange(post)
            status = head.split(b" ")[1].decode(errors="replace") if head.startswith(b"HTTP/1.1 ") else "none"
            self._tally.count(f"HTTP {status}")
            if status == "500" or status in ("502",) or (status == "none" and post.whole):
                self._tally.fault(f"{self.name}: HTTP {status}: {post.about} → {head[-300:]!r}")
            self._tally.did(1)

    def _exchange(self, post: posts.Post) -> bytes:
        """What came, at least the head. Empty: nothing."""
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
