"""Several API processes and workers act as one server: events of one node reach the clients of every other."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.deployment import Deployment
from tests.support.event_stream import follow
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import (
    after_reply,
    check_order,
    command,
    is_delta,
    is_end,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)
from tests.support.wait import until

APPROVAL = "item/commandExecution/requestApproval"
PATCH = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
SCRIPT = (
    f"[[reason Hm.]][[say Now.]]{command('echo out; sleep 0.05; echo more')}[[patch {PATCH}]][[say n=40 delay_ms=5]]"
)


def test_clients_of_two_nodes_receive_the_same_bytes_of_each_turn(deployment: Deployment) -> None:
    clients = [deployment.connect(0), deployment.connect(1)]
    threads = [start_thread(clients[number % 2]) for number in range(6)]
    for client in clients:
        for thread_id in threads:
            client.request("thread/resume", {"threadId": thread_id})
    streams = [follow(deployment.urls[number % 2], thread_id) for number, thread_id in enumerate(threads)]

    turns = [start_turn(clients[number % 2], thread_id, SCRIPT) for number, thread_id in enumerate(threads)]
    for client in clients:
        for turn_id in turns:
            wait_for_end(client, turn_id)

    for thread_id, turn_id, stream in zip(threads, turns, streams, strict=True):
        stream.wait_for_name("turn/completed")
        seen = [
            [
                json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()
                for frame in of_thread(received, thread_id)
            ]
            for received in (clients[0].received, clients[1].received)
        ]
        assert seen[0] == seen[1] == [event.data for event in stream.events]
        completed = check_order(of_thread(clients[0].received, thread_id)).completed
        stored = stored_turn(clients[0], thread_id, turn_id)
        assert list(completed.values()) == stored["items"]
        assert stored["status"] == "completed"
        assert [item["status"] for item in stored["items"] if "status" in item] == ["completed", "completed"]


def test_a_reply_arrives_before_the_events_that_its_request_causes(deployment: Deployment) -> None:
    client = deployment.connect()
    threads = []

    for _ in range(10):
        request_id = client.send_request("thread/start")
        threads.append(client.result(request_id)["thread"]["id"])
        started = client.wait_for(
            lambda f: f.get("method") == "thread/started" and f["params"]["thread"]["id"] == threads[-1]
        )
        assert started in after_reply(client.received, request_id)

    turn_input = [{"type": "text", "text": "[[say ok]]"}]
    requests = [
        client.send_request("turn/start", {"threadId": thread_id, "input": turn_input}) for thread_id in threads
    ]
    for thread_id, request_id in zip(threads, requests, strict=True):
        wait_for_end(client, client.result(request_id)["turn"]["id"])
        assert len(of_thread(after_reply(client.received, request_id), thread_id)) == len(
            of_thread(client.received, thread_id)
        )


def test_an_approval_answered_on_one_node_is_resolved_on_both(deployment: Deployment) -> None:
    asker, other = deployment.connect(0), deployment.connect(1)
    thread = asker.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    other.request("thread/resume", {"threadId": thread["id"]})
    turn_id = start_turn(asker, thread["id"], command("echo ran >> probe") + "[[say fine]]")

    asked = [client.wait_for_method(APPROVAL) for client in (asker, other)]
    late = deployment.connect(0)
    late.request("thread/resume", {"threadId": thread["id"]})
    again = late.wait_for_method(APPROVAL)
    assert not (Path(thread["cwd"]) / "probe").exists()
    other.send({"id": asked[1]["id"], "result": {"decision": "accept"}})

    for client in (asker, other, late):
        client.wait_for(
            lambda f: f.get("method") == "serverRequest/resolved" and f["params"]["requestId"] == again["id"]
        )
        assert wait_for_end(client, turn_id)["status"] == "completed"
        assert client.methods().count(APPROVAL) == 1
    assert asked[0] == asked[1]
    assert {**again, "eventId": None} == {**asked[0], "eventId": None}
    assert (Path(thread["cwd"]) / "probe").read_text() == "ran\n"
    check_order(of_thread(asker.received, thread["id"]))


def test_a_declined_command_does_not_run_and_its_output_informs_the_model(deployment: Deployment) -> None:
    client = deployment.connect()
    thread = client.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    stream = follow(deployment.urls[1], thread["id"])
    turn_id = start_turn(client, thread["id"], command("echo ran >> probe") + "[[say oh]]")

    request_id = stream.wait_for_name(APPROVAL).frame["id"]
    deployment.http(1).call("serverRequest/respond", {"requestId": request_id, "result": {"decision": "decline"}})

    assert wait_for_end(client, turn_id)["status"] == "completed"
    assert stored_turn(client, thread["id"], turn_id)["items"][1]["status"] == "declined"
    assert not (Path(thread["cwd"]) / "probe").exists()
    assert "declined" in deployment.model.requests[-1].body["input"][-1]["output"]


def test_an_interrupt_on_another_node_cancels_the_model_stream(deployment: Deployment) -> None:
    first, second = deployment.connect(0), deployment.connect(1)
    thread_id = start_thread(first)
    turn_id = start_turn(first, thread_id, "[[say half a ]][[pause interrupt]][[say message]]")
    first.wait_for(lambda frame: is_delta(frame, "half"))

    second.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})

    deployment.model.wait_hung_up("interrupt")
    assert wait_for_end(first, turn_id)["status"] == "interrupted"
    assert [item["type"] for item in stored_turn(second, thread_id, turn_id)["items"]] == ["userMessage"]
    check_order(of_thread(first.received, thread_id))
    assert run_turn(first, thread_id, "[[say next]]")["status"] == "completed"


def test_an_interrupt_ends_the_whole_process_tree_of_a_command(deployment: Deployment) -> None:
    first, second = deployment.connect(0), deployment.connect(1)
    thread = first.request("thread/start")["thread"]
    ignores_sigterm = (
        "trap '' TERM; (setsid sh -c 'while :; do echo x >> beats; sleep 0.02; done' &) ; echo begun; sleep 60"
    )
    turn_id = start_turn(first, thread["id"], command(ignores_sigterm))
    first.wait_for(lambda frame: is_delta(frame, "begun"))
    beats = Path(thread["cwd"]) / "beats"
    until(beats.exists)

    second.request("turn/interrupt", {"threadId": thread["id"], "turnId": turn_id})

    assert wait_for_end(first, turn_id)["status"] == "interrupted"
    lines = beats.read_text()
    assert run_turn(first, thread["id"], command("sleep 0.2; echo later"))["status"] == "completed"
    assert beats.read_text() == lines
    outputs = [item["output"] for item in deployment.model.requests[-1].body["input"] if "output" in item]
    assert "interrupt" in outputs[0]
    check_order(of_thread(first.received, thread["id"]))


def test_input_from_another_node_interrupts_the_answer_and_is_read_in_the_same_turn(deployment: Deployment) -> None:
    first, second = deployment.connect(0), deployment.connect(1)
    thread_id = start_thread(first)
    turn_id = start_turn(first, thread_id, "[[say long ]][[pause steer]]")
    first.wait_for(lambda frame: is_delta(frame, "long"))

    assert start_turn(second, thread_id, "[[say short]]") == turn_id

    assert wait_for_end(first, turn_id)["status"] == "completed"
    items = stored_turn(second, thread_id, turn_id)["items"]
    assert [item["type"] for item in items] == ["userMessage", "userMessage", "agentMessage"]
    assert items[-1]["text"] == "short"
    assert sum(is_end(frame, turn_id) for frame in first.received) == 1
    check_order(of_thread(first.received, thread_id))


def test_a_client_that_does_not_follow_a_thread_gets_its_status_and_no_turn_events(deployment: Deployment) -> None:
    owner, other = deployment.connect(0), deployment.connect(1)
    thread_id = start_thread(owner)

    run_turn(owner, thread_id, "[[say ok]]")
    other.wait_for(lambda f: f.get("method") == "thread/status/changed" and _is_idle(f, thread_id))

    assert {frame["method"] for frame in of_thread(other.received, thread_id)} == {"thread/status/changed"}
    assert _started(other, thread_id)


def _is_idle(frame: dict[str, object], thread_id: str) -> bool:
    return frame["params"] == {"threadId": thread_id, "status": {"type": "idle"}}


def _started(client: ProtocolClient, thread_id: str) -> bool:
    started = [frame for frame in client.received if frame.get("method") == "thread/started"]
    return any(frame["params"]["thread"]["id"] == thread_id for frame in started)


def test_a_worker_that_takes_tasks_touches_its_ready_file(deployment: Deployment) -> None:
    (file, *_) = sorted(deployment.home.glob("worker-*.ready"))
    os.utime(file, (0, 0))

    until(lambda: file.stat().st_mtime > 0)
