"""Somebody else's things, and things that are not there, cannot be told apart: on every method, route and stream.

The requests are generated from the method table (tests/support/probes.py). Alice has a thread with a turn that ended
and one that waits for her, a command that runs, a search, files; Bob asks for all of it by name.
"""

from __future__ import annotations

import http.client
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from api.app import make_app
from shared.store.tables import metadata
from tests.builders import House, make_thread
from tests.support.deployment import DATABASES, Deployment, require, shown_when_it_fails
from tests.support.event_stream import EventStream
from tests.support.probes import Probe, Things, nobodys, normalised, probes
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_turn, wait_for_end

CANARY = "alices-canary"
APPROVAL = "item/commandExecution/requestApproval"
CHANGES_BY_ITSELF = {"last_used_at_ms", "session_due_at_ms", "announced"}
# Rule → (HTTP method, path, body) that names somebody's things; None: it tells nothing of anybody.
ROUTES: dict[str, Callable[[Things], tuple[str, str, Any]] | None] = {
    "/": None,
    "/<path:path>": None,  # WebSocket upgrades
    "/readyz": None,
    "/healthz": None,
    "/openapi.json": None,
    "/docs": None,
    "/v2/<path:method>": None,  # by the probes
    "/v2/thread/events": lambda things: ("GET", f"/v2/thread/events?threadId={things.thread}", None),
    "/v2/thread/workspace": lambda things: ("GET", f"/v2/thread/workspace?threadId={things.thread}", None),
    "/v2/workspace/archive": None,  # makes something of one's own
    "/v2/serverRequest/respond": lambda things: (
        "POST",
        "/v2/serverRequest/respond",
        {"requestId": things.request, "result": {"decision": "accept"}},
    ),
}
STREAMED = ("thread/resume", "turn/start")


@dataclass
class Household:
    """Two users of a deployment."""

    deployment: Deployment
    alice: ProtocolClient
    bob: ProtocolClient
    bobs_id: str
    bobs_key: str
    things: Things

    def own_thread(self) -> str:
        """A new thread of Bob's."""
        return make_thread(self.deployment.store, self.deployment.config, self.bobs_id, materialized=True).id

    def by_socket(self, probe: Probe) -> str:
        try:
            answer: Any = {"result": self.bob.request(probe.method, probe.filled(self.own_thread))}
        except RpcError as error:
            answer = {"code": error.code, "message": error.message, "data": error.data}
        return normalised(answer, self.things)

    def by_http(self, verb: str, path: str, body: Any, *, accept: str = "application/json") -> str:
        parts = urlsplit(self.deployment.urls[1])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.bobs_key}", "Accept": accept, "Content-Type": "application/json"}
        try:
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return normalised(f"{response.status} {response.read().decode()}", self.things)
        finally:
            connection.close()


@pytest.fixture(scope="module", params=DATABASES)
def household(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Household]:
    require(request.param)
    home = tmp_path_factory.mktemp("isolation")
    with Deployment(home, request.param, api=2, workers=1) as deployment, shown_when_it_fails(deployment):
        (alices_id, alices_key), (bobs_id, bobs_key) = deployment.add_user("alice"), deployment.add_user("bob")
        alice, bob = deployment.connect(0, token=alices_key), deployment.connect(0, token=bobs_key)
        yield Household(
            deployment, alice, bob, bobs_id, bobs_key, alices_things(deployment, alice, alices_id, alices_key)
        )


def upload(deployment: Deployment, key: str) -> dict[str, Any]:
    """An archive of Alice's."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    parts = urlsplit(deployment.urls[0])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("POST", "/v2/workspace/archive", packed.getvalue(), {"Authorization": f"Bearer {key}"})
    answered: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answered


def alices_things(deployment: Deployment, alice: ProtocolClient, user_id: str, key: str) -> Things:
    thread = alice.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    first = run_turn(alice, thread["id"], f"[[say {CANARY}]]", clientUserMessageId="alices-message")
    start_turn(alice, thread["id"], command(f"echo {CANARY}"))
    asked = alice.wait_for_method(APPROVAL)
    (Path(thread["cwd"]) / "notes.txt").write_text(CANARY)
    alice.send_request(
        "command/exec",
        {
            "command": ["cat"],
            "processId": "alices-shell",
            "streamStdin": True,
            "streamStdoutStderr": True,
            "disableTimeout": True,
        },
    )
    alice.request("command/exec/write", {"processId": "alices-shell", "deltaBase64": "aGkK"})
    alice.wait_for_method("command/exec/outputDelta")
    alice.request("fuzzyFileSearch/sessionStart", {"sessionId": "alices-search", "roots": [thread["cwd"]]})
    feedback = alice.request("feedback/upload", {"classification": "bug", "reason": CANARY, "includeLogs": False})
    archive = upload(deployment, key)
    return Things(
        user=user_id,
        thread=thread["id"],
        turn=first["id"],
        item=asked["params"]["itemId"],
        request=asked["id"],
        event=next(frame["eventId"] for frame in reversed(alice.received) if "eventId" in frame),
        client_message="alices-message",
        process="alices-shell",
        search="alices-search",
        feedback=feedback["feedbackId"],
        archive=archive["archive"],
        workspaces=str(Path(thread["cwd"]).parent.parent),
    )


def test_somebody_elses_things_are_answered_like_ones_that_are_not_there(household: Household) -> None:
    theirs, nothing = household.things, nobodys(household.things)
    before, files = dump(household), tree(household)

    different = []
    for hers, none in zip(probes(theirs), probes(nothing), strict=True):
        told = normalised(household.by_socket(hers), nothing), normalised(household.by_socket(none), nothing)
        if told[0] != told[1] or CANARY in told[0]:
            different.append((hers, *told))
        paths = [("POST", f"/v2/{hers.method}", "application/json")]
        paths += [("POST", f"/v2/{hers.method}", "text/event-stream")] if is_stream(hers) else []
        for verb, path, accept in paths:
            said = [
                normalised(household.by_http(verb, path, one.filled(household.own_thread), accept=accept), nothing)
                for one in (hers, none)
            ]
            if said[0] != said[1] or CANARY in said[0]:
                different.append((hers, *said))
    for make in filter(None, ROUTES.values()):
        said = [normalised(household.by_http(*make(one)), nothing) for one in (theirs, nothing)]
        assert said[0] == said[1]

    assert not different, "\n".join(f"{probe.method} ({probe.about}):\n  {a}\n  {b}" for probe, a, b in different)
    assert dump(household) == before
    assert tree(household) == files


def test_nothing_that_happens_to_somebody_else_is_heard(household: Household) -> None:
    theirs, nobody = household.things, nobodys(household.things)
    for method in ("thread/resume", "thread/unsubscribe"):
        with_ids = {"threadId": theirs.thread}
        try:
            household.bob.request(method, with_ids)
        except RpcError:
            assert method == "thread/resume"
    for things in (theirs, nobody):
        stream = EventStream(
            household.deployment.urls[0], f"/v2/thread/events?threadId={things.thread}", token=household.bobs_key
        )
        assert stream.wait_for_end() == []
        assert stream.status == 404
    household.bob.send({"id": theirs.request, "result": {"decision": "accept"}})
    household.bob.request("thread/list", {})  # behind the answer, which nobody waited for

    waiting = household.alice.request("thread/read", {"threadId": theirs.thread})["thread"]
    household.alice.send({"id": theirs.request, "result": {"decision": "accept"}})
    turn = household.alice.request("thread/turns/list", {"threadId": theirs.thread, "limit": 1})["data"][0]
    wait_for_end(household.alice, turn["id"])
    household.alice.request("thread/name/set", {"threadId": theirs.thread, "name": CANARY})
    household.alice.wait_for_method("thread/name/updated")
    household.bob.request("thread/list", {})

    assert waiting["status"]["activeFlags"] == ["waitingOnApproval"]
    told = json.dumps(household.bob.notifications)
    assert theirs.thread not in told
    assert CANARY not in json.dumps(household.bob.received)


def test_every_route_is_known_here(house: House) -> None:
    """A new route says in ROUTES how it names things, or that it names none."""
    assert {str(rule) for rule in make_app(house.services).url_map.iter_rules()} == set(ROUTES)


def is_stream(probe: Probe) -> bool:
    return probe.method in STREAMED and "own thread" not in probe.about


def dump(household: Household) -> list[tuple[str, str]]:
    """Every row of every table that has the id of Alice or of her thread in it."""
    with household.deployment.store.database.read() as connection:
        rows = [
            (table.name, json.dumps({name: row[name] for name in row if name not in CHANGES_BY_ITSELF}, default=str))
            for table in metadata.sorted_tables
            for row in connection.execute(select(table)).mappings()
        ]
    names = (household.things.user, household.things.thread)
    return sorted((table, row) for table, row in rows if any(name in row for name in names))


def tree(household: Household) -> dict[str, bytes]:
    """Alice's files."""
    folder = Path(household.things.workspaces) / household.things.user
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}
