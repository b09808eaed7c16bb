"""threadhouse app-server: its client does not notice that the connection to the server breaks."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import make_app
from api.cli.bridge.bridge import Bridge
from api.cli.bridge.messages import DURABLE_METHODS
from api.requests import history
from shared.events import durable_events
from shared.events.log import Event
from shared.store.threads import Thread
from tests.builders import (
    Backend,
    claim_turn,
    delta,
    end_turn,
    make_message,
    make_thread,
    make_turn,
    text_input,
    unread_inputs,
)
from tests.support.bridge import Pipes, Spawned, spawn
from tests.support.cuttable import Wire
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.wait import until
from tests.support.wsgi_server import serve

APPROVAL = "item/commandExecution/requestApproval"
CUTS = 20
CUT_TO_EVENTS_SECONDS = 0.15  # the bridge waits for 0.05 to 0.1 s before it connects again


@pytest.fixture
def wire(backend: Backend) -> Iterator[Wire]:
    with serve(make_app(backend.services)) as address, Wire(address) as wire:
        yield wire


@pytest.fixture
def spawned(wire: Wire) -> Iterator[Spawned]:
    with spawn(wire.url) as spawned:
        spawned.client.initialize(experimentalApi=True)
        yield spawned


@pytest.fixture
def client(spawned: Spawned) -> ProtocolClient:
    return spawned.client


def item_started(thread: Thread, item_id: str, turn_id: str = "T") -> Event:
    item = {"type": "agentMessage", "id": item_id, "text": ""}
    params = {"threadId": thread.id, "turnId": turn_id, "item": item, "startedAtMs": 1}
    return Event("item/started", params, key=f"item:{item_id}:started", item_id=item_id, role="start")


def follow(backend: Backend, client: ProtocolClient, **params: Any) -> Thread:
    thread = make_thread(backend.store, backend.config)
    client.request("thread/resume", {"threadId": thread.id, **params})
    return thread


def publish_name(backend: Backend, thread: Thread, name: str) -> None:
    """Publish an event that is easy to wait for."""
    backend.publish(thread, Event("thread/name/updated", {"threadId": thread.id, "threadName": name}))


def wait_for_name(client: ProtocolClient, name: str) -> None:
    client.wait_for(lambda frame: frame.get("params", {}).get("threadName") == name)


def text(client: ProtocolClient, item_id: str) -> str:
    deltas = [one["params"] for one in client.notifications if one["method"] == "item/agentMessage/delta"]
    return "".join(one["delta"] for one in deltas if one["itemId"] == item_id)


def durable_notifications(client: ProtocolClient) -> list[tuple[str, str]]:
    """Return (method, id) of the notifications about turns and items."""
    found = [(one["method"], one["params"]) for one in client.notifications]
    return [(method, params[kind]["id"]) for method, params in found if (kind := DURABLE_METHODS.get(method))]


def request_approval(backend: Backend, thread: Thread) -> int:
    """Start a turn that waits for an approval; return the id of the server request."""
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    approval = backend.store.claims.park(claim, APPROVAL, "i", params, [], expires_in_ms=60_000)
    backend.publish(thread, *durable_events.approval_requested(approval))
    return approval.id


# -- lines


def test_it_accepts_the_arguments_of_codex(wire: Wire) -> None:
    arguments = ("--config", "model=x", "-c", "a=b", "app-server", "--listen", "stdio://", "--enable", "thing", "more")
    with spawn(wire.url, arguments=arguments) as spawned:
        assert spawned.client.initialize()["platformFamily"] == "unix"


def test_it_listens_on_stdio_only(wire: Wire) -> None:
    with spawn(wire.url, arguments=("app-server", "--listen", "ws://127.0.0.1:1")) as spawned:
        assert "stdio://" in spawned.error()
        assert spawned.process.returncode == 2


def test_each_reply_is_one_line(wire: Wire) -> None:
    with spawn(wire.url) as spawned:
        assert spawned.process.stdin is not None
        spawned.process.stdin.write(b'{"id": "a", "method": "initialize", "params": {"clientInfo": 5}}\n')
        spawned.process.stdin.flush()
        reply = spawned.client.wait_for(lambda frame: frame.get("id") == "a")

    assert reply["error"]["code"] == -32602


@pytest.mark.parametrize(
    "line", ["not json", "[1, 2]", "", '{"id": 1', '{"id": 9, "method": 5}', '{"method": "x"}', "\ud800"]
)
def test_lines_that_are_not_messages_are_dropped(client: ProtocolClient, line: str) -> None:
    client._socket.send(line.encode(errors="surrogatepass").decode("latin-1"))

    assert client.request("account/read")["account"] is None
    assert [frame["id"] for frame in client.received] == [1, 2]


def test_a_message_over_16_mib_is_refused_and_the_connection_stays(client: ProtocolClient) -> None:
    with pytest.raises(RpcError, match="16 MiB"):
        client.request("skills/list", {"cwds": ["x" * (17 << 20)]})
    assert client.request("account/read")["account"] is None


def test_it_ends_with_stdin_and_the_turn_continues(backend: Backend, spawned: Spawned) -> None:
    thread = follow(backend, spawned.client)

    spawned.client.send_request("turn/start", {"threadId": thread.id, "input": text_input("hello")})
    assert spawned.end() == 0

    until(lambda: [turn.status for turn in backend.store.turns.of_thread(thread.id, thread.owner)] == ["inProgress"])


def test_it_ends_with_stdin_while_the_server_is_away(wire: Wire, spawned: Spawned) -> None:
    wire.cut()

    assert spawned.end() == 0


def test_it_fails_at_once_without_a_server_or_a_valid_key(backend: Backend, wire: Wire) -> None:
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")
    for url, token, message in (
        ("http://127.0.0.1:9", None, "no server answers at ws://127.0.0.1:9"),
        ("nonsense", None, "THREADHOUSE_URL=nonsense: expected the address of a server"),
        (wire.url, None, "THREADHOUSE_TOKEN"),
        (wire.url, "th_wrong", "THREADHOUSE_TOKEN"),
    ):
        with spawn(url, token) as spawned:
            assert message in spawned.error()
            assert spawned.process.returncode == 1
    with spawn(wire.url, key) as spawned:
        spawned.client.initialize()
        assert spawned.client.request("account/read")["userId"] != "local"


# -- when the connection breaks


def test_events_of_an_outage_arrive_once_and_in_order(backend: Backend, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(backend, client)
    backend.publish(thread, item_started(thread, "a"), delta(thread.id, "a", "one "))
    client.wait_for_method("item/agentMessage/delta")

    wire.cut()
    backend.publish(thread, delta(thread.id, "a", "two "), item_started(thread, "b"), delta(thread.id, "b", "other"))
    wire.restore()
    backend.publish(thread, delta(thread.id, "a", "three"))
    client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "three")
    wire.drop_connections()
    publish_name(backend, thread, "end")
    wait_for_name(client, "end")

    assert text(client, "a") == "one two three"
    assert text(client, "b") == "other"
    assert durable_notifications(client) == [("item/started", "a"), ("item/started", "b")]
    ids = [frame["eventId"] for frame in client.notifications]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_reconnecting_resumes_exactly_the_followed_threads(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    started = client.request("thread/start")["thread"]["id"]
    resumed, left = follow(backend, client), follow(backend, client)
    client.request("thread/unsubscribe", {"threadId": left.id})

    wire.drop_connections()
    threads = [left, resumed, backend.store.threads.find(started, resumed.owner)]
    for thread in threads:
        assert thread is not None
        backend.publish(thread, item_started(thread, "a"), delta(thread.id, "a", "x"))

    client.wait_for(lambda frame: is_delta_of(frame, started))
    client.wait_for(lambda frame: is_delta_of(frame, resumed.id))
    assert client.request("thread/unsubscribe", {"threadId": left.id})["status"] == "notSubscribed"
    assert not [frame for frame in client.received if is_delta_of(frame, left.id)]
    assert client.methods().count("thread/started") == 1


def is_delta_of(frame: dict[str, Any], thread_id: str) -> bool:
    return frame.get("method") == "item/agentMessage/delta" and frame["params"]["threadId"] == thread_id


def test_reconnecting_repeats_the_handshake_of_the_client(backend: Backend, wire: Wire) -> None:
    with spawn(wire.url) as spawned:
        client = spawned.client
        client.initialize(optOutNotificationMethods=["item/agentMessage/delta"])
        thread = follow(backend, client)
        wire.drop_connections()
        backend.publish(thread, item_started(thread, "a"), delta(thread.id, "a", "x"))
        publish_name(backend, thread, "end")
        wait_for_name(client, "end")

    assert client.methods() == ["item/started", "thread/name/updated"]
    assert [frame["id"] for frame in client.received if "result" in frame] == [1, 2]


def test_nothing_is_lost_or_repeated_whenever_the_events_come_after_a_cut(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    for number in range(CUTS):
        seconds = random.uniform(0, CUT_TO_EVENTS_SECONDS)
        seen = len(client.notifications)

        wire.drop_connections()
        time.sleep(seconds)  # the moment is what varies: before, while and after the bridge comes back
        backend.publish(thread, item_started(thread, f"item-{number}"), delta(thread.id, f"item-{number}", "x"))
        publish_name(backend, thread, f"end-{number}")
        wait_for_name(client, f"end-{number}")

        methods = [frame["method"] for frame in client.notifications[seen:]]
        expected = ["item/started", "item/agentMessage/delta", "thread/name/updated"]
        assert methods == expected, f"{seconds * 1000:.1f} ms after the cut"


def test_repeatable_requests_are_sent_again_and_others_fail(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    wire.mute()
    compact = client.send_request("thread/compact/start", {"threadId": "none"})
    read = client.send_request("thread/read", {"threadId": thread.id})
    turn = client.send_request("turn/start", {"threadId": thread.id, "input": text_input("once")})
    until(lambda: backend.store.turns.of_thread(thread.id, thread.owner))

    wire.drop_connections()

    assert client.result(read)["thread"]["id"] == thread.id
    turn_id = client.result(turn)["turn"]["id"]
    assert [
        len(unread_inputs(backend.store, one.id)) for one in backend.store.turns.of_thread(thread.id, thread.owner)
    ] == [1]
    steer = {"threadId": thread.id, "expectedTurnId": turn_id, "input": text_input("more")}
    assert client.request("turn/steer", steer) == {"turnId": turn_id}
    with pytest.raises(RpcError) as failed:
        client.result(compact)
    assert failed.value.code == -32001
    assert failed.value.data == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 1000}


def test_a_lost_reply_to_turn_start_arrives_before_the_events_of_the_turn(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    wire.mute()
    request = client.send_request("turn/start", {"threadId": thread.id, "input": text_input("hello")})
    until(lambda: backend.enqueued)
    durable_events.publish_missing(
        backend.store, backend.services.events, end_turn(backend.store, claim_turn(backend.store))
    )

    wire.drop_connections()

    client.wait_for_method("turn/completed")
    place = [frame.get("id") == request for frame in client.received].index(True)
    assert "turn/started" not in [frame.get("method") for frame in client.received[:place]]
    assert client.methods().count("turn/completed") == 1


def test_a_request_that_breaks_every_connection_fails_after_a_few_attempts(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    wire.break_on = b'"poison"'
    client.send({"id": "poison", "method": "thread/read", "params": {"threadId": thread.id}})

    with pytest.raises(RpcError, match="broke"):
        client.result("poison")
    assert client.request("thread/read", {"threadId": thread.id})


def test_requests_wait_while_the_server_is_away(backend: Backend, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(backend, client)
    wire.mute()
    lost = client.send_request("thread/compact/start", {"threadId": "none"})
    client.send_request("turn/start", {"threadId": thread.id, "input": text_input("the server has both")})
    until(lambda: backend.enqueued)
    wire.cut()
    with pytest.raises(RpcError, match="broke"):
        client.result(lost)

    request = client.send_request("thread/compact/start", {"threadId": "none"})
    wire.restore()

    with pytest.raises(RpcError) as refused:
        client.result(request)
    assert refused.value.code != -32001


def test_requests_fail_when_the_server_is_away_for_long_and_events_continue_later(backend: Backend, wire: Wire) -> None:
    (lines, stdin), (stdout, output) = [(os.fdopen(r, "rb"), os.fdopen(w, "wb")) for r, w in (os.pipe(), os.pipe())]
    runner = threading.Thread(target=Bridge(wire.url, None, output, wait_seconds=0).run, args=(lines,))
    runner.start()
    pipes: Any = Pipes(stdout, stdin)
    client = ProtocolClient(pipes)
    client.initialize()
    thread = follow(backend, client)

    wire.cut()
    for _ in range(2):
        with pytest.raises(RpcError) as failed:
            client.request("thread/read", {"threadId": thread.id})
        assert failed.value.code == -32001
    publish_name(backend, thread, "meanwhile")
    wire.restore()

    wait_for_name(client, "meanwhile")
    assert client.request("thread/read", {"threadId": thread.id})
    client.close()
    runner.join()
    output.close()
    lines.close()


# -- server requests


def test_an_answer_given_during_an_outage_arrives_and_the_approval_is_not_requested_again(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    request_id = request_approval(backend, thread)
    client.wait_for_method(APPROVAL)

    wire.cut()
    client.send({"id": request_id, "result": {"decision": "decline"}})
    wire.restore()

    resolved = client.wait_for_method("serverRequest/resolved")
    assert resolved["params"]["requestId"] == request_id
    assert client.methods().count(APPROVAL) == 1
    answered = backend.store.approvals.find(request_id, thread.owner)
    assert answered is not None
    assert answered.decision == "decline"


def test_an_approval_can_be_answered_after_a_reconnection(backend: Backend, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(backend, client)
    request_id = request_approval(backend, thread)
    client.wait_for_method(APPROVAL)
    wire.drop_connections()
    publish_name(backend, thread, "back")
    wait_for_name(client, "back")

    client.send({"id": request_id, "result": {"decision": "accept"}})

    client.wait_for_method("serverRequest/resolved")
    assert client.methods().count(APPROVAL) == 1


def test_an_approval_requested_during_an_outage_arrives_once(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    wire.cut()
    request_approval(backend, thread)
    wire.restore()
    client.wait_for_method(APPROVAL)
    wire.drop_connections()
    publish_name(backend, thread, "end")
    wait_for_name(client, "end")

    assert client.methods().count(APPROVAL) == 1


def test_a_resume_by_the_client_repeats_the_approval_request(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    request_approval(backend, thread)
    client.wait_for_method(APPROVAL)
    wire.drop_connections()
    client.request("thread/resume", {"threadId": thread.id})

    client.request("account/read")
    assert client.methods().count(APPROVAL) == 2


# -- when the log has lost the cursor


def make_noise(backend: Backend, thread: Thread) -> None:
    """Publish more events than a short log keeps: Redis trims by whole nodes."""
    name = Event("thread/name/updated", {"threadId": thread.id, "threadName": "noise"})
    backend.publish(thread, *[name] * 400)


def test_events_that_the_log_has_lost_are_made_from_stored_items(
    open_backend: Callable[..., Backend], empty_database: Path
) -> None:
    backend = open_backend(server={"event_log_length": 2})
    with serve(make_app(backend.services)) as address, Wire(address) as wire, spawn(wire.url) as spawned:
        client = spawned.client
        client.initialize()
        thread = follow(backend, client)
        turn = make_turn(backend.store, thread)
        claim = claim_turn(backend.store)
        first = make_message(backend.store, claim, "first")
        known = [*durable_events.turn_started(turn), *durable_events.item_events([first])]
        backend.publish(
            thread, *known, item_started(thread, "open", turn.id), delta(thread.id, "open", "Good ", turn.id)
        )
        client.wait_for_method("item/agentMessage/delta")

        wire.cut()
        second = make_message(backend.store, claim, "second")
        backend.publish(thread, *durable_events.item_events([second]), delta(thread.id, "open", "morn", turn.id))
        make_noise(backend, thread)
        wire.restore()
        client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "morn")
        backend.publish(thread, delta(thread.id, "open", "ing", turn.id))
        client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "ing")
        assert text(client, "open") == "Good morning"

        wire.cut()
        end = end_turn(backend.store, claim)
        durable_events.publish_missing(backend.store, backend.services.events, end)
        make_noise(backend, thread)
        wire.restore()
        client.wait_for_method("turn/completed")
        publish_name(backend, thread, "end")
        wait_for_name(client, "end")

    seen = durable_notifications(client)
    assert len(set(seen)) == len(seen)
    assert seen[0] == ("turn/started", turn.id)
    assert seen[1:4] == [("item/started", first.id), ("item/completed", first.id), ("item/started", "open")]
    assert ("item/completed", second.id) in seen
    assert seen[-1] == ("turn/completed", turn.id)
    assert text(client, second.id) == "second"


def test_an_emptied_redis_repeats_nothing(backend: Backend, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(backend, client)
    turn = make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    message = make_message(backend.store, claim, "hello")
    backend.publish(thread, *durable_events.turn_started(turn), *durable_events.item_events([message]))
    client.wait_for_method("item/completed")

    wire.cut()
    backend.services.redis.flushall()
    durable_events.publish_missing(backend.store, backend.services.events, end_turn(backend.store, claim))
    wire.restore()

    client.wait_for_method("turn/completed")
    seen = durable_notifications(client)
    assert [one for one in seen if message.id in one] == [("item/started", message.id), ("item/completed", message.id)]
    assert seen.count(("turn/started", turn.id)) == seen.count(("turn/completed", turn.id)) == 1


def test_the_end_of_a_turn_whose_thread_was_archived_meanwhile_arrives(
    backend: Backend, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(backend, client)
    turn = client.request("turn/start", {"threadId": thread.id, "input": text_input("hello")})["turn"]
    other = backend.connect()

    wire.cut()
    other.call("thread/archive", {"threadId": thread.id})
    wire.restore()

    assert client.wait_for_method("turn/completed")["params"]["turn"]["id"] == turn["id"]
    client.wait_for_method("thread/archived")


def test_a_thread_that_was_archived_meanwhile_and_is_too_large_to_be_read_is_not_said_to_be_deleted(
    backend: Backend, wire: Wire, client: ProtocolClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "ANSWER_BYTES", 0)
    thread = follow(backend, client)
    client.request("turn/start", {"threadId": thread.id, "input": text_input("hello")})
    claim = claim_turn(backend.store)
    make_message(backend.store, claim, "large")

    wire.cut()
    end_turn(backend.store, claim)
    backend.connect().call("thread/archive", {"threadId": thread.id})
    wire.restore()

    client.wait_for_method("thread/archived")
    assert "thread/deleted" not in client.methods()
