"""`/readyz` and `/statusz` answer in a bounded time, whatever hangs, and only admins read the status."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import make_app
from api.transport import readiness
from api.transport.readiness import Readiness
from shared.errors import Unavailable
from shared.health import Check
from tests.builders import Backend
from tests.support.wait import DEADLINE_SECONDS


@pytest.fixture
def http(backend: Backend) -> FlaskClient:
    return make_app(backend.services).test_client()


@pytest.fixture
def hanging(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Let Redis answer no ping before the test's end. Returns a function: how many pings were sent."""
    goes_on, sent = threading.Event(), []

    def ping() -> bool:
        sent.append(None)
        return goes_on.wait(DEADLINE_SECONDS)

    monkeypatch.setattr(backend.services.redis, "ping", ping)
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.05)
    yield lambda: len(sent)
    goes_on.set()


def test_a_server_whose_redis_hangs_is_not_ready_and_is_asked_only_once(
    backend: Backend, hanging: Callable[[], int]
) -> None:
    asked = Readiness(backend.services)

    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer in time"):
            asked.check_ready()

    assert hanging() == 1


def test_an_unexpected_error_is_not_ready(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("unexpected")

    monkeypatch.setattr(backend.services.redis, "ping", fail)
    with pytest.raises(Unavailable, match="ValueError"):
        Readiness(backend.services).check_ready()


def test_the_status_is_503_with_the_reason_when_anything_is_wrong(
    backend: Backend, http: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [Check("redis", True, "1 MiB used")]
    monkeypatch.setattr(readiness, "check_deployment", lambda *_, **__: checks)
    monkeypatch.setattr(readiness, "check_disk", lambda _: Check("disk", True, "free"))
    good: Any = http.get("/statusz")
    checks.append(Check("workers", False, "no worker serves turns"))
    bad: Any = http.get("/statusz")

    assert (good.status_code, good.json["ok"]) == (200, True)
    assert (bad.status_code, bad.json["ok"]) == (503, False)
    assert bad.json["checks"][1] == {"name": "workers", "ok": False, "message": "no worker serves turns"}


def test_members_and_strangers_do_not_read_the_status(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "check_deployment", lambda *_, **__: [])
    monkeypatch.setattr(readiness, "check_disk", lambda _: Check("disk", True, "free"))
    keys = {}
    for name, role in (("ada", "admin"), ("bob", "member")):
        backend.store.users.add(name, role)
        keys[name] = backend.store.users.create_key(name, "test")
    client = make_app(backend.services).test_client()

    def code(name: str) -> int:
        return client.get("/statusz", headers={"Authorization": f"Bearer {keys[name]}"}).status_code

    assert code("bob") == 403
    assert code("ada") == 200
    assert client.get("/statusz").status_code == 401
