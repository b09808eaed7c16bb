"""Share links: who makes and revokes them, what they open, what they do not, and how they end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select, update
from werkzeug.test import TestResponse

from api.access import limits
from api.access.limits import GUESSES_PER_MINUTE
from api.app import make_app
from api.methods import TABLE
from api.methods.thread_share_create import DAY_SECONDS
from api.requests import history
from api.transport import credential_watch, share_routes
from shared.clock import now_ms
from shared.config import Limits
from shared.events.log import Event
from shared.store import thread_shares as share_rows
from shared.store.audit import AuditEntry
from shared.store.tables import audit, thread_shares, threads
from tests.builders import Backend, claim_turn, delta, end_turn, make_message, make_thread, make_turn

ORIGIN = {"Origin": "http://localhost"}


class Owner:
    """A user with a thread that has one turn."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.http = make_app(backend.services).test_client()
        self.id = backend.store.users.add(name).id
        self.key = {"Authorization": f"Bearer {backend.store.users.create_key(name, 'laptop')}"}
        folder = backend.config.server.workspaces_dir / self.id
        self.thread = make_thread(backend.store, backend.config, self.id, name=f"of {name}", materialized=True)
        make_turn(backend.store, self.thread, f"the secret plan of {name}")
        claim = claim_turn(backend.store)
        make_message(backend.store, claim, f"I looked at {folder}/x")
        end_turn(backend.store, claim)

    def call(self, method: str, **params: Any) -> TestResponse:
        return self.http.post(f"/v2/{method}", json=params, headers=self.key)

    def share(self, **params: Any) -> dict[str, Any]:
        answer = self.call("thread/share/create", threadId=self.thread.id, **params)
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json())


@pytest.fixture
def ada(backend: Backend) -> Owner:
    return Owner(backend, "ada")


@pytest.fixture
def reader(backend: Backend) -> FlaskClient:
    """Somebody without an account, on another API process."""
    return make_app(backend.services).test_client()


def by_link(http: FlaskClient, secret: str, path: str = "", scheme: str = "Share", **headers: str) -> TestResponse:
    return http.get(f"/v2/thread/shared{path}", headers={"Authorization": f"{scheme} {secret}", **headers})


def test_a_link_shows_its_thread_without_account_owner_or_host(
    backend: Backend, ada: Owner, reader: FlaskClient
) -> None:
    answer = by_link(reader, ada.share()["secret"])

    page = answer.get_json()
    assert page["thread"].keys() == {"id", "name", "preview", "status", "cwd", "createdAt", "updatedAt"}
    assert (page["thread"]["id"], page["thread"]["name"]) == (ada.thread.id, "of ada")
    texts = [item.get("text") for turn in page["turns"] for item in turn["items"]]
    assert "I looked at /workspaces/x" in texts
    assert ada.id not in answer.text
    assert str(backend.config.server.workspaces_dir) not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_page_of_large_turns_ends_earlier_and_is_continued(
    backend: Backend, ada: Owner, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_turn(backend.store, ada.thread, "more")
    claim = claim_turn(backend.store)
    make_message(backend.store, claim, "x" * 500)
    end_turn(backend.store, claim)
    monkeypatch.setattr(history, "ANSWER_BYTES", 550)
    secret = ada.share()["secret"]

    first = by_link(reader, secret).get_json()
    second = by_link(reader, secret, f"?cursor={first['nextCursor']}").get_json()

    assert [len(page["turns"]) for page in (first, second)] == [1, 1]
    assert second["nextCursor"] is None


def test_only_the_owner_makes_lists_and_revokes_links(backend: Backend, ada: Owner) -> None:
    eve = Owner(backend, "eve")
    made = ada.share()["share"]

    assert eve.call("thread/share/create", threadId=ada.thread.id).status_code == 404
    assert eve.call("thread/share/list", threadId=ada.thread.id).status_code == 404
    refused = eve.call("thread/share/revoke", shareId=made["id"])
    unknown = eve.call("thread/share/revoke", shareId=ada.thread.id)
    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.text.replace(made["id"], "") == unknown.text.replace(ada.thread.id, "")
    assert ada.call("thread/share/list", threadId=ada.thread.id).get_json()["data"] == [made]
    assert ada.call("thread/share/revoke", shareId=made["id"]).status_code == 200
    assert ada.call("thread/share/revoke", shareId=made["id"]).status_code == 200
    assert ada.call("thread/share/list", threadId=ada.thread.id).get_json()["data"] == []


def test_making_and_revoking_are_in_the_audit_log_once_without_the_secret(backend: Backend, ada: Owner) -> None:
    made = ada.share()
    for _ in range(2):
        ada.call("thread/share/revoke", shareId=made["share"]["id"])

    with backend.store.database.read() as connection:
        rows = connection.execute(select(audit).where(audit.c.action.like("thread/share/%")).order_by(audit.c.id)).all()
        stored = connection.execute(select(thread_shares)).all()
    assert [(row.action, row.thread_id, row.subject_id) for row in rows] == [
        ("thread/share/create", ada.thread.id, made["share"]["id"]),
        ("thread/share/revoke", ada.thread.id, made["share"]["id"]),
    ]
    assert made["secret"] not in repr([*rows, *stored])
    assert made["path"] == f"/#/shared/{made['secret']}"
    assert len(made["secret"]) >= 43  # 256 bits


@pytest.mark.parametrize(
    ("asked", "days"),
    [({}, 7), ({"expiresInSeconds": 60}, 60 / DAY_SECONDS), ({"expiresInSeconds": 90 * DAY_SECONDS}, 90)],
)
def test_a_link_expires(ada: Owner, asked: dict[str, int], days: float) -> None:
    share = ada.share(**asked)["share"]
    assert share["expiresAt"] - share["createdAt"] == pytest.approx(days * DAY_SECONDS, abs=1)


def test_the_operator_limits_how_long_links_last(open_backend: Callable[..., Backend]) -> None:
    ada = Owner(open_backend(server={"share_days": 3}), "ada")
    share = ada.share()["share"]
    assert share["expiresAt"] - share["createdAt"] == 3 * DAY_SECONDS
    for seconds in (59, 3 * DAY_SECONDS + 1):
        assert ada.call("thread/share/create", threadId=ada.thread.id, expiresInSeconds=seconds).status_code == 400


def test_each_link_that_opens_nothing_gets_the_same_404(backend: Backend, ada: Owner, reader: FlaskClient) -> None:
    revoked, expired = ada.share(), ada.share()
    ada.call("thread/share/revoke", shareId=revoked["share"]["id"])
    age(backend, expired["share"]["id"])
    eve = Owner(backend, "eve")
    of_disabled = eve.share()
    backend.store.users.set_disabled(eve.id, True)
    valid = ada.share()["secret"]
    secrets_ = {
        "revoked": revoked["secret"],
        "expired": expired["secret"],
        "of a disabled user": of_disabled["secret"],
        "unknown": secrets.token_urlsafe(32),
        "cut off": valid[:-1],
        "in another case": valid.swapcase(),
        "empty": "",
        "not ASCII": "é" * 43,
        "long": "x" * 5000,
        "an id": ada.share()["share"]["id"],
    }
    assert by_link(reader, valid).status_code == 200

    seen = {
        f"{name}{path}": shown(by_link(reader, secret, path))
        for name, secret in secrets_.items()
        for path in ("", "/events")
    }
    seen |= {
        "another scheme": shown(by_link(reader, valid, scheme="Bearer")),
        "none": shown(reader.get("/v2/thread/shared")),
    }
    seen |= {"in the address": shown(reader.get(f"/v2/thread/shared?secret={valid}&threadId={ada.thread.id}"))}

    assert len(set(seen.values())) == 1, seen
    assert next(iter(seen.values()))[0] == 404


def shown(answer: TestResponse) -> tuple[object, ...]:
    return answer.status_code, answer.text, tuple(sorted(answer.headers.items()))


def age(backend: Backend, share_id: str) -> None:
    """Have a link expire."""
    with backend.store.database.write() as connection:
        connection.execute(
            update(thread_shares).where(thread_shares.c.id == share_id).values(expires_at_ms=now_ms() - 1)
        )


def test_a_link_goes_with_its_thread_whoever_deletes_it(backend: Backend, ada: Owner, reader: FlaskClient) -> None:
    secret = ada.share()["secret"]
    assert ada.call("thread/delete", threadId=ada.thread.id).status_code == 200
    assert by_link(reader, secret).status_code == 404
    with backend.store.database.read() as connection:
        assert connection.execute(select(thread_shares)).all() == []

    # A node of an earlier version knows no links, and leaves their rows.
    eve = Owner(backend, "eve")
    secret = eve.share()["secret"]
    with backend.store.database.write() as connection:
        connection.execute(delete(threads).where(threads.c.id == eve.thread.id))
    assert by_link(reader, secret).status_code == 404


def test_links_of_an_erased_user_open_nothing_and_are_removed(
    backend: Backend, ada: Owner, reader: FlaskClient
) -> None:
    Owner(backend, "eve")
    secret = ada.share()["secret"]

    erasure = backend.store.erasures.erase_user("ada", audit_entry=AuditEntry.of_operator("users delete"))

    assert by_link(reader, secret).status_code == 404
    backend.store.erasures.all_users_erase_rows(erasure)
    with backend.store.database.read() as connection:
        assert connection.execute(select(thread_shares)).all() == []


def test_links_that_have_expired_are_forgotten_and_no_user_has_too_many(
    backend: Backend, ada: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_rows, "MOST_OF_A_USER", 2)
    first = ada.share()["share"]["id"]
    ada.share()
    assert ada.call("thread/share/create", threadId=ada.thread.id).status_code == 409

    age(backend, first)
    ada.share()

    with backend.store.database.read() as connection:
        assert first not in connection.scalars(select(thread_shares.c.id)).all()


def test_a_server_without_users_makes_no_links(backend: Backend) -> None:
    http = make_app(backend.services).test_client()
    thread = make_thread(backend.store, backend.config)
    answer = http.post("/v2/thread/share/create", json={"threadId": thread.id})
    assert (answer.status_code, "users add" in answer.text) == (400, True)


# -- what a link does not open


def test_the_secret_is_no_credential_of_any_method(ada: Owner, reader: FlaskClient) -> None:
    secret = ada.share()["secret"]
    paths = [
        ("POST", f"/v2/{method}") for method in (*TABLE, "serverRequest/respond", "workspace/archive", "thread/shared")
    ]
    paths += [("GET", f"/v2/thread/events?threadId={ada.thread.id}"), ("GET", "/v2/user/events"), ("GET", "/statusz")]
    paths += [("GET", f"/v2/thread/workspace?threadId={ada.thread.id}")]
    for verb, path in paths:
        for scheme in ("Share", "Bearer"):
            headers = {"Authorization": f"{scheme} {secret}", **ORIGIN}
            answer = reader.open(path, method=verb, json={"threadId": ada.thread.id}, headers=headers)
            assert answer.status_code == 401, (path, scheme, answer.text)
    reader.set_cookie("threadhouse_session", secret)
    assert reader.post("/v2/thread/list", json={}, headers=ORIGIN).status_code == 401
    assert reader.post("/console/session", json={"credential": secret}, headers=ORIGIN).status_code == 401


def test_a_signed_in_user_sees_by_link_what_everybody_sees(backend: Backend, ada: Owner, reader: FlaskClient) -> None:
    eve = Owner(backend, "eve")
    secret, hers = ada.share()["secret"], eve.share()["secret"]
    expected = by_link(reader, secret).text
    key = eve.key["Authorization"].partition(" ")[2]
    for who, credential in ((reader, key), (eve.http, key)):
        who.post("/console/session", json={"credential": credential}, headers=ORIGIN)
        assert by_link(who, secret).text == expected
        assert by_link(who, f"{secret}&threadId={eve.thread.id}").status_code == 404
        answer = who.get(f"/v2/thread/shared?threadId={eve.thread.id}", headers={"Authorization": f"Share {secret}"})
        assert answer.text == expected
        # With the cookie alone, a link opens nothing.
        assert who.get(f"/v2/thread/shared?threadId={eve.thread.id}").status_code == 404
    assert by_link(reader, hers).get_json()["thread"]["id"] == eve.thread.id


def test_a_page_of_another_origin_reads_nothing_by_a_link(ada: Owner, reader: FlaskClient) -> None:
    answer = by_link(reader, ada.share()["secret"], Origin="https://evil.example")
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_readers_are_counted_apart_from_the_owner(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(requests_per_minute=4))
    ada = Owner(backend, "ada")
    secret = ada.share()["secret"]
    http = make_app(backend.services).test_client()

    statuses = [by_link(http, secret).status_code for _ in range(6)]

    assert statuses == [200] * 4 + [429] * 2
    assert ada.call("thread/share/list", threadId=ada.thread.id).status_code == 200


def test_an_address_guesses_only_so_many_links_in_a_minute(ada: Owner, reader: FlaskClient) -> None:
    secret = ada.share()["secret"]

    def read(secret: str, address: str) -> TestResponse:
        headers = {"Authorization": f"Share {secret}"}
        return reader.get("/v2/thread/shared", headers=headers, environ_base={"REMOTE_ADDR": address})

    opened = [read(secret, "192.0.2.1").status_code for _ in range(GUESSES_PER_MINUTE + 1)]
    guesses = [read(secrets.token_urlsafe(32), "192.0.2.1") for _ in range(GUESSES_PER_MINUTE + 1)]

    assert set(opened) == {200}
    assert [answer.status_code for answer in guesses] == [404] * GUESSES_PER_MINUTE + [429]
    assert int(guesses[-1].headers["Retry-After"]) <= 60
    assert read(secret, "192.0.2.1").status_code == 429
    assert read(secret, "192.0.2.2").status_code == 200


def test_an_address_reads_only_so_often_in_a_minute(
    ada: Owner, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READS_PER_MINUTE", 3)
    headers = {"Authorization": f"Share {ada.share()['secret']}"}

    def read(path: str, address: str) -> TestResponse:
        return reader.get(f"/v2/thread/shared{path}", headers=headers, environ_base={"REMOTE_ADDR": address})

    answers = [read(path, "192.0.2.1") for path in ("", "", "", "", "/events")]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) <= 60
    assert read("", "192.0.2.2").status_code == 200
    assert ada.call("thread/read", threadId=ada.thread.id).status_code == 200


def test_reading_is_in_the_audit_log_once_for_an_address_and_for_so_many_addresses(
    backend: Backend, ada: Owner, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_routes, "READERS_NOTED", 3)
    made = ada.share()
    for number in (1, 2, 1, 2, 3, 4, 5):
        headers = {"Authorization": f"Share {made['secret']}"}
        reader.get("/v2/thread/shared", headers=headers, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})
    by_link(reader, "wrong")

    with backend.store.database.read() as connection:
        rows = connection.execute(select(audit).where(audit.c.action == share_routes.READ).order_by(audit.c.id)).all()
    assert [row.address for row in rows] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert {(row.owner, row.thread_id, row.subject_id, row.detail) for row in rows} == {
        (ada.id, ada.thread.id, made["share"]["id"], "reader")
    }
    assert 0 < backend.services.redis.ttl(f"share-readers:{made['share']['id']}") <= share_routes.NOTED_SECONDS


# -- live


def test_a_stream_has_the_events_of_its_thread_alone_and_no_requests(
    backend: Backend, ada: Owner, reader: FlaskClient
) -> None:
    other = make_thread(backend.store, backend.config, ada.id, materialized=True)
    stream = by_link(reader, ada.share()["secret"], "/events")
    chunks = stream.iter_encoded()
    first = next(chunks)
    folder = f"{backend.config.server.workspaces_dir}/{ada.id}"

    hidden = [
        Event("thread/settings/updated", {"threadId": ada.thread.id, "threadSettings": {"cwd": folder}}),
        Event("item/commandExecution/requestApproval", {"threadId": ada.thread.id, "command": "hidden"}),
        Event("warning", {"threadId": ada.thread.id, "message": "hidden"}),
    ]
    backend.publish(other, Event("thread/name/updated", {"threadId": other.id, "threadName": "other"}))
    backend.publish(ada.thread, *hidden, delta(ada.thread.id, "i1", f"see {folder}/{ada.thread.id}/x"))
    backend.publish(ada.thread, Event("thread/name/updated", {"threadId": ada.thread.id, "threadName": "the end"}))

    got = read_until(chunks, b"the end")
    assert b"see /workspaces/" in got
    for absent in (b"other", b"hidden", folder.encode(), ada.id.encode(), b"settings"):
        assert absent not in first + got
    assert stream.headers["Cache-Control"] == "no-store"
    assert "noindex" in stream.headers["X-Robots-Tag"]
    stream.close()


def test_a_stream_continues_after_the_last_event_that_was_read(
    backend: Backend, ada: Owner, reader: FlaskClient
) -> None:
    secret = ada.share()["secret"]
    names = [Event("thread/name/updated", {"threadId": ada.thread.id, "threadName": f"name {n}"}) for n in range(3)]
    stream = by_link(reader, secret, "/events")
    chunks = stream.iter_encoded()
    next(chunks)
    backend.publish(ada.thread, names[0])
    got = read_until(chunks, b"name 0")
    last = got.rpartition(b"id: ")[2].partition(b"\n")[0].decode()
    stream.close()

    backend.publish(ada.thread, *names[1:])
    again = by_link(reader, secret, "/events", **{"Last-Event-ID": last})

    got = read_until(again.iter_encoded(), b"name 2")
    assert (b"name 0" in got, got.count(b"name 1")) == (False, 1)
    again.close()


@pytest.mark.parametrize("how", ["revoked", "expired", "disabled"])
def test_open_streams_end_with_their_link(
    backend: Backend, ada: Owner, reader: FlaskClient, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(credential_watch, "ROUND_SECONDS", 0.05)
    made = ada.share()
    chunks = by_link(reader, made["secret"], "/events").iter_encoded()
    next(chunks)
    ends: dict[str, Callable[[], object]] = {
        "revoked": lambda: ada.call("thread/share/revoke", shareId=made["share"]["id"]),
        "expired": lambda: age(backend, made["share"]["id"]),
        "disabled": lambda: backend.store.users.set_disabled(ada.id, True),
    }

    ends[how]()

    assert all(b"data:" not in chunk for chunk in chunks)
    assert by_link(reader, made["secret"]).status_code == 404


def read_until(chunks: Iterator[Any], wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        got += next(chunks)
    return got


def test_pages_of_turns_stay_in_the_thread(backend: Backend, ada: Owner, reader: FlaskClient) -> None:
    eve = Owner(backend, "eve")
    with_turn = orjson.loads(eve.call("thread/turns/list", threadId=eve.thread.id).data)["data"][0]["id"]
    secret = ada.share()["secret"]
    answer = reader.get(f"/v2/thread/shared?cursor=%3D{with_turn}", headers={"Authorization": f"Share {secret}"})
    assert "eve" not in answer.text
