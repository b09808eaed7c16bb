"""The worker's side of a login that does not come to its end: which server it is, and what its user reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.config.mcp_servers import read_server
from tests.support.oauth_provider import OAuthProvider
from tests.workers.builders import Bench
from tests.workers.tasks.test_run_call import ask

Open = Callable[..., Bench]
LOGIN, LOGOUT = "mcpServer/oauth/login", "mcpServer/oauth/logout"
KEY = "A" * 43 + "="


@pytest.fixture
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider() as started:
        yield started


@pytest.fixture
def bench(open_bench: Open, provider: OAuthProvider) -> Bench:
    tables: dict[str, dict[str, Any]] = {
        "tracker": {"url": provider.url, "allow_private": True},
        "guarded": {"url": provider.url},
        "long": {"url": f"{provider.url}?{'x' * 2000}"},
        "program": {"command": "true"},
    }
    servers = {name: read_server(name, table) for name, table in tables.items()}
    return open_bench(server={"secrets_key": KEY}, mcp_servers=servers)


def log_in(bench: Bench, name: str = "tracker", seconds: float = 60.0, thread_id: str | None = None) -> Any:
    params = {
        "name": name,
        "thread_id": thread_id,
        "scopes": None,
        "redirect_uri": "http://127.0.0.1:9/oauth/callback",
        "timeout_seconds": seconds,
    }
    return ask(bench, LOGIN, params)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "No MCP server named 'nope' found."),
        ("program", "OAuth login is only supported for streamable HTTP servers."),
        ("long", "more than 2000 characters"),
        ("guarded", "private, local and reserved addresses are refused"),
    ],
)
def test_a_login_that_is_not_possible_is_refused(bench: Bench, name: str, message: str) -> None:
    error, text = log_in(bench, name)

    assert error in ("InvalidRequest", "NotFound")
    assert message in text


def test_what_the_server_lacks_is_named_without_what_it_answered(bench: Bench, provider: OAuthProvider) -> None:
    provider.registers = False
    _, closed = log_in(bench)
    provider.is_open = True
    _, open_ = log_in(bench)

    assert "lets nobody register" in closed
    assert "canary" not in closed
    assert "asks for no login" in open_


def test_a_login_that_nobody_finishes_says_what_to_do(bench: Bench) -> None:
    error, text = log_in(bench, seconds=0.01)

    assert (error, text) == ("InvalidRequest", "nobody has finished the login in time; begin the login again")


def test_a_thread_may_have_servers_of_its_own_and_another_users_is_unknown(
    bench: Bench, provider: OAuthProvider
) -> None:
    thread = bench.thread(mcpServers={"own": {"url": provider.url}})

    assert ask(bench, LOGOUT, {"name": "own", "thread_id": thread.id}) == {"server_url": provider.url}
    unknown = "No MCP server named 'own' found."
    assert ask(bench, LOGOUT, {"name": "own", "thread_id": None}) == ("NotFound", unknown)
    of_bob = ask(bench, LOGOUT, {"name": "own", "thread_id": thread.id}, "bob")
    assert of_bob == ("NotFound", f"thread not found: {thread.id}")
