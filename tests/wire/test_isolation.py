"""A user cannot distinguish the objects of another user from absent ones, on any method, route or stream.

The requests are generated from the method table (tests/support/probes.py). Alice has a thread with a completed turn and
one that waits for her approval, a running command, a search and files; Bob requests all of it by id.
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
from shared.ids import new_id
from shared.store.tables import metadata
from tests.builders import Backend, make_thread
from tests.support.deployment import DATABASES, STEADY, Deployment, logs_shown_on_failure
from tests.support.event_stream import EventStream
from tests.support.probes import Probe, Things, normalised, probes, unknown_things
from tests.support.protocol_client import DEADLINE_S, ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_turn, wait_for_end

CANARY = "alices-canary"
APPROVAL = "item/commandExecution/requestApproval"
CHANGES_BY_ITSELF = {"last_used_at_ms", "session_due_at_ms", "published_state"}
# URL rule → (HTTP method, path, body) that names objects of a user; None: the route names no object of a user.
ROUTES: dict[str, Callable[[Things], tuple[str, str, Any]] | None] = {
    "/": None,
    "/<path:path>": None,  # WebSocket upgrades
    "/readyz": None,
    "/healthz": None,
    "/statusz": None,  # for admins
    "/openapi.json": None,
    "/console/assets/<name>": None,
    "/console/session": None,  # of the caller's own cookie
    "/oauth/callback": None,  # a state that nobody can guess counts once
    "/v2/user/events": None,  # of the caller
    "/docs": None,
    "/v2/<path:method>": None,  # covered by the probes
    "/v2/thread/events": lambda things: ("GET", f"/v2/thread/events?threadId={things.thread}", None),
    "/v2/thread/workspace": lambda things: ("GET", f"/v2/thread/workspace?threadId={things.thread}", None),
    "/v2/thread/shared": None,  # a secret that nobody can guess (tests/wire/test_share.py)
    "/v2/thread/shared/events": None,
    "/v2/workspace/archive": None,  # creates an object of the caller
    "/v2/serverRequest/respond": lambda things: (
        "POST",
        "/v2/serverRequest/respond",
        {"requestId": things.request, "result": {"decision": "accept"}},
    ),
}
STREAMED = ("thread/resume", "turn/start")


@dataclass
class TwoUsers:
    """Alice and Bob, users of one deployment. things: the objects of Alice."""

    deployment: Deployment
    alice: ProtocolClient
    bob: ProtocolClient
    bobs_id: str
    bobs_key: str
    things: Things

    def own_thread(self) -> str:
        """Create a thread of Bob. Return its id."""
        return make_thread(self.deployment.store, self.deployment.config, self.bobs_id, materialized=True).id

    def by_socket(self, probe: Probe) -> str:
        """Send a probe as Bob over his WebSocket. Return the normalised answer."""
        try:
            answer: Any = {"result": self.bob.request(probe.method, probe.filled(self.own_thread))}
        except RpcError as error:
            answer = {"code": error.code, "message": error.message, "data": error.data}
        return normalised(answer, self.things)

    def by_http(self, verb: str, path: str, body: Any, *, accept: str = "application/json") -> str:
        """Send a request as Bob over HTTP to the other node. Return the normalised status and body."""
        parts = urlsplit(self.deployment.urls[1])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
        headers = {"Authorization": f"Bearer {self.bobs_key}", "Accept": accept, "Content-Type": "application/json"}
        try:
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return normalised(f"{response.status} {response.read().decode()}", self.things)
        finally:
            connection.close()


@pytest.fixture(scope="module", params=DATABASES)
def users(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoUsers]:
    home = tmp_path_factory.mktemp("isolation")
    with (
        Deployment(home, request.param, api=2, workers=1, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        (alices_id, alices_key), (bobs_id, bobs_key) = deployment.add_user("alice"), deployment.add_user("bob")
        alice, bob = deployment.connect(0, token=alices_key), deployment.connect(0, token=bobs_key)
        yield TwoUsers(
            deployment, alice, bob, bobs_id, bobs_key, alices_things(deployment, alice, alices_id, alices_key)
        )


def upload(deployment: Deployment, key: str) -> dict[str, Any]:
    """Upload an archive as Alice. Return the answer."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    parts = urlsplit(deployment.urls[0])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
    connection.request("POST", "/v2/workspace/archive", packed.getvalue(), {"Authorization": f"Bearer {key}"})
    answered: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answered


def alices_things(deployment: Deployment, alice: ProtocolClient, user_id: str, key: str) -> Things:
    """Create an object of each kind as Alice. Return their ids."""
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
    share = alice.request("thread/share/create", {"threadId": thread["id"]})
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
        share=share["share"]["id"],
        key=deployment.store.users.keys("alice")[0].id,
        delivery=new_id(),
        archive=archive["archive"],
        workspaces=str(Path(thread["cwd"]).parent.parent),
    )


def test_objects_of_another_user_are_answered_like_absent_ones(users: TwoUsers) -> None:
    theirs, nothing = users.things, unknown_things(users.things)
    before, files = dump(users), tree(users)

    different = []
    for hers, none in zip(probes(theirs), probes(nothing), strict=True):
        answers = [normalised(users.by_socket(probe), nothing) for probe in (hers, none)]
        if answers[0] != answers[1] or CANARY in answers[0]:
            different.append((hers, *answers))
        paths = [("POST", f"/v2/{hers.method}", "application/json")]
        paths += [("POST", f"/v2/{hers.method}", "text/event-stream")] if is_stream(hers) else []
        for verb, path, accept in paths:
            answers = [
                normalised(users.by_http(verb, path, probe.filled(users.own_thread), accept=accept), nothing)
                for probe in (hers, none)
            ]
            if answers[0] != answers[1] or CANARY in answers[0]:
                different.append((hers, *answers))
    for make in filter(None, ROUTES.values()):
        answers = [normalised(users.by_http(*make(things)), nothing) for things in (theirs, nothing)]
        assert answers[0] == answers[1]

    assert not different, "\n".join(f"{probe.method} ({probe.about}):\n  {a}\n  {b}" for probe, a, b in different)
    assert dump(users) == before
    assert tree(users) == files


def test_a_user_receives_no_events_of_another_user(users: TwoUsers) -> None:
    theirs, nobody = users.things, unknown_things(users.things)
    for method in ("thread/resume", "thread/unsubscribe"):
        with_ids = {"threadId": theirs.thread}
        try:
            users.bob.request(method, with_ids)
        except RpcError:
            assert method == "thread/resume"
    for things in (theirs, nobody):
        stream = EventStream(
            users.deployment.urls[0], f"/v2/thread/events?threadId={things.thread}", token=users.bobs_key
        )
        assert stream.wait_for_end() == []
        assert stream.status == 404
    users.bob.send({"id": theirs.request, "result": {"decision": "accept"}})
    users.bob.request("thread/list", {})  # its reply shows that the answer has been processed

    waiting = users.alice.request("thread/read", {"threadId": theirs.thread})["thread"]
    users.alice.send({"id": theirs.request, "result": {"decision": "accept"}})
    turn = users.alice.request("thread/turns/list", {"threadId": theirs.thread, "limit": 1})["data"][0]
    wait_for_end(users.alice, turn["id"])
    users.alice.request("thread/name/set", {"threadId": theirs.thread, "name": CANARY})
    users.alice.wait_for_method("thread/name/updated")
    users.bob.request("thread/list", {})

    assert waiting["status"]["activeFlags"] == ["waitingOnApproval"]
    received = json.dumps(users.bob.notifications)
    assert theirs.thread not in received
    assert CANARY not in json.dumps(users.bob.received)


def test_routes_lists_every_route_of_the_application(backend: Backend) -> None:
    """A new route needs an entry in ROUTES: a request that names objects of a user, or None."""
    assert {str(rule) for rule in make_app(backend.services).url_map.iter_rules()} == set(ROUTES)


def is_stream(probe: Probe) -> bool:
    return probe.method in STREAMED and "own thread" not in probe.about


def dump(users: TwoUsers) -> list[tuple[str, str]]:
    """Return each (table, row) that contains the id of Alice or of her thread, sorted."""
    with users.deployment.store.database.read() as connection:
        rows = [
            (table.name, json.dumps({name: row[name] for name in row if name not in CHANGES_BY_ITSELF}, default=str))
            for table in metadata.sorted_tables
            for row in connection.execute(select(table)).mappings()
        ]
    names = (users.things.user, users.things.thread)
    return sorted((table, row) for table, row in rows if any(name in row for name in names))


def tree(users: TwoUsers) -> dict[str, bytes]:
    """Return path → content of Alice's files; a folder has no content."""
    folder = Path(users.things.workspaces) / users.things.user
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}
