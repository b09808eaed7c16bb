"""A hostile tenant with several connections, each a thread that does random steps while the others change its paths.

What a step does follows from the seed and the number of the attacker; how the steps of several attackers interleave
does not.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.hostile.canaries import Canaries
from tests.support import contract
from tests.support.deployment import Deployment
from tests.support.protocol_client import ConnectionLost, ProtocolClient, RpcError, connect
from tests.support.turns import wait_for_end

DEADLINE_S = 240.0  # of a request or a turn, on a busy machine; each attacker may make a turn of another one longer
LOOK_AGAIN_S = 5.0  # after which a turn is looked for that may have gone with its thread
STEPS_PER_CONNECTION = 40  # then a new one: searching the frames of a long one takes long
STEPS_PER_THREAD = 200  # then a new one: its history and its workspace grow
RECENT = 6  # names that were made to lead elsewhere, and that steps prefer
NAMES = ("a", "b", "c", "a/d", "b/d", "link")  # in a workspace: few, so that steps meet


@dataclass(frozen=True)
class Target:
    """A file that is not the attacker's. folder: of the file, which links lead to."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / self.name


@dataclass(frozen=True)
class Aim:
    """A name in a workspace, which steps make lead to a target, and which other steps then use.

    thread_id, workspace: one of the attackers' own
    """

    thread_id: str
    workspace: Path
    name: str
    target: Target


@dataclass
class Attack:
    """What all attackers of one run share.

    targets:   what they are after
    victim:    ids of the other tenant: of her user, threads, turn and report
    workspaces: (thread id, path) of the attackers' own threads
    planted: where somebody has just made a name lead elsewhere
    """

    deployment: Deployment
    canaries: Canaries
    key: str
    user_id: str
    targets: list[Target]
    victim: dict[str, str]
    steps: int
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    seen: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    workspaces: list[tuple[str, Path]] = field(default_factory=list)
    planted: deque[Aim] = field(default_factory=lambda: deque(maxlen=RECENT))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _scanned: int = 0

    @property
    def folder(self) -> Path:
        return self.deployment.config.server.workspaces_dir / self.user_id

    def next_step(self) -> bool:
        """Count one step. Return False when all are done, or a canary was seen."""
        with self._lock:
            self.steps -= 1
            return self.steps >= 0 and not self.seen and not self.broken

    def count(self, kind: str, outcome: str, seconds: float) -> None:
        with self._lock:
            self.counts[kind, outcome] += 1
            self.seconds[kind] += round(seconds * 1000)

    def skip_model_requests(self) -> None:
        """Leave out what the model was sent so far."""
        self._scanned = len(self.deployment.model.requests)

    def session_files(self) -> list[Path]:
        """Return all session files but those of the victim."""
        home = self.deployment.home
        found = [*(home / "sessions").rglob("*.jsonl"), *(home / "archived_sessions").rglob("*.jsonl")]
        return [path for path in found if self.victim["threadId"] not in path.name]

    def scan_model_requests(self) -> None:
        """Look at what the model was sent for the attackers' threads since the last time: it is theirs to receive."""
        requests = self.deployment.model.requests
        with self._lock:
            new, self._scanned = requests[self._scanned :], len(requests)
        for request in new:
            if request.headers.get("thread-id") == self.victim["threadId"]:
                continue
            body = json.dumps(request.body).encode()
            if places := self.canaries.found_in(body):
                self.seen.append(f"{places} in a request to the model: {self.canaries.excerpt(body)}")

    def report(self) -> str:
        """Return the number of steps by kind and outcome, and their time."""
        kinds = sorted({kind for kind, _ in self.counts})
        lines = [f"{'step':28}{'done':>8}{'refused':>9}{'ms each':>9}"]
        for kind in kinds:
            done, refused = self.counts[kind, "done"], self.counts[kind, "refused"]
            lines.append(f"{kind:28}{done:8}{refused:9}{self.seconds[kind] / (done + refused):9.0f}")
        total = Counter[str]()
        for (_, outcome), count in self.counts.items():
            total[outcome] += count
        return "\n".join([*lines, f"{'all':28}{total['done']:8}{total['refused']:9}"])


class Refused(Exception):
    """The server, or the command itself, did not do what the step asked for."""


class Attacker:
    """One connection at a time of the hostile tenant."""

    def __init__(self, attack: Attack, number: int, seed: str) -> None:
        self.attack = attack
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.last: deque[str] = deque(maxlen=12)  # what it did, for the report of a failure
        self._steps = 0
        self._scanned = 0
        self.client: ProtocolClient | None = None

    def run(self, kinds: dict[str, tuple[int, Callable[[Attacker], None]]]) -> None:
        """Do steps until all are done. kinds: by name, how often, and the step itself."""
        names = list(kinds)
        weights = [kinds[name][0] for name in names]
        try:
            while self.attack.next_step():
                kind = self.random.choices(names, weights)[0]
                self._step(kind, kinds[kind][1])
        except Exception as error:  # noqa: BLE001 - reported by the test
            self.attack.broken.append(f"attacker {self.number}: {error!r}\n  " + "\n  ".join(self.last))
        finally:
            self._disconnect()

    def _step(self, kind: str, step: Callable[[Attacker], None]) -> None:
        self._connect()
        begun = time.monotonic()
        try:
            step(self)
            outcome = "done"
        except (RpcError, Refused, ConnectionLost) as error:
            self.last.append(f"  refused: {str(error)[:200]}")
            outcome = "refused"
        self.attack.count(kind, outcome, time.monotonic() - begun)
        self._scan()
        self.attack.scan_model_requests()

    def _connect(self) -> None:
        self._steps += 1
        if self.client is not None and (self.client.lost or self._steps % STEPS_PER_CONNECTION == 0):
            self._disconnect()
        if self.client is None:
            urls = self.attack.deployment.urls
            url = urls[self.number % len(urls)].replace("http", "ws", 1)
            self.client = connect(f"{url}/", self.attack.key)
            self.client.initialize()
            self._scanned = 0
        with self.attack._lock:
            full = len(self.attack.workspaces) >= 3
        if not full or self._steps % STEPS_PER_THREAD == 0:
            self.start_thread({})

    def _disconnect(self) -> None:
        if self.client is None:
            return
        self.client.drop()
        self.client.wait_until_lost()
        self._scan()
        # Other tests check the order and the schemas of frames. That would take as much time as the attack.
        with self.attack._lock:
            mine = self.client.recording
            contract.RECORDINGS[:] = [recording for recording in contract.RECORDINGS if recording is not mine]
        self.client = None

    def _scan(self) -> None:
        assert self.client is not None
        frames = self.client.received[self._scanned :]
        self._scanned += len(frames)
        self.check(json.dumps(frames).encode())

    def check(self, data: bytes, *, compressed: bool = False) -> None:
        """Look for canaries in what was received."""
        if places := self.attack.canaries.found_in(data, compressed=compressed):
            excerpt = self.attack.canaries.excerpt(data)
            self.attack.seen.append(f"attacker {self.number} saw {places}: {excerpt}\n  " + "\n  ".join(self.last))

    # -- what steps are made of

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its result. Errors: RpcError."""
        assert self.client is not None
        self.last.append(f"{method} {json.dumps(params)[:400]}")
        return self.client.request(method, params, DEADLINE_S)

    def http(self, verb: str, path: str, body: bytes | None = None) -> bytes:
        """Return the body of a good answer. Errors: Refused."""
        self.last.append(f"{verb} {path}")
        parts = urlsplit(self.attack.deployment.urls[0])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
        try:
            connection.request(verb, path, body, {"Authorization": f"Bearer {self.attack.key}"})
            response = connection.getresponse()
            data = response.read()
        except (http.client.HTTPException, OSError) as error:  # a late error ends the connection
            raise Refused(str(error)) from None
        finally:
            connection.close()
        self.check(data, compressed=b"git bundle" in data[:32])
        if response.status >= 300:
            raise Refused(f"{response.status} {data[:200]!r}")
        return data

    def turn(self, text: str, *more: dict[str, Any], thread_id: str, **params: Any) -> None:
        """Run a turn. more: parts of its input beside the text."""
        assert self.client is not None
        self.last.append(f"turn on {thread_id}: {text[:400]} {more} {params}")
        self.client.request("thread/resume", {"threadId": thread_id, "excludeTurns": True}, DEADLINE_S)
        params["input"] = [{"type": "text", "text": text}, *more]
        reply = self.client.request("turn/start", {"threadId": thread_id, **params}, DEADLINE_S)
        ended = self._end_of_turn(thread_id, reply["turn"]["id"])
        if ended["status"] != "completed":
            raise Refused(str(ended["error"]))

    def _end_of_turn(self, thread_id: str, turn_id: str) -> dict[str, Any]:
        """Wait until a turn has ended. Errors: Refused, RpcError (another attacker has deleted it or its thread)."""
        assert self.client is not None
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            with suppress(TimeoutError):
                return wait_for_end(self.client, turn_id, LOOK_AGAIN_S)
            page = self.client.request("thread/turns/list", {"threadId": thread_id, "limit": 50}, DEADLINE_S)
            found = next((turn for turn in page["data"] if turn["id"] == turn_id), None)
            if found is None:
                raise Refused("the turn is gone")
            if found["status"] != "inProgress":
                return dict(found)
        raise TimeoutError(f"turn {turn_id} did not end in {DEADLINE_S} s")

    def start_thread(self, params: dict[str, Any]) -> str:
        """Start a thread, whose workspace replaces one of those that all attackers use. Return its id."""
        thread = self.request("thread/start", params)["thread"]
        thread_id: str = thread["id"]
        self.add_workspace(thread_id)
        return thread_id

    def add_workspace(self, thread_id: str) -> None:
        with self.attack._lock:
            self.attack.workspaces.append((thread_id, self.attack.folder / thread_id))
            if len(self.attack.workspaces) > 4:
                self.attack.workspaces.pop(self.random.randrange(3))

    def aim(self, *, planted: bool = False) -> Aim:
        """Return where to aim at: mostly where somebody has just planted something.

        planted: whether the step is about to do that at a new place
        """
        with self.attack._lock:
            if self.attack.planted and not planted and self.random.random() < 0.7:
                return self.random.choice(self.attack.planted)
            thread_id, workspace = self.random.choice(self.attack.workspaces)
            aim = Aim(thread_id, workspace, self.random.choice(NAMES), self.random.choice(self.attack.targets))
            if planted:
                self.attack.planted.append(aim)
        return aim

    def path(self, aim: Aim) -> str:
        """Return a path that may lead anywhere: by what steps have made of the names, or directly."""
        workspace, name, target = aim.workspace, aim.name, aim.target
        return self.random.choice(
            [
                *[f"{workspace}/{name}/{target.name}"] * 6,
                f"{workspace}/{name}",
                f"{workspace}/{name}/d/{target.name}",
                *[f"{workspace}/{target.name}"] * 2,
                str(workspace),
                *[str(target.path)] * 2,
                str(target.folder),
                str(self.attack.folder),
                f"{workspace}.start/config",
                f"{workspace}/../../{target.folder.name}/{target.name}",
                f"{workspace}/{name}/../{target.name}",
            ]
        )

    def folder(self, aim: Aim) -> str:
        """The same for a folder."""
        workspace, name = aim.workspace, aim.name
        return self.random.choice(
            [
                *[f"{workspace}/{name}"] * 4,
                *[str(workspace)] * 4,
                str(aim.target.folder),
                f"{workspace}/{name}/..",
                str(self.attack.folder),
            ]
        )
