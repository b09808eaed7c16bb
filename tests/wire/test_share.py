"""Share links on two API nodes and Postgres: a turn is read as it goes on, a revoked link ends, no log has a secret."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from shared.errors import RequestError
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.event_stream import EventStream
from tests.support.otlp_sink import OtlpSink
from tests.support.protocol_client import RpcError
from tests.support.turns import command, start_turn, wait_for_end

EVENTS = "/v2/thread/shared/events"
APPROVAL = "item/commandExecution/requestApproval"


@pytest.fixture(scope="module")
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, sink: OtlpSink) -> Iterator[Deployment]:
    exporter = {"otlp-http": {"endpoint": f"{sink.http_url}/v1/traces", "protocol": "json"}}
    environ = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
    settings = {"otel": {"trace_exporter": exporter}}
    home = tmp_path_factory.mktemp("share")
    with Deployment(home, "postgres", api=2, server=STEADY, settings=settings, environ=environ) as running:
        yield running


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(running):
        yield running


def read(deployment: Deployment, node: int, secret: str) -> tuple[int, Any]:
    """Read a thread by its link. Return the status and the body."""
    parts = urlsplit(deployment.urls[node])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", "/v2/thread/shared", headers={"Authorization": f"Share {secret}"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_a_link_shows_a_turn_on_another_node_until_it_is_revoked(deployment: Deployment, sink: OtlpSink) -> None:
    (adas_id, adas_key), (_, eves_key) = deployment.add_user("ada"), deployment.add_user("eve")
    ada, eve = deployment.connect(0, token=adas_key), deployment.connect(1, token=eves_key)
    thread = ada.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    made = ada.request("thread/share/create", {"threadId": thread["id"]})
    secret, share_id = made["secret"], made["share"]["id"]
    reader = EventStream(deployment.urls[1], EVENTS, token=secret, scheme="Share")
    script = f"[[say It begins.]]{command('pwd')}[[say It ends.]]"

    # The turn goes on with an approval, which readers see as a status alone.
    turn_id = start_turn(ada, thread["id"], script)
    reader.wait_for(lambda event: b"It begins." in event.data)
    reader.wait_for(lambda event: b"waitingOnApproval" in event.data)
    asked = ada.wait_for_method(APPROVAL)
    assert [event.name for event in reader.events if event.name == APPROVAL] == []
    for sender in (secret, eves_key):
        with pytest.raises(RequestError, match=r"revoked|nothing waits"):
            deployment.http(1, token=sender).call(
                "serverRequest/respond", {"requestId": asked["id"], "result": {"decision": "accept"}}
            )
    ada.send({"id": asked["id"], "result": {"decision": "accept"}})
    wait_for_end(ada, turn_id)

    # A reader who was cut off continues behind the last event, on the other node.
    seen = reader.wait_for(lambda event: b"It begins." in event.data and event.name == "item/completed")
    reader.cut()
    again = EventStream(deployment.urls[0], EVENTS, token=secret, scheme="Share", after=seen.id)
    again.wait_for_name("turn/completed")
    data = b"".join(event.data for event in again.events)
    before = {event.id for event in reader.events[: reader.events.index(seen) + 1]}
    assert before.isdisjoint({event.id for event in again.events})
    status, page = read(deployment, 1, secret)
    whole = json.dumps(page) + data.decode()
    assert (status, page["turns"][0]["status"]) == (200, "completed")
    assert f"/workspaces/{thread['id']}" in whole  # what pwd has written
    assert adas_id not in whole

    # Another user neither lists nor revokes it; its owner does, and all readers of all nodes are out.
    with pytest.raises(RpcError):
        eve.request("thread/share/revoke", {"shareId": share_id})
    assert read(deployment, 0, secret)[0] == 200
    ada.request("thread/share/revoke", {"shareId": share_id})
    gone = read(deployment, 1, secret)
    assert gone == read(deployment, 0, secret[::-1])
    assert gone[0] == 404
    again.wait_for_end()

    # Nothing that the server writes about its requests has the secret.
    sink.wait_for("traces", "GET /v2/thread/shared")
    assert secret not in repr(sink.exported)
    assert secret.encode() not in files(deployment)


def files(deployment: Deployment) -> bytes:
    """Return the log of each process."""
    logs: list[Path] = [process.log for process in deployment.processes]
    return b"".join(log.read_bytes() for log in logs)
