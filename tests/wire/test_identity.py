"""API keys and tokens: bad ones are refused before any frame, revoked ones end on every node, none is logged."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import jwt
import pytest
import websocket

from api.cli.client import Client
from api.delivery.close_codes import UNAUTHORIZED
from api.transport.credential_watch import ROUND_SECONDS
from tests.support.certificate import make_certificate
from tests.support.deployment import STEADY, Deployment, Process, clean_environ, free_port, logs_shown_on_failure
from tests.support.event_stream import EventStream
from tests.support.protocol_client import ProtocolClient, connect, dial
from tests.support.turns import run_turn, start_thread

SECRET = "a shared secret of more than thirty-two bytes"
SOON_SECONDS = ROUND_SECONDS + 45  # less than the promised minute
SHORT_SECONDS = 15  # for which a token is still accepted; it has to open two connections


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two nodes that accept keys and tokens and log at level debug."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "secret").write_text(SECRET)
    server = STEADY | {"log_level": "debug", "hosts": ["threads.example"]}
    auth: dict[str, object] = {"jwt_secret_file": "secret", "issuer": "i", "audience": "a", "create_users": True}
    with Deployment(home, api=2, workers=1, server=server, auth=auth) as deployment, logs_shown_on_failure(deployment):
        yield deployment


def token(**claims: object) -> str:
    return jwt.encode({"sub": "tom", "iss": "i", "aud": "a", "exp": int(time.time()) + 600, **claims}, SECRET, "HS256")


def test_an_unknown_caller_is_refused_before_any_frame(guarded: Deployment) -> None:
    revoked = guarded.add_user("rita")[1]
    guarded.store.users.revoke_key(guarded.store.users.keys("rita")[0].id)
    bad = (None, "th_wrong", revoked, token(aud="b"), token(exp=1), "eyJhbGciOiJub25lIn0.e30.")
    for url in guarded.urls:
        for credential in bad:
            with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                connect(url.replace("http", "ws") + "/", credential)
            assert refused.value.status_code == 401
            assert EventStream(url, "/v2/thread/start", {}, token=credential).wait_for_end() == []
        foreign = Request(
            f"{url}/v2/account/read", b"{}", {"Authorization": f"Bearer {token()}", "Host": "evil.example"}
        )
        with pytest.raises(HTTPError, match="403"):
            build_opener(ProxyHandler({})).open(foreign)


def test_connections_of_ended_credentials_close_on_every_node_and_logs_contain_no_secret(guarded: Deployment) -> None:
    _, key = guarded.add_user("ada")
    spare = guarded.store.users.create_key("ada", "spare")
    short = token(exp=int(time.time()) + SHORT_SECONDS - 30)  # expired, but within the leeway for a moment more
    sockets = [guarded.connect(node, token=credential) for credential in (short, key) for node in (0, 1)]
    staying = guarded.connect(0, token=spare)
    thread_id = start_thread(sockets[2])
    stream = EventStream(guarded.urls[1], f"/v2/thread/events?threadId={thread_id}", token=key)
    run_turn(sockets[2], thread_id, "[[say hello]]")
    stream.wait_for_name("turn/completed")

    guarded.store.users.revoke_key(next(row.id for row in guarded.store.users.keys("ada") if row.name == "laptop"))

    assert [client.wait_until_lost(SHORT_SECONDS + SOON_SECONDS).code for client in sockets] == [UNAUTHORIZED] * 4
    stream.wait_for_end(SOON_SECONDS)
    assert staying.request("thread/list")["data"][0]["id"] == thread_id
    logs = b"".join(file.read_bytes() for file in guarded.home.glob("*.log"))
    assert b"turn claimed" in logs
    for secret in (key, spare, short, SECRET):
        assert secret.encode() not in logs
        assert secret.removeprefix("th_").encode() not in logs


@pytest.fixture(scope="module")
def certfile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a certificate for 127.0.0.1 with its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def test_an_api_process_serves_tls_without_a_proxy(guarded: Deployment, certfile: Path) -> None:
    port = free_port()
    words = ("web", "--port", str(port), "--certfile", str(certfile), "--keyfile", str(certfile))
    command = (sys.executable, "-P", "-m", "api.cli", *words)
    node = Process("api-tls", guarded.home / "api-tls.log", dict(guarded.environ), *command)
    node.start()
    try:
        node.wait_until(Client(f"https://127.0.0.1:{port}", trusted=False).is_ready)
        _, key = guarded.add_user("tess")
        trusting = ssl.create_default_context(cafile=str(certfile))
        wrapped = trusting.wrap_socket(dial(f"ws://127.0.0.1:{port}"), server_hostname="127.0.0.1")
        opened = websocket.create_connection(
            f"wss://127.0.0.1:{port}/", socket=wrapped, header=[f"Authorization: Bearer {key}"], suppress_origin=True
        )
        opened.settimeout(None)
        client = ProtocolClient(opened)
        client.initialize()
        assert run_turn(client, start_thread(client), "[[say n=200 delay_ms=0]]")["status"] == "completed"
        client.close()

        environ = clean_environ() | {
            "THREADHOUSE_URL": f"https://127.0.0.1:{port}",
            "THREADHOUSE_TOKEN": key,
            "SSL_CERT_FILE": str(certfile),
        }
        run = [sys.executable, "-P", "-m", "api.cli", "exec", "[[say over TLS]]"]
        trusting_run = subprocess.run(run, env=environ, cwd=os.getcwd(), capture_output=True, text=True, timeout=60)
        assert trusting_run.returncode == 0, trusting_run.stderr
        assert "over TLS" in trusting_run.stdout
        del environ["SSL_CERT_FILE"]
        untrusting_run = subprocess.run(run, env=environ, cwd=os.getcwd(), capture_output=True, text=True, timeout=60)
        assert untrusting_run.returncode == 1
    finally:
        node.kill()
