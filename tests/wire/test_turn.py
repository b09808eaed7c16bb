"""A turn over each transport: published items equal the stored ones, in the order of PROTOCOL section 7."""

from __future__ import annotations

from tests.support import order
from tests.support.deployment import Deployment
from tests.support.event_stream import EventStream, begin_turn, follow
from tests.support.turns import (
    after_reply,
    check_order,
    command,
    deltas,
    events,
    is_delta,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)

SCRIPT = "[[reason Let me see.]][[say I look.]]" + command("echo one; echo two >> probe") + "[[say All is well.]]"
EXPECTED = [
    "thread/status/changed active",
    "turn/started",
    "item/started userMessage",
    "item/completed userMessage",
    "item/started reasoning",
    "item/reasoning/summaryPartAdded",
    "item/reasoning/summaryTextDelta",
    "item/completed reasoning",
    "item/started agentMessage",
    "item/agentMessage/delta",
    "item/completed agentMessage",
    "item/started commandExecution",
    "item/commandExecution/outputDelta",
    "item/completed commandExecution",
    "thread/tokenUsage/updated",
    "item/started agentMessage",
    "item/agentMessage/delta",
    "item/completed agentMessage",
    "thread/tokenUsage/updated",
    "thread/status/changed idle",
    "turn/completed",
]


def test_a_turn_over_the_websocket_publishes_its_events_in_order(deployment: Deployment) -> None:
    client = deployment.connect()
    thread = client.request("thread/start")["thread"]

    turn = run_turn(client, thread["id"], SCRIPT)

    frames = of_thread(client.received, thread["id"])
    assert order.methods(events(frames)) == EXPECTED
    seen = check_order(frames)
    stored = stored_turn(client, thread["id"], turn["id"])
    assert list(seen.completed.values()) == stored["items"]
    assert [item["type"] for item in stored["items"]] == [
        "userMessage",
        "reasoning",
        "agentMessage",
        "commandExecution",
        "agentMessage",
    ]
    assert stored["items"][3]["aggregatedOutput"] == "one\n"
    assert stored["status"] == turn["status"] == "completed"
    assert turn["items"] == stored["items"][-1:]
    with open(f"{thread['cwd']}/probe") as probe:
        assert probe.read() == "two\n"


def test_a_turn_over_http_is_one_stream_from_result_to_completion(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)

    stream = begin_turn(deployment.urls[0], thread_id, SCRIPT)

    sent = stream.wait_for_end()
    assert sent[0].name == "result"
    turn = sent[0].frame["result"]["turn"]
    assert (turn["status"], turn["items"]) == ("inProgress", [])
    assert order.methods(events(stream.frames)) == EXPECTED
    assert all(event.name == event.frame["method"] for event in sent[1:])
    assert list(check_order(stream.frames).completed.values()) == stored_turn(client, thread_id, turn["id"])["items"]


def test_thread_start_over_http_streams_the_events_of_the_new_thread(deployment: Deployment) -> None:
    stream = EventStream(deployment.urls[0], "/v2/thread/start", {})
    thread_id = stream.wait_for_name("result").frame["result"]["thread"]["id"]

    deployment.http(1).call("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "[[say hello]]"}]})

    frames = [event.frame for event in stream.wait_for_end()[1:]]
    assert of_thread(frames, thread_id)[-1]["params"]["turn"]["items"][0]["text"] == "hello"
    check_order(of_thread(frames, thread_id))


def test_an_interrupted_stream_resumes_after_its_last_event(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)
    stream = begin_turn(deployment.urls[0], thread_id, "[[say one two three ]][[pause cut]][[say four five six]]")
    stream.wait_for(lambda event: is_delta(event.frame, "three"))
    turn_id = stream.events[0].frame["result"]["turn"]["id"]

    stream.cut()
    before = [event.frame for event in stream.wait_for_end()[1:]]
    deployment.model.release("cut")
    wait_for_end(client, turn_id)
    rest = follow(deployment.urls[1], thread_id, after=stream.last_id)
    rest.wait_for_name("turn/completed")

    message = stored_turn(client, thread_id, turn_id)["items"][-1]
    assert message["text"] == "one two three four five six"
    assert deltas(before, message["id"]) + deltas(rest.frames, message["id"]) == message["text"]
    check_order(before + rest.frames)


def test_a_stream_resumed_after_any_event_sends_exactly_the_rest_of_the_turn(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)
    whole = begin_turn(deployment.urls[0], thread_id, SCRIPT).wait_for_end()[1:]

    for index, event in enumerate(whole[:-1]):
        rest = follow(deployment.urls[index % 2], thread_id, after=event.id)
        rest.wait_for_name("turn/completed")
        rest.cut()

        assert rest.events == whole[index + 1 :]


def test_resuming_during_a_message_sends_the_text_so_far_and_then_the_rest(deployment: Deployment) -> None:
    first, second = deployment.connect(0), deployment.connect(1)
    thread_id = start_thread(first)
    turn_id = start_turn(first, thread_id, "[[say one two three ]][[pause resume]][[say four five six]]")
    first.wait_for(lambda frame: is_delta(frame, "three"))

    request_id = second.send_request("thread/resume", {"threadId": thread_id})
    resumed = second.result(request_id)
    second.wait_for(is_delta)
    so_far = of_thread(after_reply(second.received, request_id), thread_id)
    deployment.model.release("resume")
    wait_for_end(second, turn_id)

    assert [item["type"] for item in resumed["thread"]["turns"][0]["items"]] == ["userMessage"]
    assert resumed["thread"]["turns"][0]["status"] == "inProgress"
    assert order.methods(events(so_far)) == ["item/started agentMessage", "item/agentMessage/delta"]
    assert so_far[-1]["params"]["delta"] == "one two three "
    message = stored_turn(first, thread_id, turn_id)["items"][-1]
    frames = of_thread(second.received, thread_id)
    assert deltas(frames, message["id"]) == message["text"] == "one two three four five six"
    assert [f["method"] for f in frames].count("turn/completed") == 1


def test_resuming_during_a_command_sends_the_output_so_far_and_then_the_rest(deployment: Deployment) -> None:
    first, second = deployment.connect(0), deployment.connect(1)
    thread = first.request("thread/start")["thread"]
    turn_id = start_turn(first, thread["id"], command("mkfifo gate; echo before; cat gate; echo after") + "[[say ok]]")
    first.wait_for(lambda frame: is_delta(frame, "before"))

    second.request("thread/resume", {"threadId": thread["id"]})
    second.wait_for(lambda frame: is_delta(frame, "before"))
    with open(f"{thread['cwd']}/gate", "w") as gate:
        gate.write("between\n")
    wait_for_end(second, turn_id)

    ran = stored_turn(first, thread["id"], turn_id)["items"][1]
    assert ran["aggregatedOutput"] == "before\nbetween\nafter\n"
    assert deltas(of_thread(second.received, thread["id"]), ran["id"]) == ran["aggregatedOutput"]


def test_a_websocket_client_resumes_after_its_last_event(deployment: Deployment) -> None:
    whole, first, second = deployment.connect(0), deployment.connect(0), deployment.connect(1)
    thread_id = start_thread(whole)
    first.request("thread/resume", {"threadId": thread_id})
    turn_id = start_turn(whole, thread_id, "[[say one two three ]][[pause cursor]][[say four five six]]")
    last_id = first.wait_for(lambda frame: is_delta(frame, "three"))["eventId"]
    before = of_thread(first.received, thread_id)

    first.drop()
    deployment.model.release("cursor")
    wait_for_end(whole, turn_id)
    request_id = second.send_request("thread/resume", {"threadId": thread_id, "afterEventId": last_id})
    wait_for_end(second, turn_id)

    after = [f for f in of_thread(after_reply(second.received, request_id), thread_id) if "eventId" in f]
    assert before + after == of_thread(whole.received, thread_id)
