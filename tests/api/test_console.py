"""The web console's page and files, and the sessions of browsers: sign-in, cookie, other origins, ends."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from api.access import auth as access
from api.access import session_cookie
from api.app import make_app
from api.console.files import built_files
from api.transport import credential_watch
from shared.clock import now_ms
from shared.config import AuthSettings
from shared.config.workspaces import GitHost, WorkspaceSettings
from shared.events.log import Event
from shared.store import sessions
from shared.store.tables import sessions as sessions_table
from tests.builders import Backend, make_thread, make_turn

ORIGIN = {"Origin": "http://localhost"}
HTML = {"Accept": "text/html,application/xhtml+xml"}
SECRET = "a shared secret of more than thirty-two bytes"


def browser(backend: Backend) -> FlaskClient:
    """Return a browser: it keeps cookies, and sends the Origin of the console's page."""
    client = make_app(backend.services).test_client()
    client.environ_base["HTTP_ORIGIN"] = ORIGIN["Origin"]
    return client


def add_user(backend: Backend, name: str, role: str = "member") -> str:
    """Add a user. Return an API key."""
    backend.store.users.add(name, role)
    return backend.store.users.create_key(name, "laptop")


def sign_in(client: FlaskClient, credential: str, **headers: str) -> TestResponse:
    return client.post("/console/session", json={"credential": credential}, headers=headers)


def account(client: FlaskClient, **headers: str) -> TestResponse:
    return client.post("/v2/account/read", json={}, headers=headers)


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each request look its credential up."""
    monkeypatch.setattr(access, "CACHE_SECONDS", 0.0)


# -- the page


def test_a_browser_gets_the_console_and_other_clients_the_plain_page(backend: Backend) -> None:
    client = browser(backend)

    page = client.get("/", headers=HTML)

    assert b"/console/assets/index-" in page.data
    assert b"codex -C ." in client.get("/", headers={"Accept": "*/*"}).data


def test_the_page_may_run_its_own_files_alone(backend: Backend) -> None:
    page = browser(backend).get("/", headers=HTML)

    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-cache"
    assert not re.search(rb"<script(?![^>]*src=)|<style|style=| on\w+=", page.data)


def test_files_are_cached_for_good_and_the_first_view_is_small(backend: Backend) -> None:
    client = browser(backend)
    page = client.get("/", headers=HTML).get_data(as_text=True)
    sizes = 0

    for url in re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', page):
        plain, packed = client.get(url), client.get(url, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "immutable" in plain.headers["Cache-Control"]
        sizes += len(packed.data)

    assert 0 < sizes <= 100_000


@pytest.mark.parametrize("name", ["nothing.js", "..%2findex.html", "..%2f..%2froutes.py"])
def test_only_built_files_are_sent(backend: Backend, name: str) -> None:
    assert browser(backend).get(f"/console/assets/{name}").status_code == 404


def test_the_notices_of_bundled_libraries_are_among_the_files() -> None:
    notices = built_files()["THIRD_PARTY.txt"].content.decode()

    assert all(f"{name} " in notices for name in ("preact", "marked", "@preact/signals-core"))


# -- sign in and out


def test_a_key_becomes_a_session_that_acts_for_its_user(backend: Backend) -> None:
    key = add_user(backend, "ada", "admin")
    client = browser(backend)
    assert client.get("/console/session").get_json() == {"user": None, "mode": "session", "detail": None}

    answer = sign_in(client, key)

    assert answer.get_json()["user"]["name"] == "ada"
    assert client.get("/console/session").get_json()["mode"] == "session"
    assert account(client).status_code == 200
    cookie = answer.headers["Set-Cookie"]
    assert key not in cookie
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert "Secure" not in cookie


def test_the_cookie_is_secure_behind_https(backend: Backend) -> None:
    key = add_user(backend, "ada")
    client = make_app(backend.services).test_client()

    answer = client.post("/console/session", json={"credential": key}, headers={"Origin": "https://localhost"})

    assert "Secure" in answer.headers["Set-Cookie"]


def test_a_session_works_on_every_api_process(backend: Backend) -> None:
    secret = cookie_of(sign_in(browser(backend), add_user(backend, "ada")))
    other = browser(backend)
    other.set_cookie(session_cookie.NAME, secret)

    assert account(other).status_code == 200


def test_signing_out_ends_the_session_itself(backend: Backend) -> None:
    client = browser(backend)
    secret = cookie_of(sign_in(client, add_user(backend, "ada")))
    account(client)

    assert client.delete("/console/session").status_code == 200

    client.set_cookie(session_cookie.NAME, secret)
    assert account(client).status_code == 401
    acts = [row.action for row in backend.store.audit.all_users_page()]
    assert acts == ["console/signIn", "console/signOut"]


def test_who_signs_in_again_leaves_no_session_behind(backend: Backend) -> None:
    client = browser(backend)
    earlier = cookie_of(sign_in(client, add_user(backend, "ada")))
    account(client)

    assert sign_in(client, add_user(backend, "grace")).status_code == 200

    assert backend.store.sessions.find(earlier) is None
    assert account(client).status_code == 200
    client.set_cookie(session_cookie.NAME, earlier)
    assert account(client).status_code == 401


@pytest.mark.parametrize("body", [{}, {"credential": ""}, {"credential": 7}, {"credential": "th_ä"}, ["th_"], "th_"])
def test_what_is_no_credential_is_refused(backend: Backend, body: Any) -> None:
    add_user(backend, "ada")

    assert browser(backend).post("/console/session", json=body).status_code == 400


def test_a_wrong_key_gives_no_session(backend: Backend) -> None:
    add_user(backend, "ada")

    answer = sign_in(browser(backend), "th_wrong")

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_server_without_users_needs_no_sign_in(backend: Backend) -> None:
    client = browser(backend)

    assert client.get("/console/session").get_json() == {
        "user": {"id": "local", "name": "local", "role": "admin"},
        "mode": "open",
        "detail": None,
        "git": False,
    }
    assert "Set-Cookie" not in sign_in(client, "anything").headers


def test_the_page_is_told_whether_a_thread_can_start_from_a_repository(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(workspaces=WorkspaceSettings(git_hosts={"git.example": GitHost()}))

    assert browser(backend).get("/console/session").get_json()["git"] is True


def test_a_browser_elsewhere_is_told_what_a_server_without_users_needs(backend: Backend) -> None:
    client = browser(backend)

    answer = client.get("/console/session", environ_base={"REMOTE_ADDR": "192.0.2.7"}).get_json()

    assert answer["user"] is None
    assert "threadhouse users add" in answer["detail"]


# -- other pages


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": ORIGIN["Origin"], "Sec-Fetch-Site": "same-site"},
        {"Origin": ORIGIN["Origin"], "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_the_cookie_does_not_serve_other_pages(backend: Backend, headers: dict[str, str]) -> None:
    client = browser(backend)
    key = add_user(backend, "ada")
    sign_in(client, key)

    assert account(client, **headers).status_code == 403
    assert client.get("/v2/thread/events?threadId=x", headers=headers).status_code == 403


def test_what_changes_something_names_its_origin(backend: Backend) -> None:
    client = browser(backend)
    sign_in(client, add_user(backend, "ada"))
    del client.environ_base["HTTP_ORIGIN"]

    assert account(client).status_code == 403
    assert client.delete("/console/session").status_code == 403
    assert sign_in(client, "th_any").status_code == 403
    assert client.get("/console/session").status_code == 200


def test_an_api_key_goes_before_a_cookie(backend: Backend) -> None:
    client = browser(backend)
    sign_in(client, add_user(backend, "ada"))
    grace = add_user(backend, "grace")

    answer = client.get("/console/session", headers={"Authorization": f"Bearer {grace}"}).get_json()

    assert answer["user"]["name"] == "grace"
    assert account(client, Authorization="Bearer th_wrong").status_code == 401


def test_a_session_is_no_bearer_token(backend: Backend) -> None:
    secret = cookie_of(sign_in(browser(backend), add_user(backend, "ada")))

    answer = account(make_app(backend.services).test_client(), Authorization=f"Bearer {secret}")

    assert answer.status_code == 401


# -- the end of a session


@pytest.mark.usefixtures("uncached")
def test_a_session_ends_with_its_key(backend: Backend) -> None:
    client = browser(backend)
    sign_in(client, add_user(backend, "ada"))
    backend.store.users.create_key("ada", "other")
    [first, _] = backend.store.users.keys("ada")

    backend.store.users.revoke_key(first.id)

    answer = account(client)
    assert (answer.status_code, "sign in again" in answer.get_json()["detail"]) == (401, True)


@pytest.mark.usefixtures("uncached")
def test_a_session_ends_when_its_user_is_disabled(backend: Backend) -> None:
    client = browser(backend)
    sign_in(client, add_user(backend, "ada"))

    backend.store.users.set_disabled(backend.store.users.get("ada").id, True)

    assert account(client).status_code == 401


@pytest.mark.usefixtures("uncached")
def test_a_session_ends_when_its_key_expires(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(backend, "ada")
    key = backend.store.users.create_key("ada", "short", now_ms() + 60_000)
    client = browser(backend)
    answer = sign_in(client, key)
    assert 0 < int(re.findall(r"Max-Age=(\d+)", answer.headers["Set-Cookie"])[0]) <= 60

    monkeypatch.setattr(sessions, "now_ms", lambda: now_ms() + 60_001)

    assert account(client).status_code == 401


@pytest.mark.usefixtures("uncached")
def test_a_session_of_a_token_ends_with_it_and_with_its_user(
    open_backend: Callable[..., Backend], tmp_path: Path
) -> None:
    file = tmp_path / "auth"
    file.write_text(SECRET)
    backend = open_backend(auth=AuthSettings("https://login.example", "threads", jwt_secret_file=file))
    user = backend.store.users.add("ada")
    claims = {"sub": "ada", "iss": "https://login.example", "aud": "threads", "exp": int(time.time()) + 300}
    client = browser(backend)

    answer = sign_in(client, jwt.encode(claims, SECRET, "HS256"))

    assert 0 < int(re.findall(r"Max-Age=(\d+)", answer.headers["Set-Cookie"])[0]) <= 330
    assert account(client).status_code == 200
    backend.store.users.set_disabled(user.id, True)
    assert account(client).status_code == 401


def test_sessions_that_are_over_are_forgotten_and_no_user_has_too_many(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_OF_A_USER", 2)
    add_user(backend, "ada")
    add_user(backend, "grace")
    ada, grace = (backend.store.users.get(name).id for name in ("ada", "grace"))
    short = backend.store.sessions.create(grace, None, now_ms() - 1)[0]
    secrets = [backend.store.sessions.create(ada, None, None)[0] for _ in range(3)]

    assert [backend.store.sessions.find(secret) is not None for secret in secrets] == [False, True, True]
    assert backend.store.sessions.find(short) is None
    with backend.store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(sessions_table)) == 2


def test_an_open_stream_ends_with_its_session(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_watch, "ROUND_SECONDS", 0.05)
    client = browser(backend)
    sign_in(client, add_user(backend, "ada"))
    stream = client.get("/v2/user/events")
    chunks = stream.iter_encoded()
    assert next(chunks) == b": connected\n\n"

    client.delete("/console/session")

    assert list(chunks) == []
    stream.close()


# -- many users


def test_a_session_reads_the_threads_of_its_user_alone(backend: Backend) -> None:
    ada, grace = browser(backend), browser(backend)
    sign_in(ada, add_user(backend, "ada"))
    sign_in(grace, add_user(backend, "grace"))
    thread = make_thread(backend.store, backend.config, backend.store.users.get("ada").id)
    make_turn(backend.store, thread)

    assert ada.post("/v2/thread/read", json={"threadId": thread.id}).status_code == 200
    read = grace.post("/v2/thread/read", json={"threadId": thread.id})
    unknown = grace.post("/v2/thread/read", json={"threadId": thread.id[:-4] + "0000"})
    assert read.status_code == unknown.status_code
    assert grace.get(f"/v2/thread/events?threadId={thread.id}").status_code == 404
    assert grace.post("/v2/thread/list", json={}).get_json()["data"] == []


def test_the_stream_of_a_user_has_the_threads_of_this_user_alone(backend: Backend) -> None:
    ada = browser(backend)
    sign_in(ada, add_user(backend, "ada"))
    add_user(backend, "grace")
    threads = [
        make_thread(backend.store, backend.config, backend.store.users.get(name).id) for name in ("grace", "ada")
    ]
    stream = ada.get("/v2/user/events")
    chunks = stream.iter_encoded()
    assert next(chunks) == b": connected\n\n"

    for thread in threads:
        backend.publish(thread, Event("thread/archived", {"threadId": thread.id}))

    event = next(chunks).decode()
    assert "event: thread/archived" in event
    assert threads[1].id in event
    assert threads[0].id not in event
    stream.close()


def cookie_of(answer: TestResponse) -> str:
    found = re.match(rf"{session_cookie.NAME}=([^;]+)", answer.headers["Set-Cookie"])
    assert found
    return found[1]
