"""Tokens of a login in requests: renewed in time, by one process at a time, and gone with the login."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import fakeredis
import httpx2
import pytest
from cryptography.fernet import Fernet
from mcp.shared.auth import AuthorizationCodeResult
from redis.lock import Lock

from shared.encryption import Encryption
from shared.events.mcp_login import renewal_key
from shared.store import Store
from tests.support.oauth_provider import OAuthProvider
from workers.mcp.guarded_http import guarded
from workers.mcp.login_tokens import LoginTokens
from workers.mcp.oauth import LoginFlow

KEY = Fernet.generate_key().decode()
REDIRECT = "http://127.0.0.1:9/oauth/callback"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class Logins:
    """A store and an MCP server at which users log in."""

    def __init__(self, store: Store, provider: OAuthProvider) -> None:
        self.store = store
        self.provider = provider
        self._redis = fakeredis.FakeServer()

    def log_in(self, owner: str) -> None:
        """Log in as a person of the same name, with tokens that last for provider.expires_in."""
        location: list[str] = []

        async def send_away(url: str) -> None:
            location.append(self.provider.location(url, owner))

        async def wait_until_back() -> AuthorizationCodeResult:
            return AuthorizationCodeResult.model_validate(dict(parse_qsl(urlsplit(location[0]).query)))

        flow = LoginFlow(self.provider.url, allow_private=True, scopes=(), resource=None, redirect_uri=REDIRECT)
        login = asyncio.run(flow.run(send_away, wait_until_back))
        self.put(owner, {"owner": owner, **login})

    def put(self, owner: str, login: dict[str, object]) -> None:
        self.store.mcp_logins.put(owner, self.provider.url, Encryption(KEY).encrypt(login))

    def get(self, owner: str) -> dict[str, object]:
        text = self.store.mcp_logins.find(owner, self.provider.url)
        assert text is not None
        return Encryption(KEY).decrypt(text)

    def statuses(self, *owners: str) -> list[int]:
        """Send a request of each of these users at once. Return the statuses."""

        async def send_all() -> list[int]:
            return await asyncio.gather(*map(self.send, owners))

        return asyncio.run(send_all())

    async def send(self, owner: str) -> int:
        auth = LoginTokens(self.store, self.connect(), KEY, owner, self.provider.url, allow_private=True)
        transport = guarded(self.provider.url, allow_private=True)
        async with httpx2.AsyncClient(transport=transport, auth=auth) as http:
            return (await http.post(self.provider.url, json=PING)).status_code

    def connect(self) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=self._redis)

    def renewals(self) -> int:
        return sum(form["grant_type"] == "refresh_token" for form in self.provider.forms)


@pytest.fixture
def logins(empty_database: Path) -> Iterator[Logins]:
    store = Store(f"sqlite:///{empty_database}")
    with OAuthProvider() as provider:
        yield Logins(store, provider)
    store.close()


def test_a_request_has_the_token_of_its_user(logins: Logins) -> None:
    logins.log_in("ann")

    assert logins.statuses("ann", "bob") == [200, 401]
    assert logins.renewals() == 0

    moved = logins.get("ann")
    logins.put("bob", moved)  # whoever writes the database moves no login to another user
    assert logins.statuses("bob") == [401]


def test_a_token_is_renewed_before_its_end_and_when_it_is_not_taken(logins: Logins) -> None:
    logins.provider.expires_in = 1
    logins.log_in("ann")
    logins.provider.expires_in = 3600

    assert logins.statuses("ann", "ann") == [200, 200]
    assert logins.renewals() == 1
    assert logins.provider.forms[-1]["resource"] == logins.provider.url

    logins.provider.tokens.clear()
    assert logins.statuses("ann", "ann", "ann") == [200, 200, 200]
    assert logins.renewals() == 2


def test_a_login_that_cannot_be_renewed_is_not_taken(logins: Logins) -> None:
    logins.log_in("ann")
    logins.provider.tokens.clear()
    logins.put("ann", {**logins.get("ann"), "tokens": {"access_token": "old", "refresh_token": "used"}})

    assert logins.statuses("ann", "ann", "ann") == [401] * 3
    assert logins.renewals() == 1  # nobody tries again for a minute


def test_requests_that_wait_for_a_renewal_keep_nothing_else_waiting(logins: Logins) -> None:
    logins.provider.expires_in = 1
    logins.log_in("ann")
    logins.provider.expires_in = 3600
    held = logins.connect().lock(renewal_key("ann", logins.provider.url))

    async def send_all() -> list[int]:
        held.acquire()
        sending = [asyncio.ensure_future(logins.send("ann")) for _ in range(12)]
        await asyncio.wait_for(asyncio.to_thread(asyncio.run, logins.send("bob")), 30)
        held.release()
        return await asyncio.gather(*sending)

    assert asyncio.run(send_all()) == [200] * 12
    assert logins.renewals() == 1


def test_a_request_that_is_given_up_while_it_begins_a_renewal_holds_up_no_other(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins.provider.expires_in = 1
    logins.log_in("ann")
    logins.provider.expires_in = 3600
    asked, answered, acquire = threading.Event(), threading.Event(), Lock.acquire

    def acquire_slowly(*args: Any, **kwargs: Any) -> bool:
        asked.set()
        assert answered.wait(30)
        return acquire(*args, **kwargs)

    async def send_and_give_up() -> None:
        sending = asyncio.ensure_future(logins.send("ann"))
        assert await asyncio.to_thread(asked.wait, 30)
        sending.cancel()
        await asyncio.sleep(0)  # it is cancelled before Redis answers
        answered.set()
        with pytest.raises(asyncio.CancelledError):
            await sending

    monkeypatch.setattr(Lock, "acquire", acquire_slowly)
    asyncio.run(send_and_give_up())

    assert not logins.connect().exists(renewal_key("ann", logins.provider.url))


def test_a_logout_counts_at_once(logins: Logins) -> None:
    logins.log_in("ann")
    assert logins.store.mcp_logins.remove("ann", logins.provider.url)

    assert logins.statuses("ann") == [401]
