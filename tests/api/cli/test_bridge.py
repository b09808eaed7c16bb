"""The bridge between pipes and a WebSocket: a client of it never learns that the connection broke."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import make_app
from api.cli import bridge as bridges
from shared import announcements
from shared.events import Event
from shared.store.threads import Thread
from tests.builders import House, claim_turn, delta, end_turn, make_message, make_thread, make_turn, text_input
from tests.support.bridge import Pipes, Spawned, spawn
from tests.support.cuttable import Wire
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.wait import until
from tests.support.wsgi_server import serve

APPROVAL = "item/commandExecution/requestApproval"


@pytest.fixture
def wire(house: House) -> Iterator[Wire]:
    with serve(make_app(house.services)) as address, Wire(address) as wire:
        yield wire


@pytest.fixture
def spawned(wire: Wire) -> Iterator[Spawned]:
    with spawn(wire.url) as spawned:
        spawned.client.initialize(experimentalApi=True)
        yield spawned


@pytest.fixture
def client(spawned: Spawned) -> ProtocolClient:
    return spawned.client


def begin_item(thread: Thread, item_id: str, turn_id: str = "T") -> Event:
    item = {"type": "agentMessage", "id": item_id, "text": ""}
    params = {"threadId": thread.id, "turnId": turn_id, "item": item, "startedAtMs": 1}
    return Event("item/started", params, key=f"item:{item_id}:started", item_id=item_id, role="start")


def follow(house: House, client: ProtocolClient, **params: Any) -> Thread:
    thread = make_thread(house.store, house.config)
    client.request("thread/resume", {"threadId": thread.id, **params})
    return thread


def named(house: House, thread: Thread, name: str) -> None:
    """An event that is easy to wait for."""
    house.publish(thread, Event("thread/name/updated", {"threadId": thread.id, "threadName": name}))


def wait_for_name(client: ProtocolClient, name: str) -> None:
    client.wait_for(lambda frame: frame.get("params", {}).get("threadName") == name)


def text(client: ProtocolClient, item_id: str) -> str:
    deltas = [one["params"] for one in client.notifications if one["method"] == "item/agentMessage/delta"]
    return "".join(one["delta"] for one in deltas if one["itemId"] == item_id)


def of_turns(client: ProtocolClient) -> list[tuple[str, str]]:
    """(method, id) of the durable notifications."""
    found = [(one["method"], one["params"]) for one in client.notifications]
    return [(method, params[kind]["id"]) for method, params in found if (kind := bridges.DURABLE.get(method))]


def ask(house: House, thread: Thread) -> int:
    """A turn that waits for an approval. Returns the request id."""
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    approval = house.store.turns.park(claim, APPROVAL, "i", params, [], expires_in_ms=60_000)
    house.publish(thread, *announcements.question_asked(approval))
    return approval.id


# -- lines


def test_it_is_started_with_the_arguments_of_the_original(wire: Wire) -> None:
    arguments = ("--config", "model=x", "-c", "a=b", "app-server", "--listen", "stdio://", "--enable", "thing", "more")
    with spawn(wire.url, arguments=arguments) as spawned:
        assert spawned.client.initialize()["platformFamily"] == "unix"


def test_it_listens_on_stdio_only(wire: Wire) -> None:
    with spawn(wire.url, arguments=("app-server", "--listen", "ws://127.0.0.1:1")) as spawned:
        assert "stdio://" in spawned.error()
        assert spawned.process.returncode == 2


def test_each_message_is_one_compact_line(wire: Wire) -> None:
    with spawn(wire.url) as spawned:
        assert spawned.process.stdin is not None
        spawned.process.stdin.write(b'{"id": "a", "method": "initialize", "params": {"clientInfo": 5}}\n')
        spawned.process.stdin.flush()
        reply = spawned.client.wait_for(lambda frame: frame.get("id") == "a")

    assert reply["error"]["code"] == -32602


@pytest.mark.parametrize(
    "line", ["not json", "[1, 2]", "", '{"id": 1', '{"id": 9, "method": 5}', '{"method": "x"}', "\ud800"]
)
def test_lines_that_are_no_messages_are_dropped(client: ProtocolClient, line: str) -> None:
    client._socket.send(line.encode(errors="surrogatepass").decode("latin-1"))

    assert client.request("account/read")["account"] is None
    assert [frame["id"] for frame in client.received] == [1, 2]


def test_a_message_that_is_too_big_is_refused_and_costs_nothing(client: ProtocolClient) -> None:
    with pytest.raises(RpcError, match="16 MiB"):
        client.request("skills/list", {"cwds": ["x" * (17 << 20)]})
    assert client.request("account/read")["account"] is None


def test_it_ends_well_with_stdin_and_the_turn_goes_on(house: House, spawned: Spawned) -> None:
    thread = follow(house, spawned.client)

    spawned.client.send_request("turn/start", {"threadId": thread.id, "input": text_input("hello")})
    assert spawned.end() == 0

    assert [turn.status for turn in house.store.turns.of_thread(thread.id, thread.owner)] == ["inProgress"]


def test_it_ends_when_stdin_ends_though_the_server_is_away(wire: Wire, spawned: Spawned) -> None:
    wire.cut()

    assert spawned.end() == 0


def test_a_server_that_is_not_there_or_wants_a_key_is_told_at_once(house: House, wire: Wire) -> None:
    house.store.users.add("ada")
    key = house.store.users.create_key("ada", "laptop")
    for url, token, told in (
        ("http://127.0.0.1:9", None, "no server answers at ws://127.0.0.1:9"),
        ("nonsense", None, "no server answers at nonsense"),
        (wire.url, None, "THREADHOUSE_TOKEN"),
        (wire.url, "th_wrong", "THREADHOUSE_TOKEN"),
    ):
        with spawn(url, token) as spawned:
            assert told in spawned.error()
            assert spawned.process.returncode == 1
    with spawn(wire.url, key) as spawned:
        spawned.client.initialize()
        assert spawned.client.request("account/read")["userId"] != "local"


# -- when the connection breaks


def test_what_happened_meanwhile_is_told_once_and_in_order(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    house.publish(thread, begin_item(thread, "a"), delta(thread.id, "a", "one "))
    client.wait_for_method("item/agentMessage/delta")

    wire.cut()
    house.publish(thread, delta(thread.id, "a", "two "), begin_item(thread, "b"), delta(thread.id, "b", "other"))
    wire.mend()
    house.publish(thread, delta(thread.id, "a", "three"))
    client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "three")
    wire.blink()
    named(house, thread, "end")
    wait_for_name(client, "end")

    assert text(client, "a") == "one two three"
    assert text(client, "b") == "other"
    assert of_turns(client) == [("item/started", "a"), ("item/started", "b")]
    ids = [frame["eventId"] for frame in client.notifications]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_threads_are_followed_again_as_far_as_they_were(house: House, wire: Wire, client: ProtocolClient) -> None:
    started = client.request("thread/start")["thread"]["id"]
    resumed, left = follow(house, client), follow(house, client)
    client.request("thread/unsubscribe", {"threadId": left.id})

    wire.blink()
    threads = [left, resumed, house.store.threads.find(started, resumed.owner)]
    for thread in threads:
        assert thread is not None
        house.publish(thread, begin_item(thread, "a"), delta(thread.id, "a", "x"))

    client.wait_for(lambda frame: is_delta_of(frame, started))
    client.wait_for(lambda frame: is_delta_of(frame, resumed.id))
    assert client.request("thread/unsubscribe", {"threadId": left.id})["status"] == "notSubscribed"
    assert not [frame for frame in client.received if is_delta_of(frame, left.id)]
    assert client.methods().count("thread/started") == 1


def is_delta_of(frame: dict[str, Any], thread_id: str) -> bool:
    return frame.get("method") == "item/agentMessage/delta" and frame["params"]["threadId"] == thread_id


def test_the_handshake_is_made_again_as_the_client_made_it(house: House, wire: Wire) -> None:
    with spawn(wire.url) as spawned:
        client = spawned.client
        client.initialize(optOutNotificationMethods=["item/agentMessage/delta"])
        thread = follow(house, client)
        wire.blink()
        house.publish(thread, begin_item(thread, "a"), delta(thread.id, "a", "x"))
        named(house, thread, "end")
        wait_for_name(client, "end")

    assert client.methods() == ["item/started", "thread/name/updated"]
    assert [frame["id"] for frame in client.received if "result" in frame] == [1, 2]


def test_what_may_be_sent_twice_is_and_the_rest_is_told_to_have_failed(
    house: House, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(house, client)
    wire.mute()
    compact = client.send_request("thread/compact/start", {"threadId": "none"})
    read = client.send_request("thread/read", {"threadId": thread.id})
    turn = client.send_request("turn/start", {"threadId": thread.id, "input": text_input("once")})
    until(lambda: house.store.turns.of_thread(thread.id, thread.owner))

    wire.blink()

    assert client.result(read)["thread"]["id"] == thread.id
    turn_id = client.result(turn)["turn"]["id"]
    assert [len(house.store.turns.unread(one.id)) for one in house.store.turns.of_thread(thread.id, thread.owner)] == [
        1
    ]
    steer = {"threadId": thread.id, "expectedTurnId": turn_id, "input": text_input("more")}
    assert client.request("turn/steer", steer) == {"turnId": turn_id}
    with pytest.raises(RpcError) as failed:
        client.result(compact)
    assert failed.value.code == -32001
    assert failed.value.data == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 1000}


def test_a_reply_that_was_lost_comes_before_the_events_that_it_caused(
    house: House, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(house, client)
    wire.mute()
    request = client.send_request("turn/start", {"threadId": thread.id, "input": text_input("hello")})
    until(lambda: house.rung)
    announcements.announce(house.store, house.services.events, end_turn(house.store, claim_turn(house.store)))

    wire.blink()

    client.wait_for_method("turn/completed")
    place = [frame.get("id") == request for frame in client.received].index(True)
    assert "turn/started" not in [frame.get("method") for frame in client.received[:place]]
    assert client.methods().count("turn/completed") == 1


def test_a_request_that_breaks_every_connection_is_not_sent_for_ever(
    house: House, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(house, client)
    wire.breaks_at = b'"poison"'
    client.send({"id": "poison", "method": "thread/read", "params": {"threadId": thread.id}})

    with pytest.raises(RpcError, match="broke"):
        client.result("poison")
    assert client.request("thread/read", {"threadId": thread.id})


def test_requests_wait_for_a_server_that_is_away(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    wire.mute()
    lost = client.send_request("thread/compact/start", {"threadId": "none"})
    client.send_request("turn/start", {"threadId": thread.id, "input": text_input("the server has both")})
    until(lambda: house.rung)
    wire.cut()
    with pytest.raises(RpcError, match="broke"):
        client.result(lost)

    request = client.send_request("thread/compact/start", {"threadId": "none"})
    wire.mend()

    with pytest.raises(RpcError) as refused:
        client.result(request)
    assert refused.value.code != -32001


def test_requests_do_not_wait_for_ever_and_events_go_on_afterwards(house: House, wire: Wire) -> None:
    (lines, stdin), (stdout, output) = [(os.fdopen(r, "rb"), os.fdopen(w, "wb")) for r, w in (os.pipe(), os.pipe())]
    runner = threading.Thread(target=bridges.Bridge(wire.url, None, output, wait_seconds=0).run, args=(lines,))
    runner.start()
    pipes: Any = Pipes(stdout, stdin)
    client = ProtocolClient(pipes)
    client.initialize()
    thread = follow(house, client)

    wire.cut()
    for _ in range(2):
        with pytest.raises(RpcError) as failed:
            client.request("thread/read", {"threadId": thread.id})
        assert failed.value.code == -32001
    named(house, thread, "meanwhile")
    wire.mend()

    wait_for_name(client, "meanwhile")
    assert client.request("thread/read", {"threadId": thread.id})
    client.close()
    runner.join()
    output.close()
    lines.close()


# -- questions


def test_a_question_that_the_client_has_is_not_asked_again_and_its_answer_arrives(
    house: House, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(house, client)
    request_id = ask(house, thread)
    client.wait_for_method(APPROVAL)

    wire.cut()
    client.send({"id": request_id, "result": {"decision": "decline"}})
    wire.mend()

    resolved = client.wait_for_method("serverRequest/resolved")
    assert resolved["params"]["requestId"] == request_id
    assert client.methods().count(APPROVAL) == 1
    answered = house.store.approvals.find(request_id, thread.owner)
    assert answered is not None
    assert answered.decision == "decline"


def test_a_question_that_is_open_can_be_answered_after_the_connection_broke(
    house: House, wire: Wire, client: ProtocolClient
) -> None:
    thread = follow(house, client)
    request_id = ask(house, thread)
    client.wait_for_method(APPROVAL)
    wire.blink()
    named(house, thread, "back")
    wait_for_name(client, "back")

    client.send({"id": request_id, "result": {"decision": "accept"}})

    client.wait_for_method("serverRequest/resolved")
    assert client.methods().count(APPROVAL) == 1


def test_a_question_of_meanwhile_is_asked_once(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    wire.cut()
    ask(house, thread)
    wire.mend()
    client.wait_for_method(APPROVAL)
    wire.blink()
    named(house, thread, "end")
    wait_for_name(client, "end")

    assert client.methods().count(APPROVAL) == 1


def test_a_client_that_resumes_by_itself_is_asked_again(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    ask(house, thread)
    wire.blink()
    client.request("thread/resume", {"threadId": thread.id})

    client.request("account/read")
    assert client.methods().count(APPROVAL) == 2


# -- when the log does not have it any more


def make_noise(house: House, thread: Thread) -> None:
    """More events than a short log keeps: Redis trims by whole nodes."""
    name = Event("thread/name/updated", {"threadId": thread.id, "threadName": "noise"})
    house.publish(thread, *[name] * 400)


def test_what_the_log_has_lost_is_told_from_what_is_stored(
    open_house: Callable[..., House], empty_database: Path
) -> None:
    house = open_house(server={"event_log_length": 2})
    with serve(make_app(house.services)) as address, Wire(address) as wire, spawn(wire.url) as spawned:
        client = spawned.client
        client.initialize()
        thread = follow(house, client)
        turn = make_turn(house.store, thread)
        claim = claim_turn(house.store)
        first = make_message(house.store, claim, "first")
        known = [*announcements.turn_started(turn), *announcements.item_events([first])]
        house.publish(thread, *known, begin_item(thread, "open", turn.id), delta(thread.id, "open", "Good ", turn.id))
        client.wait_for_method("item/agentMessage/delta")

        wire.cut()
        second = make_message(house.store, claim, "second")
        house.publish(thread, *announcements.item_events([second]), delta(thread.id, "open", "morn", turn.id))
        make_noise(house, thread)
        wire.mend()
        client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "morn")
        house.publish(thread, delta(thread.id, "open", "ing", turn.id))
        client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "ing")
        assert text(client, "open") == "Good morning"

        wire.cut()
        end = end_turn(house.store, claim)
        announcements.announce(house.store, house.services.events, end)
        make_noise(house, thread)
        wire.mend()
        client.wait_for_method("turn/completed")
        named(house, thread, "end")
        wait_for_name(client, "end")

    seen = of_turns(client)
    assert len(set(seen)) == len(seen)
    assert seen[0] == ("turn/started", turn.id)
    assert seen[1:4] == [("item/started", first.id), ("item/completed", first.id), ("item/started", "open")]
    assert ("item/completed", second.id) in seen
    assert seen[-1] == ("turn/completed", turn.id)
    assert text(client, second.id) == "second"


def test_an_emptied_redis_repeats_nothing(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    turn = make_turn(house.store, thread)
    claim = claim_turn(house.store)
    message = make_message(house.store, claim, "hello")
    house.publish(thread, *announcements.turn_started(turn), *announcements.item_events([message]))
    client.wait_for_method("item/completed")

    wire.cut()
    house.services.redis.flushall()
    announcements.announce(house.store, house.services.events, end_turn(house.store, claim))
    wire.mend()

    client.wait_for_method("turn/completed")
    seen = of_turns(client)
    assert [one for one in seen if message.id in one] == [("item/started", message.id), ("item/completed", message.id)]
    assert seen.count(("turn/started", turn.id)) == seen.count(("turn/completed", turn.id)) == 1


def test_the_end_of_a_turn_whose_thread_was_archived_is_told(house: House, wire: Wire, client: ProtocolClient) -> None:
    thread = follow(house, client)
    turn = client.request("turn/start", {"threadId": thread.id, "input": text_input("hello")})["turn"]
    other = house.connect()

    wire.cut()
    other.call("thread/archive", {"threadId": thread.id})
    wire.mend()

    assert client.wait_for_method("turn/completed")["params"]["turn"]["id"] == turn["id"]
    client.wait_for_method("thread/archived")
