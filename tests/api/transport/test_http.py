"""The methods over HTTP, event streams, problem details, health."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import make_app
from api.methods import thread_archive
from api.requests.context import Context
from shared.config import SCRIPTED, SCRIPTED_WORDS
from shared.errors import Conflict
from shared.events import durable_events
from shared.events.log import Event
from shared.store.audit import AuditEntry
from shared.store.threads import Thread
from tests.api.transport.test_dispatch import fail_to_store
from tests.builders import Backend, claim_turn, delta, end_turn, make_message, make_thread, make_turn, text_input

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def http(backend: Backend) -> FlaskClient:
    return make_app(backend.services).test_client()


def json_of(response: TestResponse) -> Any:
    return json.loads(response.get_data())


class Stream:
    """Server-sent events, read one at a time."""

    def __init__(self, response: TestResponse) -> None:
        assert response.status_code == 200, response.get_data()
        assert response.content_type == "text/event-stream"
        self.response = response
        self.events: list[dict[str, Any]] = []
        self.opening = ""
        self._blocks = self._split(iter(response.iter_encoded()))

    def _split(self, chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        for chunk in chunks:
            for block in chunk.decode().split("\n\n")[:-1]:
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                self.opening = self.opening or block
                if "event" in fields:
                    yield {"id": fields.get("id"), "event": fields["event"], "data": json.loads(fields["data"])}

    def next(self) -> dict[str, Any]:
        self.events.append(next(self._blocks))
        return self.events[-1]

    def until(self, method: str) -> dict[str, Any]:
        return next(event for event in iter(self.next, None) if event["event"] == method)

    def rest(self) -> list[str]:
        return [event["event"] for event in self._blocks]

    def text(self) -> str:
        return "".join(one["data"]["params"]["delta"] for one in self.events if one["event"].endswith("/delta"))


def get_events(http: FlaskClient, thread: Thread, cursor: str | None = None) -> Stream:
    headers = {"Last-Event-ID": cursor} if cursor else {}
    return Stream(http.get(f"/v2/thread/events?threadId={thread.id}", headers=headers))


def end(backend: Backend) -> None:
    """Claim the waiting turn and end it, as a worker does."""
    durable_events.publish_missing(
        backend.store, backend.services.events, end_turn(backend.store, claim_turn(backend.store))
    )


def test_the_result_of_a_method_is_the_body(http: FlaskClient, backend: Backend) -> None:
    thread = json_of(http.post("/v2/thread/start", json={}))["thread"]

    turn = json_of(http.post("/v2/turn/start", json={"threadId": thread["id"], "input": text_input("hi")}))["turn"]

    assert turn["status"] == "inProgress"
    assert backend.enqueued == [turn["id"]]
    assert http.post("/v2/account/read").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v2/x/y", "{}", 404, -32601),
        ("/v2/thread/start", '{"cwd": 5}', 400, -32602),
        ("/v2/thread/start", "not json", 400, -32602),
        ("/v2/thread/start", "[]", 400, -32602),
        ("/v2/thread/read", '{"threadId": "01a202e8-05e8-7e83-b3af-000000000000"}', 404, -32600),
        ("/v2/serverRequest/respond", '{"requestId": 5, "result": {}}', 409, -32600),
        ("/v2/serverRequest/respond", '{"requestId": "5", "result": {}}', 400, -32602),
    ],
)
def test_an_error_is_a_problem_document(http: FlaskClient, path: str, body: str, status: int, code: int) -> None:
    response = http.post(path, data=body)

    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert json_of(response)["code"] == code
    assert json_of(response)["status"] == status


def test_what_a_method_has_put_off_is_done_when_it_fails_later(
    http: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def put_off_and_fail(ctx: Context, _: object) -> object:
        ctx.after_reply(done.append, "told")
        raise Conflict("a turn has begun")

    monkeypatch.setattr(thread_archive, "handle", put_off_and_fail)
    thread = make_thread(backend.store, backend.config)

    response = http.post("/v2/thread/archive", json={"threadId": thread.id})

    assert (response.status_code, done) == (409, ["told"])


def test_an_overload_carries_retry_after(open_backend: Callable[..., Backend]) -> None:
    from shared.config import Limits

    backend = open_backend(limits=Limits(queued_turns=1))
    http = make_app(backend.services).test_client()
    threads = [make_thread(backend.store, backend.config) for _ in range(2)]

    replies = [http.post("/v2/turn/start", json={"threadId": thread.id, "input": []}) for thread in threads]

    assert [reply.status_code for reply in replies] == [200, 429]
    assert replies[1].headers["Retry-After"] == "1"
    assert json_of(replies[1])["code"] == -32001


def test_a_body_over_sixteen_mebibytes_is_refused(http: FlaskClient) -> None:
    assert http.post("/v2/thread/start", data=b"x" * (16 * 1024 * 1024 + 1)).status_code == 413


def test_a_streamed_turn_begins_with_the_result_and_ends_with_the_turn(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    stream = Stream(
        http.post("/v2/turn/start", json={"threadId": thread.id, "input": text_input("hi")}, headers=STREAM)
    )
    result = stream.next()
    end(backend)

    assert result["event"] == "result"
    assert result["data"]["result"]["turn"]["status"] == "inProgress"
    assert stream.rest()[-2:] == ["thread/status/changed", "turn/completed"]


def test_a_streamed_thread_ends_with_its_next_turn(http: FlaskClient, backend: Backend) -> None:
    stream = Stream(http.post("/v2/thread/start", json={}, headers=STREAM))
    thread_id = stream.next()["data"]["result"]["thread"]["id"]
    assert stream.next()["event"] == "thread/started"

    make_turn(backend.store, backend.store.threads.get(thread_id, "local"))
    end(backend)

    assert stream.rest()[-1] == "turn/completed"


def test_a_repeated_idempotency_key_starts_no_second_turn(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    body = {"threadId": thread.id, "input": text_input("once")}
    first = json_of(http.post("/v2/turn/start", json=body, headers={"Idempotency-Key": "k1"}))["turn"]
    end(backend)

    again = Stream(http.post("/v2/turn/start", json=body, headers={"Idempotency-Key": "k1", **STREAM}))

    assert again.next()["data"]["result"]["turn"]["id"] == first["id"]
    assert again.rest() == ["turn/completed"]
    assert len(backend.store.turns.of_thread(thread.id, "local")) == 1


def test_a_reconnected_stream_continues_after_the_last_event_id(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    first = get_events(http, thread)
    start = Event(
        "item/started",
        {"threadId": thread.id, "turnId": "T", "item": {"id": "a"}},
        key="item:a:started",
        item_id="a",
        role="start",
    )
    backend.publish(thread, start, *(delta(thread.id, "a", f"{number} ") for number in range(10)))
    first.until("item/agentMessage/delta")
    cut = first.next()
    first.response.close()
    backend.publish(
        thread, *(delta(thread.id, "a", f"{number} ") for number in range(10, 20)), delta(thread.id, "a", ".")
    )

    second = get_events(http, thread, cut["id"])
    list(itertools.takewhile(lambda event: event["data"]["params"]["delta"] != ".", iter(second.next, None)))

    assert first.text() + second.text() == "".join(f"{number} " for number in range(20)) + "."
    second.response.close()


def test_a_stream_begins_with_its_cursor(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    backend.publish(thread, delta(thread.id, "a", "before"))

    stream = get_events(http, thread)
    backend.publish(thread, delta(thread.id, "a", "after"))
    first = stream.next()
    stream.response.close()

    assert stream.opening == f"id: {backend.services.events.read(thread.id, '0-0')[0].id}"
    assert first["data"]["params"]["delta"] == "after"


def test_a_stream_with_an_expired_cursor_begins_with_cursor_expired(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(server={"event_log_length": 10})
    http = make_app(backend.services).test_client()
    thread = make_thread(backend.store, backend.config)
    backend.publish(thread, delta(thread.id, "a", "first"))
    cursor = backend.services.events.snapshot(thread.id).last_id
    for number in range(300):
        backend.publish(thread, delta(thread.id, "a", f"{number}"))

    stream = get_events(http, thread, cursor)
    expired = stream.next()
    backend.publish(thread, delta(thread.id, "a", "new"))

    assert expired["event"] == "threadhouse/cursorExpired"
    assert expired["data"]["params"]["threadId"] == thread.id
    assert stream.next()["data"]["params"]["delta"] == "new"
    stream.response.close()


def test_a_server_request_is_an_event_and_its_answer_a_request(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    method = "item/commandExecution/requestApproval"
    backend.store.claims.park(claim, method, "i", params, [], expires_in_ms=60_000)
    stream = get_events(http, thread)
    asked = stream.until(method)["data"]

    answer = {"requestId": asked["id"], "result": {"decision": "accept"}}
    statuses = [http.post("/v2/serverRequest/respond", json=answer).status_code for _ in range(2)]

    assert statuses == [200, 409]
    assert stream.until("serverRequest/resolved")["data"]["params"]["requestId"] == asked["id"]
    stream.response.close()


def test_what_waits_for_an_answer_is_listed_for_the_owner_alone(http: FlaskClient, backend: Backend) -> None:
    for owner in ("local", "grace"):
        thread = make_thread(backend.store, backend.config, owner, name=f"of {owner}")
        make_turn(backend.store, thread)
        claim = claim_turn(backend.store)
        message = make_message(backend.store, claim, "may I?", completed=False)
        params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": message.id, "startedAtMs": 1}
        asked = backend.store.claims.park(
            claim, "item/fileChange/requestApproval", message.id, params, [], expires_in_ms=60_000
        )
        assert asked is not None

    [listed] = json_of(http.post("/v2/serverRequest/list", json={}))["data"]
    answer = {"requestId": listed["id"], "result": {"decision": "accept"}}
    http.post("/v2/serverRequest/respond", json=answer)

    assert (listed["name"], listed["item"]["text"]) == ("of local", "may I?")
    assert listed["expiresAtMs"] == listed["askedAtMs"] + 60_000
    assert json_of(http.post("/v2/serverRequest/list", json={}))["data"] == []
    [answered] = json_of(http.post("/v2/serverRequest/list", json={"state": "answered"}))["data"]
    assert (answered["name"], answered["answer"]["decision"], answered["answer"]["via"]) == (
        "of local",
        "accept",
        "http",
    )


def test_who_has_answered_is_listed_with_the_last_answer_first(http: FlaskClient, backend: Backend) -> None:
    ada = backend.store.users.add("ada").id
    key = backend.store.users.create_key("ada", "laptop")
    key_id = backend.store.users.keys("ada")[0].id
    entries = [
        AuditEntry(ada, "serverRequest/respond", "websocket", key_id=key_id),
        AuditEntry(ada, "serverRequest/respond", "http", key_id="deleted"),
        None,  # as a node of an earlier version answers, which stores no sender
    ]
    for entry in entries:
        asked = ask(backend, ada)
        backend.store.turns.answer(asked, ada, {"decision": {"acceptWithAmendment": {}}}, audit_entry=entry)
    ask(backend, ada, expires_in_ms=-1)
    backend.store.recovery.all_users_expire_approvals({"decision": "decline"})

    headers = {"Authorization": f"Bearer {key}"}
    listed = json_of(http.post("/v2/serverRequest/list", json={"state": "answered"}, headers=headers))["data"]

    assert [(one["answer"]["via"], one["answer"]["keyName"], one["answer"]["decision"]) for one in listed] == [
        ("timeout", None, "decline"),
        (None, None, "acceptWithAmendment"),
        ("http", None, "acceptWithAmendment"),
        ("websocket", "laptop", "acceptWithAmendment"),
    ]


def ask(backend: Backend, owner: str, expires_in_ms: int = 60_000) -> int:
    """Have a turn of a new thread wait for an approval. Return the request's id."""
    thread = make_thread(backend.store, backend.config, owner)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    message = make_message(backend.store, claim, "may I?", completed=False)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": message.id, "startedAtMs": 1}
    method = "item/fileChange/requestApproval"
    asked = backend.store.claims.park(claim, method, message.id, params, [], expires_in_ms=expires_in_ms)
    assert asked is not None
    return asked.id


def test_an_answer_that_cannot_be_stored_gets_a_status_and_may_be_sent_again(
    http: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_turn(backend.store, make_thread(backend.store, backend.config))
    asked = backend.store.claims.park(claim_turn(backend.store), "item/tool/call", "i", {}, [], expires_in_ms=60_000)
    assert asked is not None
    answer = {"requestId": asked.id, "result": {"success": True}}

    with monkeypatch.context() as outage:
        outage.setattr(type(backend.store.turns), "answer", fail_to_store)
        refused = http.post("/v2/serverRequest/respond", json=answer)
    with monkeypatch.context() as outage:  # stored, and not published
        outage.setattr(durable_events, "publish_missing", fail_to_store)
        stored = http.post("/v2/serverRequest/respond", json=answer)

    assert (refused.status_code, stored.status_code) == (503, 200)
    assert backend.enqueued == [asked.turn_id]


def test_closing_a_stream_ends_its_subscription(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    stream = get_events(http, thread)
    backend.publish(thread, delta(thread.id, "a", "x"))
    stream.next()

    stream.response.close()

    assert backend.services.relay.followers(thread.id) == 0


def test_events_of_another_users_thread_are_not_found(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config, owner="other")

    assert http.get(f"/v2/thread/events?threadId={thread.id}").status_code == 404


def test_thread_read_returns_the_items(http: FlaskClient, backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    make_message(backend.store, claim, "the answer")
    end_turn(backend.store, claim)

    read = json_of(http.post("/v2/thread/read", json={"threadId": thread.id, "includeTurns": True}))["thread"]

    assert [item["text"] for item in read["turns"][0]["items"]] == ["the answer"]


def test_health_checks_answer_probes_and_refuse_pages(http: FlaskClient, backend: Backend) -> None:
    assert [http.get(path).status_code for path in ("/readyz", "/healthz", "/")] == [200, 200, 200]
    origin = {"Origin": "http://localhost"}
    assert [http.get(path, headers=origin).status_code for path in ("/readyz", "/healthz")] == [403, 403]

    backend.redis_server.connected = False

    assert [http.get(path).status_code for path in ("/readyz", "/healthz")] == [503, 200]


def test_the_front_page_names_the_words_of_the_built_in_script(open_backend: Callable[..., Backend]) -> None:
    def page(**settings: Any) -> str:
        return make_app(open_backend(**settings).services).test_client().get("/").get_data(as_text=True)

    scripted, configured = page(model_provider=SCRIPTED), page(model_provider="openai")

    for word, meaning in SCRIPTED_WORDS.items():
        assert f"<li><code>{word}</code>: {meaning}" in scripted
    assert "A built-in script answers" not in configured


def test_foreign_origins_and_hosts_are_refused(http: FlaskClient) -> None:
    def status(**headers: str) -> int:
        return http.post("/v2/account/read", json={}, headers=headers).status_code

    assert status(Origin="https://evil.example") == 403
    assert status(Host="evil.example") == 403
    assert status(Origin="http://localhost") == 200
    assert [status(Host=name) for name in ("127.0.0.1:8765", "[::1]:8765", "localhost:1")] == [200, 200, 200]


def test_a_server_without_users_refuses_other_machines(http: FlaskClient) -> None:
    response = http.post("/v2/account/read", json={}, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})

    assert response.status_code == 401


def test_with_users_every_request_needs_a_key(http: FlaskClient, backend: Backend) -> None:
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")

    def status(value: str) -> int:
        return http.post("/v2/account/read", json={}, headers={"Authorization": value}).status_code

    assert http.post("/v2/account/read", json={}).status_code == 401
    assert [status(value) for value in ("", "Basic x", "Bearer ", "Bearer th_x", f"Bearer {key}")] == [401] * 4 + [200]
