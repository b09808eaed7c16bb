"""Requests a minute of each user."""

from __future__ import annotations

from collections.abc import Callable

from api.app import make_app
from shared.config import Limits
from tests.builders import House


def test_who_asks_too_often_is_told_when_to_come_back_on_both_transports(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=3))
    client = house.connect()  # the handshake is one

    for _ in range(2):
        client.call("account/read")
    error = client.error("account/read", {})
    answer = make_app(house.services).test_client().post("/v2/account/read", json={})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"
    assert 1000 <= error["data"]["retryAfterMs"] <= 60_000
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_users_are_counted_apart(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=2))
    ann, bob = house.connect("ann"), house.connect("bob")

    ann.call("account/read")
    ann.error("account/read", {})

    assert bob.call("account/read")["userId"] == "bob"


def test_without_redis_requests_are_let_through(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=1))
    client = house.connect()
    house.redis_server.connected = False

    answered = client.call("account/read")

    house.redis_server.connected = True
    assert answered["userId"] == "local"


def test_no_limit_is_the_default(house: House) -> None:
    client = house.connect()

    for _ in range(50):
        client.call("account/read")
