"""The same requests to `codex app-server` 0.171 and to our server: where both shall behave alike, they are compared."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import originals
from tests.support.contract import RECORDINGS
from tests.support.deployment import Deployment, free_port
from tests.support.model_server import ModelServer
from tests.support.originals import CODEX_171
from tests.support.protocol_client import ProtocolClient, RpcError, connect
from tests.support.wait import until

SIDES = ("original", "ours")


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model of the original."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def original(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of `codex app-server`."""
    originals.require(CODEX_171, "node")
    home, port = tmp_path_factory.mktemp("original"), free_port()
    originals.write_config(home, model_url=model.base_url)
    command = [str(CODEX_171), "app-server", "--listen", f"ws://127.0.0.1:{port}"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=originals.environ(home), cwd=home, stdout=log, stderr=log)
    try:
        until(lambda: b"listening on" in (home / "log").read_bytes())
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Which server a test asks."""
    name: str = request.param
    return name


@pytest.fixture
def model_of_side(side: str, request: pytest.FixtureRequest) -> ModelServer:
    if side == "original":
        found: ModelServer = request.getfixturevalue("model")
        return found
    return request.getfixturevalue("deployment").model  # type: ignore[no-any-return]


@pytest.fixture
def client(side: str, request: pytest.FixtureRequest) -> Iterator[ProtocolClient]:
    url = request.getfixturevalue("original") if side == "original" else request.getfixturevalue("deployment").urls[0]
    connected = connect(url.replace("http", "ws", 1))
    if side == "original":
        RECORDINGS.remove(connected.recording)  # our own description of results is not about it
    connected.initialize(experimentalApi=True)
    yield connected
    connected.close()


def start(client: ProtocolClient, *texts: str, **params: Any) -> str:
    """Start a thread and run a turn for each text."""
    thread_id: str = client.request("thread/start", params)["thread"]["id"]
    for text in texts:
        turn(client, thread_id, text)
    return thread_id


def turn(client: ProtocolClient, thread_id: str, text: str) -> dict[str, Any]:
    before = len(client.received)
    turn_input = [{"type": "text", "text": text, "text_elements": []}]
    client.request("turn/start", {"threadId": thread_id, "input": turn_input})
    ended: dict[str, Any] = client.wait_for_method("turn/completed", after=before)["params"]["turn"]
    return ended


def error(client: ProtocolClient, method: str, **params: Any) -> str:
    with pytest.raises(RpcError) as caught:
        client.request(method, params)
    return caught.value.message


def test_messages_are_searched_with_snippets(client: ProtocolClient) -> None:
    long = "a " * 100 + "walrus" + " b" * 100
    first, second = start(client, long), start(client, "one\n\n  WALRUS   two\tthere  ", "[[say nothing]]")

    page = client.request("thread/search", {"searchTerm": " walrus "})

    assert [row["thread"]["id"] for row in page["data"]] == [second, first]
    snippets = [row["snippet"] for row in page["data"]]
    assert snippets == ["one WALRUS two there", f"... {('a ' * 25)[1:].strip()} walrus{' b' * 48} ..."]
    assert page["nextCursor"] is None
    assert client.request("thread/search/stream", {"searchTerm": "walrus"})["data"] == page["data"]
    for term in ("one  walrus", "walrus%", "WALRUS\ntwo"):
        assert client.request("thread/search", {"searchTerm": term})["data"] == []
    assert error(client, "thread/search", searchTerm=" ") == "thread/search requires a non-empty searchTerm"
    assert "searchTerm exceeds 65536 UTF-8 bytes" in error(client, "thread/search/stream", searchTerm="x" * 65_537)


def test_a_long_search_sends_partial_answers(client: ProtocolClient) -> None:
    made = [start(client, f"[[say otter {number}]]") for number in range(70)]

    client.send({"id": "abc", "method": "thread/search/stream", "params": {"searchTerm": "OTTER", "limit": 60}})
    page = client.result("abc")

    partials = [frame["params"] for frame in client.notifications if frame["method"] == "thread/search/partial"]
    assert {partial["requestId"] for partial in partials} <= {"abc"}  # on a busy machine the original sends none
    assert {row["thread"]["id"] for partial in partials for row in partial["data"]} <= set(made)
    assert [row["thread"]["id"] for row in page["data"]] == made[:9:-1]
    assert page["nextCursor"] is not None
    assert client.request("thread/search/cancel", {"requestId": 12345}) == {}
    assert client.request("thread/search/stream/cancel", {"requestId": "abc"}) == {}


def test_a_list_may_be_limited_to_some_threads(client: ProtocolClient) -> None:
    one, two = start(client, "[[say one]]"), start(client, "[[say two]]")

    def listed(**params: Any) -> list[str]:
        return [row["id"] for row in client.request("thread/list", params)["data"]]

    assert listed(includedThreadIds=[one, two]) == [two, one]
    assert listed(includedThreadIds=[]) == []
    assert listed(includedThreadIds=[one, two], excludedThreadIds=[two]) == [one]
    assert listed(includedThreadIds=[one], cwd="/nowhere") == []
    error(client, "thread/list", includedThreadIds=["bad"])
    error(client, "thread/list", includedThreadIds=[one] * 101)


def shown(turns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(turn["status"], [item["type"] for item in turn["items"]]) for turn in turns]


def usage_after(
    client: ProtocolClient, method: str, thread_id: str, **params: Any
) -> tuple[Any, list[tuple[int, int]]]:
    """Call a method that opens a thread. Return (its result, the usages after it: index of the turn, total tokens)."""
    before = len(client.received)
    result = client.request(method, {"threadId": thread_id, **params})
    opened = result["thread"]["id"]
    turns = client.request("thread/read", {"threadId": opened, "includeTurns": True})["thread"]["turns"]
    ids = [turn["id"] for turn in turns]
    frames = [frame["params"] for frame in client.received[before:] if frame.get("method") == USAGE]
    totals = [(ids.index(one["turnId"]), one["tokenUsage"]["total"]["totalTokens"]) for one in frames]
    return result, totals


USAGE = "thread/tokenUsage/updated"


def test_a_fork_has_the_usage_of_the_turns_that_it_keeps(client: ProtocolClient) -> None:
    thread_id = start(client, "[[say one]]", "[[say two]]", "[[say three]]")
    ids = [
        turn["id"]
        for turn in client.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"]
    ]

    def totals(**params: Any) -> list[tuple[int, int]]:
        return usage_after(client, "thread/fork", thread_id, **params)[1]

    assert totals() == [(2, 360)]
    assert totals(lastTurnId=ids[1]) == [(1, 240)]
    assert totals(beforeTurnId=ids[1]) == [(0, 120)]
    assert totals(beforeTurnId=ids[0]) == []
    assert totals(excludeTurns=True) == []
    assert usage_after(client, "thread/resume", thread_id)[1] == [(2, 360)]
    fork = usage_after(client, "thread/fork", thread_id, lastTurnId=ids[0])[0]["thread"]["id"]
    assert usage_after(client, "thread/resume", fork)[1] == [(0, 120)]
    turn(client, fork, "[[say four]]")
    assert usage_after(client, "thread/resume", fork)[1] == [(1, 240)]


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        ("[[run until [ -e {} ]; do sleep 0.1; done]] [[say Over.]]", ["userMessage"]),
        (
            "[[say Let me see.]] [[run true]] [[say half]] [[pause {}]]",
            ["userMessage", "agentMessage", "commandExecution"],
        ),
    ],
)
def test_a_fork_of_a_running_turn_has_it_as_interrupted(
    client: ProtocolClient, side: str, model_of_side: ModelServer, tmp_path: Path, script: str, kept: list[str]
) -> None:
    name = f"fork-{side}-{len(kept)}"
    goes_on = tmp_path / "goes-on"
    thread_id = start(client, "[[say one]]", sandbox="danger-full-access", approvalPolicy="never")
    text = script.format(name if "pause" in script else goes_on)
    begun = client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": text}]})
    running = begun["turn"]["id"]
    if "pause" in script:
        model_of_side.wait_reached(name)
    else:
        client.wait_for(lambda frame: frame.get("params", {}).get("item", {}).get("type") == "commandExecution")

    forked = client.request("thread/fork", {"threadId": thread_id})["thread"]

    assert (forked["status"], forked["preview"]) == ({"type": "idle"}, "[[say one]]")
    assert shown(forked["turns"]) == [("completed", ["userMessage", "agentMessage"]), ("interrupted", kept)]
    interrupted = forked["turns"][1]
    assert (interrupted["error"], interrupted["completedAt"], interrupted["durationMs"]) == (None, None, None)
    assert interrupted["items"][0]["content"][0]["text"] == text
    refused = error(client, "thread/fork", threadId=thread_id, lastTurnId=running)
    assert refused == f"lastTurnId '{running}' identifies an in-progress turn"
    before = client.request("thread/fork", {"threadId": thread_id, "beforeTurnId": running})["thread"]
    assert shown(before["turns"]) == shown(forked["turns"])[:1]

    assert turn(client, forked["id"], "[[say In the fork.]]")["status"] == "completed"
    sent = [item for item in model_of_side.requests[-1].body["input"] if item["type"] == "function_call_output"]
    assert [item["output"] for item in sent] == ["aborted"] if kept == ["userMessage"] else len(sent) == 1

    goes_on.touch()
    model_of_side.release(name)
    client.wait_for(lambda frame: frame.get("method") == "turn/completed" and frame["params"]["turn"]["id"] == running)
    again = client.request("thread/read", {"threadId": forked["id"], "includeTurns": True})["thread"]["turns"]
    assert shown(again)[1] == ("interrupted", kept)
    whole = client.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"]
    assert whole[1]["status"] == "completed"
