"""Clients that come at once, as the port opens: after a restart all clients come back like this."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.store.migrations import migrate
from tests.support.deployment import DATABASES, Deployment, clean_environ, logs_shown_on_failure
from tests.support.wait import until

STARTS = int(os.environ.get("THREADHOUSE_FRESH_STARTS") or 3)
CLIENTS = 50
ANSWER_SECONDS = 60.0  # a lost wake-up would last for ever
ANSWERED = (200, 429)  # 429: refused as retryable
FIRST_CALLS = """
from gevent import monkey

monkey.patch_all()
import os, sys
from pathlib import Path
import gevent
from api.app import make_services
from shared.config import load

store = make_services(load(Path(sys.argv[1]), {})).store

def call():
    store.users.exist()
    store.users.find_by_key("unknown")
    store.users.exist()

calling = [gevent.spawn(call) for _ in range(100)]
gevent.joinall(calling, timeout=float(sys.argv[2]))
print(sum(not one.ready() for one in calling), flush=True)
os._exit(0)  # without waiting for those that hang
"""


@pytest.mark.parametrize("database", DATABASES)
def test_requests_that_meet_a_fresh_process_at_once_are_all_answered(tmp_path: Path, database: str) -> None:
    with Deployment(tmp_path, database, workers=0) as deployment, logs_shown_on_failure(deployment):
        process, port = deployment.api[0], deployment.ports[0]
        for _ in range(STARTS):
            process.kill()
            until(lambda: not _is_open(port))
            process.start()
            process.wait_until(lambda: _is_open(port))
            assert [answer for answer in _ask_at_once(port) if answer not in ANSWERED] == []


def test_first_store_calls_of_a_gevent_process_all_return(tmp_path: Path) -> None:
    """In the process itself, where a lost wake-up shows more often than over the wire: in every second start."""
    (tmp_path / "config.toml").touch()
    migrate(f"sqlite:///{tmp_path / 'threadhouse.sqlite3'}")
    command = [sys.executable, "-P", "-c", FIRST_CALLS, str(tmp_path), str(ANSWER_SECONDS)]
    for _ in range(2 * STARTS):
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environ(), cwd="/")
        assert ended.stdout.strip() == "0", "calls hang"


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _ask_at_once(port: int) -> list[object]:
    """Send one request of each client; return each status, or what broke the connection."""
    answers: list[object] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", "/v2/thread/list", b"{}", {"Content-Type": "application/json"})
            answers.append(connection.getresponse().status)
        except OSError as error:
            answers.append(repr(error))
        finally:
            connection.close()

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answers
