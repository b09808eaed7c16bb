"""Signing in at an OpenID Connect provider, with two API processes and Postgres; and `threadhouse login`."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websocket

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.oidc_provider import CLI, CLIENT, SECRET, OidcProvider
from tests.support.protocol_client import connect
from tests.support.turns import run_turn, start_thread
from tests.support.wait import until


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as started:
        yield started


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[Deployment]:
    """Browsers begin at one node and come back to the other."""
    home = tmp_path_factory.mktemp("oidc")
    deployment = Deployment(home, "postgres", api=2, server=STEADY | {"log_level": "debug"}, environ={"OIDC": SECRET})
    config = home / "config.toml"
    config.write_text(
        config.read_text().replace("[server]", f'[server]\npublic_url = "{deployment.urls[1]}"')
        + f'[auth.oidc]\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\ncli_client_id = "{CLI}"\n'
        + 'client_secret_env_var = "OIDC"\nname = "Example"\ncreate_users = true\nadmin_values = ["ops"]\n'
        + 'private_hosts = ["127.0.0.1"]\n'
    )
    with deployment:
        yield deployment


@pytest.fixture
def server(alone: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(alone):
        yield alone


class Browser:
    """Keeps cookies, which have no ports."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def send(self, method: str, url: str, body: Any = None) -> tuple[int, Any, Any]:
        """Return status, headers and body."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method != "GET":
            headers |= {"Origin": f"http://{parts.netloc}", "Content-Type": "application/json"}
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            if not value:
                del self.cookies[name]
        data = response.read()
        connection.close()
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, response.headers, json.loads(data) if is_json else data

    def sign_in(self, server: Deployment, provider: OidcProvider, person: str) -> int:
        """Begin at the first node and come back to the second. Return the status there."""
        status, headers, _ = self.send("GET", f"{server.urls[0]}/oidc/start")
        assert status == 303
        back = provider.visit(headers["Location"], person)
        assert back.startswith(server.urls[1])
        return self.send("GET", back)[0]

    def who(self, url: str) -> Any:
        return self.send("GET", f"{url}/console/session")[2]["user"]


def test_two_users_sign_in_on_one_node_come_back_to_another_and_work_on_both(
    server: Deployment, provider: OidcProvider
) -> None:
    ada, grace = Browser(), Browser()

    assert [ada.sign_in(server, provider, "ada"), grace.sign_in(server, provider, "grace")] == [303, 303]

    for url in server.urls:
        assert [one.who(url)["name"] for one in (ada, grace)] == ["ada", "grace"]
        assert [one.who(url)["role"] for one in (ada, grace)] == ["member", "admin"]
    thread = ada.send("POST", f"{server.urls[0]}/v2/thread/start", {})[2]["thread"]
    read = {"threadId": thread["id"]}
    assert ada.send("POST", f"{server.urls[1]}/v2/thread/read", read)[0] == 200
    foreign = grace.send("POST", f"{server.urls[1]}/v2/thread/read", read)
    unknown = grace.send("POST", f"{server.urls[1]}/v2/thread/read", {"threadId": thread["id"][:-4] + "0000"})
    assert foreign[0] == unknown[0]
    assert foreign[2]["detail"].replace(thread["id"], "") == unknown[2]["detail"].replace(
        thread["id"][:-4] + "0000", ""
    )
    assert ada.send("POST", f"{server.urls[0]}/v2/admin/user/list", {})[0] == 403
    assert grace.send("POST", f"{server.urls[0]}/v2/admin/user/list", {})[0] == 200

    left = ada.send("DELETE", f"{server.urls[0]}/console/session")[2]["continueAt"]
    assert left.startswith(f"{provider.issuer}/end?")
    assert ada.who(server.urls[0]) is None


def test_the_provider_ends_a_session_on_every_node_and_an_open_stream(
    server: Deployment, provider: OidcProvider
) -> None:
    browser = Browser()
    browser.sign_in(server, provider, "ada")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    stream = http.client.HTTPConnection(urlsplit(server.urls[0]).netloc, timeout=60)
    stream.request("GET", "/v2/user/events", headers={"Cookie": cookie})
    response = stream.getresponse()
    assert response.status == 200

    token = provider.logout_token(sub="ada", sid="session-of-ada")
    ending = http.client.HTTPConnection(urlsplit(server.urls[1]).netloc, timeout=60)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    ending.request("POST", "/oidc/logout", f"logout_token={token}", form)

    assert ending.getresponse().status == 200
    response.read()  # until the stream ends
    until(lambda: browser.who(server.urls[0]) is None, seconds=60)
    ending.close()
    stream.close()


@pytest.fixture
def environ(server: Deployment, tmp_path: Path) -> dict[str, str]:
    """The environment of a user's machine."""
    return {**server.environ, "THREADHOUSE_URL": server.urls[0], "XDG_CONFIG_HOME": str(tmp_path)}


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "api.cli", *arguments]
    return subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=120)


def log_in(environ: dict[str, str], provider: OidcProvider, person: str) -> str:
    """Log in as a person. Return what the command printed."""
    command = [sys.executable, "-P", "-m", "api.cli", "login", "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, cwd="/", stdout=pipe, stderr=pipe, text=True) as login:
        assert login.stdout is not None
        line = login.stdout.readline()
        assert line, login.stderr.read() if login.stderr else ""
        assert f"{provider.issuer}/code" in line
        provider.approve(line.partition("the code ")[2].split(" ")[0], person)
        out, err = login.communicate(timeout=120)
    assert login.returncode == 0, err
    return line + out


def test_the_command_line_logs_in_works_and_logs_out(
    server: Deployment, provider: OidcProvider, environ: dict[str, str], tmp_path: Path
) -> None:
    refused = run(environ, "exec", "[[say hello]]")
    assert refused.returncode == 1
    assert "threadhouse login" in run(environ, "token").stderr

    printed = log_in(environ, provider, "ada")

    assert printed.endswith(f"Logged in at {server.urls[0]} as ada.\n")
    file = tmp_path / "threadhouse" / "logins.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    done = run(environ, "exec", "[[say hello]]")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    token = run(environ, "token").stdout.strip()
    client = server.connect(1, token=token)
    assert run_turn(client, start_thread(client), "[[say hi]]")["status"] == "completed"
    given = run(environ | {"THREADHOUSE_TOKEN": "th_wrong"}, "exec", "[[say hello]]")
    assert given.returncode == 1

    assert run(environ, "logout").stdout == f"Logged out at {server.urls[0]}.\n"
    assert ("/revoke", 1) in [(path, len(form["token"]) and 1) for path, form in provider.requests if "token" in form]
    assert json.loads(file.read_text()) == {}
    assert run(environ, "exec", "[[say hello]]").returncode == 1
    logs = b"".join(log.read_bytes() for log in server.home.glob("*.log"))
    assert b"turn claimed" in logs
    assert all(secret not in logs for secret in (token.encode(), SECRET.encode(), b"canary"))

    log_in(environ, provider, "ada")
    provider.revocation_status = 503
    logout = run(environ, "logout")
    assert logout.returncode == 0
    assert "the login may still hold at the identity provider" in logout.stderr


def test_a_login_is_renewed_once_however_many_commands_need_it(
    server: Deployment, provider: OidcProvider, environ: dict[str, str]
) -> None:
    provider.expires_in = 30  # less than the time before its end in which a token is renewed
    log_in(environ, provider, "grace")
    provider.expires_in = 300
    before = [path for path, form in provider.requests if form.get("grant_type") == "refresh_token"]

    command = [sys.executable, "-P", "-m", "api.cli", "token"]
    running = [subprocess.Popen(command, env=environ, cwd="/", stdout=subprocess.PIPE, text=True) for _ in range(3)]
    tokens = {process.communicate(timeout=120)[0] for process in running}

    after = [path for path, form in provider.requests if form.get("grant_type") == "refresh_token"]
    assert len(tokens) == 1
    assert len(after) - len(before) == 1
    connect(server.urls[0].replace("http", "ws") + "/", tokens.pop().strip()).close()


def test_a_login_that_has_ended_at_the_provider_says_so(
    server: Deployment, provider: OidcProvider, environ: dict[str, str]
) -> None:
    provider.expires_in = 30
    log_in(environ, provider, "ada")
    provider.expires_in = 300
    provider.forget_logins()

    result = run(environ, "token")

    assert (result.returncode, result.stdout) == (1, "")
    assert "has ended: run `threadhouse login`" in result.stderr


def test_tokens_for_somebody_else_open_no_connection(server: Deployment, provider: OidcProvider) -> None:
    for token in (
        provider.id_token("ada", "others"),
        provider.id_token("ada", CLIENT, nonce="n"),
        provider.token(exp=1),
    ):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            connect(server.urls[0].replace("http", "ws") + "/", token)
        assert refused.value.status_code == 401


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://threads.example", "expected https://"), ("nonsense", "--server nonsense: expected the address")],
)
def test_nobody_logs_in_where_others_can_listen(environ: dict[str, str], url: str, expected: str) -> None:
    result = run(environ, "login", "--server", url)

    assert result.returncode == 1
    assert expected in result.stderr


def test_a_refused_login_keeps_nothing(
    server: Deployment, provider: OidcProvider, environ: dict[str, str], tmp_path: Path
) -> None:
    server.store.users.set_disabled(server.store.users.add("eve").id, True)
    provider.people["eve"] = {}

    with pytest.raises(AssertionError, match="unknown to this server or"):
        log_in(environ, provider, "eve")

    assert not os.path.exists(tmp_path / "threadhouse" / "logins.json")
