"""mcpServer/oauth/login and logout, seen from the API: refusals, the call to the worker, and how the login ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from shared.events import mcp_login, worker_calls
from shared.events.worker_calls import WorkerReply
from shared.store.audit import AuditEntry
from tests.builders import Backend, Client, make_thread
from tests.support.wait import until

LOGIN, LOGOUT, COMPLETED = "mcpServer/oauth/login", "mcpServer/oauth/logout", "mcpServer/oauthLogin/completed"
URL = "https://tracker.example/mcp"
ALICE, BOB = "alice", "bob"
KEY = "A" * 43 + "="


@pytest.fixture
def backend(open_backend: Callable[..., Backend]) -> Backend:
    server = {"secrets_key": KEY, "public_url": "https://threads.example.com/base/"}
    return open_backend(server=server)


def begin(backend: Backend, client: Client, **params: Any) -> tuple[WorkerReply, dict[str, Any]]:
    """Begin a login, in which the worker sends the browser away. Return the worker's side, and the reply."""
    client.send({"id": 900, "method": LOGIN, "params": {"name": "tracker", **params}})
    until(lambda: backend.calls)
    worker = WorkerReply(backend.services.redis, backend.calls[-1][0])
    worker.begin("worker-1")
    worker.output({"url": "https://login.example/authorize?state=s", "state": "s"})
    return worker, client.wait_for(lambda frame: frame.get("id") == 900)["result"]


def test_a_user_who_is_deleted_during_the_login_leaves_no_tokens(backend: Backend) -> None:
    store = backend.store
    store.users.add("first")
    client = backend.connect(store.users.add("gone").id)
    worker, _ = begin(backend, client)
    erasure = store.erasures.erase_user("gone", audit_entry=AuditEntry.of_operator("users delete"))
    assert store.erasures.all_users_erase_rows(erasure)

    worker.result({"server_url": URL, "login": "encrypted"})

    assert "deleted" in client.wait_for_method(COMPLETED)["params"]["error"]
    assert store.mcp_logins.find(erasure.owner, URL) is None


def log_out(backend: Backend, user_id: str) -> bool:
    """Log out, while the worker finds the address. Return whether there was a login."""
    client, before = backend.connect(user_id), len(backend.calls)
    client.send({"id": 901, "method": LOGOUT, "params": {"name": "tracker"}})
    until(lambda: len(backend.calls) > before)
    WorkerReply(backend.services.redis, backend.calls[-1][0]).result({"server_url": URL})
    removed: bool = client.wait_for(lambda frame: frame.get("id") == 901)["result"]["removed"]
    return removed


def test_the_call_says_where_the_browser_comes_back_and_ends_with_a_notification(backend: Backend) -> None:
    ada = backend.store.users.add("ada").id
    client = backend.connect(ada)

    worker, result = begin(backend, client, timeoutSecs=60)

    call_id, kind, params, owner = backend.calls[0]
    assert (kind, owner) == (LOGIN, ada)
    assert params == {
        "name": "tracker",
        "thread_id": None,
        "scopes": None,
        "redirect_uri": "https://threads.example.com/base/oauth/callback",
        "timeout_seconds": 60.0,
    }
    assert result == {"authorizationUrl": "https://login.example/authorize?state=s", "loginId": call_id}
    key = mcp_login.login_key("s")
    assert orjson.loads(backend.services.redis.get(key) or b"") == ["worker-1", call_id]
    assert 0 < backend.services.redis.ttl(key) <= 60

    worker.result({"server_url": URL, "login": "encrypted"})
    ended = client.wait_for_method(COMPLETED)["params"]
    assert ended == {"name": "tracker", "threadId": None, "loginId": call_id, "success": True, "error": None}
    assert backend.store.mcp_logins.find(ada, URL) == "encrypted"
    assert LOGIN in {row.action for row in backend.store.audit.all_users_page(owner=ada)}

    assert [log_out(backend, user) for user in (BOB, ada, ada)] == [False, True, False]
    assert backend.store.mcp_logins.find(ada, URL) is None


def test_a_lost_worker_ends_the_login_with_what_to_do(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_calls, "SILENCE_SECONDS", 0.01)
    client = backend.connect(ALICE)

    begin(backend, client)

    ended = client.wait_for_method(COMPLETED)["params"]
    assert not ended["success"]
    assert "begin the login again" in ended["error"]
    assert backend.store.mcp_logins.find(ALICE, URL) is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "tracker", "timeoutSecs": 901}, "timeoutSecs"),
        ({"name": "tracker", "scopes": [""]}, "Length must be between"),
    ],
)
def test_a_login_that_is_not_possible_calls_no_worker(backend: Backend, params: dict[str, Any], message: str) -> None:
    error = backend.connect(ALICE).error(LOGIN, params)

    assert message in error["message"]
    assert backend.calls == []


def test_a_thread_of_another_user_is_like_an_unknown_one(backend: Backend) -> None:
    of_bob = make_thread(backend.store, backend.config, BOB).id
    unknown = of_bob[:-1] + ("0" if of_bob[-1] != "0" else "1")
    client = backend.connect(ALICE)

    for method in (LOGIN, LOGOUT):
        messages = [client.error(method, {"name": "tracker", "threadId": one})["message"] for one in (of_bob, unknown)]
        assert messages == [f"thread not found: {of_bob}", f"thread not found: {unknown}"]


def test_without_a_key_the_server_stores_no_logins(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend()

    error = backend.connect(ALICE).error(LOGIN, {"name": "tracker"})

    assert "THREADHOUSE_SECRETS_KEY" in error["message"]
