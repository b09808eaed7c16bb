"""Logins of users at an MCP server: through the browser, encrypted in the database, and never another user's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from subprocess import PIPE
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from sqlalchemy import text

from api.cli import commands
from shared.encryption import Encryption
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.oauth_provider import OAuthProvider, get
from tests.support.protocol_client import ProtocolClient

KEY = Fernet.generate_key().decode()
COMPLETED = "mcpServer/oauthLogin/completed"


@pytest.fixture(scope="module")
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider() as started:
        yield started


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, provider: OAuthProvider) -> Iterator[Deployment]:
    """A deployment with users, and the MCP server; one API process has the call, the other gets the browser."""
    home = tmp_path_factory.mktemp("login")
    deployment = Deployment(home, api=2, server=STEADY, environ={"THREADHOUSE_SECRETS_KEY": KEY})
    config = home / "config.toml"
    config.write_text(
        config.read_text().replace("[server]", f'[server]\npublic_url = "{deployment.urls[1]}"')
        + f'[mcp_servers.tracker]\nurl = "{provider.url}"\nallow_private = true\n'
        + "required = true\nstartup_timeout_sec = 60\n"  # a turn waits for it, on a machine however slow
        + '[mcp_servers.program]\ncommand = "true"\nenabled = false\n'
    )
    with deployment:
        yield deployment


@pytest.fixture
def server(alone: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(alone):
        yield alone


def begin(client: ProtocolClient, **params: Any) -> str:
    url: str = client.request("mcpServer/oauth/login", {"name": "tracker", **params})["authorizationUrl"]
    return url


def end(client: ProtocolClient) -> dict[str, Any]:
    params: dict[str, Any] = client.wait_for_method(COMPLETED)["params"]
    client.received.clear()
    return params


def in_thread(frame: dict[str, Any], thread_id: str) -> bool:
    return bool(frame["params"].get("threadId") == thread_id)


def is_status(frame: dict[str, Any], thread_id: str) -> bool:
    """Return whether this says how the start of the MCP server in a thread has ended."""
    if frame.get("method") != "mcpServer/startupStatus/updated" or not in_thread(frame, thread_id):
        return False
    params = frame["params"]
    return params["name"] == "tracker" and params["status"] in ("ready", "failed")


def test_each_user_logs_in_with_a_login_of_their_own(server: Deployment, provider: OAuthProvider) -> None:
    users = {name: server.add_user(name) for name in ("ann", "bob")}
    clients = {name: server.connect(token=key) for name, (_, key) in users.items()}
    urls = {name: begin(client, scopes=["write"]) for name, client in clients.items()}

    pages = {name: provider.visit(urls[name], name) for name in ("bob", "ann")}

    assert {status for status, _ in pages.values()} == {200}
    assert [end(client)["success"] for client in clients.values()] == [True, True]
    assert {asked["scope"] for asked in provider.requested} == {"write"}
    assert {asked["resource"] for asked in provider.requested} == {provider.url}
    for name, (user_id, _) in users.items():
        stored = server.store.mcp_logins.find(user_id, provider.url)
        assert stored is not None
        login = Encryption(KEY).decrypt(stored)
        assert provider.tokens[login["tokens"]["access_token"]] == name
        assert login["owner"] == user_id
    with server.store.database.read() as connection:
        assert "canary" not in str(connection.execute(text("SELECT * FROM mcp_logins")).all())

    assert clients["bob"].request("mcpServer/oauth/logout", {"name": "tracker"}) == {"removed": True}
    assert clients["bob"].request("mcpServer/oauth/logout", {"name": "tracker"}) == {"removed": False}


def test_calls_have_the_token_of_the_threads_user(server: Deployment, provider: OAuthProvider) -> None:
    """Two users have the same server in threads on one worker: before the login, with it, and after the logout."""
    clients = {name: server.connect(token=server.add_user(name)[1]) for name in ("amy", "ben")}

    def whoami(name: str) -> str:
        """Have the user's model call the tool in a new thread. Return what it said, or why the server did not start."""
        client = clients[name]
        thread_id = client.request("thread/start", {})["thread"]["id"]
        text = "[[tool mcp__tracker::whoami {}]]"
        client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": text}]})
        status = client.wait_for(lambda frame: is_status(frame, thread_id))["params"]
        client.wait_for(lambda frame: frame.get("method") == "turn/completed" and in_thread(frame, thread_id))
        calls = [
            frame["params"]["item"]
            for frame in client.notifications
            if frame["method"] == "item/completed" and in_thread(frame, thread_id)
            if frame["params"]["item"]["type"] == "mcpToolCall"
        ]
        if calls:
            return str(calls[0]["result"]["content"][0]["text"])
        assert status["failureReason"] == "reauthenticationRequired"
        return str(status["error"])

    def auth_status(name: str) -> str:
        listed = clients[name].request("mcpServerStatus/list", {"detail": "toolsAndAuthOnly"})["data"]
        return next(str(one["authStatus"]) for one in listed if one["name"] == "tracker")

    assert "wants you to log in" in whoami("amy")
    assert auth_status("amy") == "notLoggedIn"
    for name in ("ben", "amy"):
        provider.visit(begin(clients[name]), name)
        assert end(clients[name])["success"]
    assert [whoami(name) for name in clients] == ["you are amy", "you are ben"]
    assert auth_status("amy") == "oAuth"
    clients["amy"].request("mcpServer/oauth/logout", {"name": "tracker"})
    assert "wants you to log in" in whoami("amy")
    assert whoami("ben") == "you are ben"
    seen = [json.dumps(client.received) for client in clients.values()]
    seen += [process.log.read_text() for process in server.processes]
    seen += [json.dumps(request.body) for request in server.model.requests]
    assert [text for text in seen if "canary" in text] == []


def test_a_state_counts_once_and_only_while_its_login_lasts(server: Deployment, provider: OAuthProvider) -> None:
    client = server.connect(token=server.add_user("eve")[1])
    location = provider.location(begin(client), "eve")

    assert get(location.replace("state=", "state=x"))[0] == 404
    assert get(f"{server.urls[1]}/oauth/callback")[0] == 404
    assert get(location)[0] == 200
    assert end(client)["success"]
    status, page = get(location)
    assert status == 404
    assert "Begin it again" in page


def test_a_refused_login_says_what_to_do(server: Deployment, provider: OAuthProvider) -> None:
    client = server.connect(token=server.add_user("joe")[1])

    provider.visit(begin(client), None)
    refused = end(client)
    assert not refused["success"]
    assert "refused (access_denied)" in refused["error"]
    assert "begin the login again" in refused["error"]

    (state,) = parse_qs(urlsplit(begin(client)).query)["state"]
    hostile = urlencode({"state": state, "error": "\x1b]0;owned\x07"})
    assert get(f"{server.urls[0]}/oauth/callback?{hostile}")[0] == 200
    assert "refused (no error code)" in end(client)["error"]


def test_the_command_line_logs_in_and_out(server: Deployment, provider: OAuthProvider) -> None:
    user_id, key = server.add_user("kim")
    environ = {**server.environ, "THREADHOUSE_URL": server.urls[0], "THREADHOUSE_TOKEN": key}

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(commands, ["mcp", *arguments], env=environ)
        return result.exit_code, result.output, str(result.exception)

    command = [sys.executable, "-P", "-m", "api.cli", "mcp", "login", "tracker", "--no-browser"]
    with subprocess.Popen(command, env=environ, cwd="/", stdout=PIPE, stderr=PIPE, text=True) as login:
        assert login.stdout is not None
        assert login.stdout.readline() == "Authorize `tracker` by opening this URL in your browser:\n"
        provider.visit(login.stdout.readline().strip(), "kim")
        out, err = login.communicate(timeout=60)
        assert (out.strip(), err) == ("Successfully logged in to MCP server 'tracker'.", "")
    assert server.store.mcp_logins.find(user_id, provider.url) is not None

    assert run("logout", "tracker")[:2] == (0, "Removed the login at 'tracker'.\n")
    code, _, error = run("login", "program", "--no-browser")
    assert code == 1
    assert "only supported for streamable HTTP servers" in error
    assert server.store.mcp_logins.find(user_id, provider.url) is None
