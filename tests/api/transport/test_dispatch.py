"""Requests and replies on one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from api.delivery.close_codes import NORMAL, Closed
from api.requests.context import Context
from api.transport import dispatch
from shared.events import durable_events
from tests.builders import (
    Backend,
    claim_turn,
    end_turn,
    make_message,
    make_thread,
    make_turn,
    text_input,
    unread_inputs,
)

# The params of the terminal client: every optional member, as null (CLIENTS 1.1).
TUI_THREAD_START = dict.fromkeys(
    ("model", "modelProvider", "cwd", "approvalPolicy", "approvalsReviewer", "permissions", "serviceName",
     "baseInstructions", "developerInstructions", "personality", "environments", "threadSource", "dynamicTools")
) | {"sandbox": "read-only", "config": {}, "ephemeral": False, "historyMode": "paginated"}  # fmt: skip


def test_methods_are_refused_before_the_handshake(backend: Backend) -> None:
    client = backend.connect(initialized=False)

    assert client.error("thread/list", {}) == {"code": -32600, "message": "Not initialized"}
    assert "missing field `clientInfo`" in client.error("initialize", {})["message"]
    result = client.call("initialize", {"clientInfo": {"name": "a/b c", "version": "1", "title": None}})

    name, _, rest = result["userAgent"].partition("/")
    assert (name, rest.split()[0]) == ("threadhouse", "0.171.0")
    assert client.call("thread/list", {})["data"] == []


@pytest.mark.parametrize(
    "frame",
    [
        5,
        [],
        "text",
        {"method": "initialized"},
        {"method": "bogus/notification", "params": {}},
        {"id": None, "method": "thread/list", "params": {}},
        {"id": 1.5, "method": "thread/list", "params": {}},
        {"id": True, "method": "thread/list", "params": {}},
        {"id": 7, "method": 5},
        {"id": 999, "result": {"decision": "accept"}},
        {"id": 2**70, "result": {}},
        {"id": 999, "error": {"code": 1, "message": "no"}},
    ],
)
def test_frames_that_are_no_requests_are_dropped(backend: Backend, frame: Any) -> None:
    client = backend.connect()
    before = len(client.frames)

    client.send(frame)

    client.call("account/read")
    assert len(client.frames) == before + 1


@pytest.mark.parametrize(
    ("method", "params"), [("thread/search", {"searchTerm": "x"}), ("command/exec", {"command": ["true"]})]
)
def test_a_request_of_a_connection_that_closes_is_dropped_and_no_error_is_logged(
    backend: Backend, caplog: pytest.LogCaptureFixture, method: str, params: dict[str, Any]
) -> None:
    connection = backend.connect().connection
    connection.calls.close(Closed(NORMAL, "the client left"))
    ctx = Context(backend.services, connection.caller, connection, 1)

    with pytest.raises(Closed):
        dispatch.answer(ctx, connection, {"id": 1, "method": method, "params": params})

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("request_id", [0, 7, "initialize", "9d1"])
def test_a_reply_carries_the_id_of_its_request(backend: Backend, request_id: Any) -> None:
    client = backend.connect()

    client.send({"id": request_id, "method": "account/read", "params": {}, "jsonrpc": "2.0"})

    assert client.wait_for(lambda frame: frame.get("id") == request_id and "userId" in frame.get("result", {}))


def test_thread_started_follows_the_reply_with_every_member(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect()

    result = client.call("thread/start", TUI_THREAD_START)

    started = client.wait_for_method("thread/started")["params"]["thread"]
    assert client.frames[-1]["method"] == "thread/started"
    assert started == result["thread"]
    assert other.wait_for_method("thread/started")["params"]["thread"]["id"] == started["id"]
    assert result["sandbox"] == {"type": "readOnly", "networkAccess": False}
    assert result["cwd"] == str(backend.config.server.workspaces_dir / "local" / started["id"])
    assert not (backend.config.server.workspaces_dir).exists()


def test_a_turn_is_enqueued_after_its_reply_and_its_events_follow(backend: Backend) -> None:
    client = backend.connect()
    thread_id = client.call("thread/start", {})["thread"]["id"]

    turn = client.call("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "hi"}]})["turn"]

    assert (turn["status"], turn["items"], turn["startedAt"]) == ("inProgress", [], None)
    assert backend.enqueued == [turn["id"]]
    claim = claim_turn(backend.store)
    durable_events.publish_missing(backend.store, backend.services.events, end_turn(backend.store, claim))
    client.wait_for_method("turn/completed")
    assert client.methods()[-1] == "turn/completed"


def test_input_for_a_running_turn_steers_it(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config)
    turn = make_turn(backend.store, thread)
    commands: Any = backend.services.redis
    signals = commands.pubsub()
    signals.subscribe("turn-signals")
    signals.get_message(timeout=1)

    result = client.call("turn/start", {"threadId": thread.id, "input": text_input("more")})

    assert result["turn"]["id"] == turn.id
    assert signals.get_message(timeout=1)["data"] == f"steer {turn.id}".encode()
    assert len(unread_inputs(backend.store, turn.id)) == 2
    assert backend.enqueued == []


def test_a_repeated_client_message_id_starts_no_second_turn(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config)
    params = {"threadId": thread.id, "input": text_input("once"), "clientUserMessageId": "m1"}

    first, second = client.call("turn/start", params), client.call("turn/start", params)

    turn_id = first["turn"]["id"]
    assert turn_id == second["turn"]["id"]
    assert len(unread_inputs(backend.store, turn_id)) == 1
    more = {**params, "expectedTurnId": turn_id, "clientUserMessageId": "m2"}
    assert client.call("turn/steer", more) == client.call("turn/steer", more) == {"turnId": turn_id}
    assert len(unread_inputs(backend.store, turn_id)) == 2


def test_interrupt_ends_a_waiting_turn_after_the_reply(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config)
    client.call("thread/resume", {"threadId": thread.id})
    turn = make_turn(backend.store, thread)

    assert client.call("turn/interrupt", {"threadId": thread.id, "turnId": turn.id}) == {}

    ended = client.wait_for_method("turn/completed")
    assert ended["params"]["turn"]["status"] == "interrupted"
    assert client.methods()[-2:] == ["thread/status/changed", "turn/completed"]


def test_too_many_queued_turns_are_refused(open_backend: Callable[..., Backend]) -> None:
    from shared.config import Limits

    backend = open_backend(limits=Limits(queued_turns=1))
    client = backend.connect()
    first, second = make_thread(backend.store, backend.config), make_thread(backend.store, backend.config)
    client.call("turn/start", {"threadId": first.id, "input": []})

    error = client.error("turn/start", {"threadId": second.id, "input": []})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"


def test_the_first_answer_wins_and_every_client_sees_it_resolved(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    clients = [backend.connect(), backend.connect()]
    for client in clients:
        client.call("thread/resume", {"threadId": thread.id})
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    approval = backend.store.claims.park(
        claim, "item/commandExecution/requestApproval", "i", params, [], expires_in_ms=60_000
    )
    backend.publish(thread, *durable_events.approval_requested(approval))

    for client in clients:
        client.wait_for_method("item/commandExecution/requestApproval")
    clients[0].send({"id": approval.id, "result": {"decision": "accept"}})
    clients[1].send({"id": approval.id, "result": {"decision": "decline"}})

    for client in clients:
        resolved = client.wait_for_method("serverRequest/resolved")
        assert resolved["params"] == {"threadId": thread.id, "requestId": approval.id}
    stored = backend.store.approvals.find(approval.id, "local")
    assert stored is not None
    assert stored.answer == {"decision": "accept"}
    assert backend.enqueued == [claim.turn_id]


def test_an_answer_that_cannot_be_stored_is_reported_to_its_sender_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = make_thread(backend.store, backend.config)
    sender, other = backend.connect(), backend.connect()
    for client in (sender, other):
        client.call("thread/resume", {"threadId": thread.id})
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    method = "item/commandExecution/requestApproval"
    approval = backend.store.claims.park(claim, method, "i", params, [], expires_in_ms=60_000)
    assert approval is not None
    events = [*durable_events.turn_started(claim.turn), *durable_events.approval_requested(approval)]
    backend.publish(thread, *events)
    sender.wait_for_method(method)

    with monkeypatch.context() as outage:
        outage.setattr(type(backend.store.turns), "answer", fail_to_store)
        sender.send({"id": approval.id, "result": {"decision": "accept"}})

    reported = sender.wait_for_method("error")["params"]
    assert (reported["threadId"], reported["turnId"]) == (thread.id, claim.turn_id)
    assert reported["willRetry"] is True
    assert f"request {approval.id} was not stored" in reported["error"]["message"]
    sender.send({"id": approval.id, "result": {"decision": "accept"}})  # the request is still open
    for client in (sender, other):
        client.wait_for_method("serverRequest/resolved")
    assert "error" not in other.methods()


def fail_to_store(*_: Any, **__: Any) -> None:
    raise OperationalError("UPDATE approvals", None, Exception("the connection was cut"))


def test_threads_and_requests_of_other_users_are_not_found(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config, owner="owner")
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    approval = backend.store.claims.park(
        claim, "item/commandExecution/requestApproval", "i", {"threadId": thread.id}, [], expires_in_ms=60_000
    )
    stranger = backend.connect("stranger")

    stranger.send({"id": approval.id, "result": {"decision": "accept"}})

    stored = backend.store.approvals.find(approval.id, "owner")
    assert stored is not None
    assert stored.state == "pending"
    requests: dict[str, dict[str, Any]] = {
        "thread/read": {},
        "thread/resume": {},
        "thread/archive": {},
        "thread/delete": {},
        "thread/turns/list": {},
        "thread/items/list": {},
        "thread/settings/update": {},
        "thread/name/set": {"name": "x"},
        "turn/start": {"input": []},
        "turn/steer": {"input": [], "expectedTurnId": claim.turn_id},
        "turn/interrupt": {"turnId": claim.turn_id},
    }
    for method, params in requests.items():
        message = stranger.error(method, {"threadId": thread.id, **params})["message"]
        assert message.endswith(thread.id), method
    assert stranger.call("thread/list")["data"] == []
    assert stranger.call("thread/loaded/list")["data"] == []


def test_resume_during_a_turn_returns_its_completed_items(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    turn = make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    done = make_message(backend.store, claim, "one")
    make_message(backend.store, claim, "still open", completed=False)
    client = backend.connect()

    result = client.call("thread/resume", {"threadId": thread.id})
    without = client.call("thread/resume", {"threadId": thread.id, "excludeTurns": True})

    (shown,) = result["thread"]["turns"]
    assert (shown["id"], shown["status"]) == (turn.id, "inProgress")
    assert [item["id"] for item in shown["items"]] == [done.id]
    assert without["thread"]["turns"] == []
    assert result["turnsBackwardsCursor"] is not None


def test_turns_and_items_are_listed_page_by_page(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    ids = []
    for number in range(5):
        ids.append(make_turn(backend.store, thread).id)
        claim = claim_turn(backend.store)
        make_message(backend.store, claim, f"answer {number}")
        end_turn(backend.store, claim)
    client = backend.connect()

    def walk(method: str, **params: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = client.call(method, {"threadId": thread.id, "cursor": cursor, "limit": 2, **params})
            rows += page["data"]
            cursor = page["nextCursor"]
            if cursor is None:
                return rows

    assert [turn["id"] for turn in walk("thread/turns/list")] == ids[::-1]
    assert [turn["id"] for turn in walk("thread/turns/list", sortDirection="asc")] == ids
    assert [row["item"]["text"] for row in walk("thread/items/list")] == [f"answer {number}" for number in range(5)]
    newest = client.call("thread/resume", {"threadId": thread.id, "excludeTurns": True})
    page = client.call("thread/turns/list", {"threadId": thread.id, "cursor": newest["turnsBackwardsCursor"]})
    resumed = client.call("thread/resume", {"threadId": thread.id, "initialTurnsPage": {"limit": 2}})
    assert [turn["id"] for turn in resumed["initialTurnsPage"]["data"]] == ids[:-3:-1]
    assert resumed["initialTurnsPage"]["nextCursor"] == ids[-2]
    assert page["data"][0]["id"] == ids[-1]


def test_threads_are_listed_newest_first_with_a_cursor_that_stays_valid(backend: Backend) -> None:
    client = backend.connect()
    threads = [make_thread(backend.store, backend.config, materialized=True) for _ in range(3)]

    first = client.call("thread/list", {"limit": 2})
    make_thread(backend.store, backend.config, materialized=True)
    rest = client.call("thread/list", {"limit": 2, "cursor": first["nextCursor"]})
    newer = client.call("thread/list", {"cursor": first["backwardsCursor"], "sortDirection": "asc"})

    assert [row["id"] for row in first["data"] + rest["data"]] == [thread.id for thread in threads[::-1]]
    assert rest["nextCursor"] is None
    assert len(newer["data"]) == 1
    assert client.call("thread/list", {"sourceKinds": ["exec"]})["data"] == []
    assert client.call("thread/list", {"sectionId": "pinned"})["data"] == []
    assert len(client.call("thread/list", {"limit": 0})["data"]) == 1


def test_a_thread_is_archived_and_unarchived(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config, materialized=True)
    make_turn(backend.store, thread)
    client.call("thread/resume", {"threadId": thread.id})

    client.call("thread/archive", {"threadId": thread.id})

    client.wait_for_method("thread/archived")
    assert client.methods()[-3:] == ["turn/completed", "thread/status/changed", "thread/archived"]
    assert client.call("thread/list")["data"] == []
    assert len(client.call("thread/list", {"archived": True})["data"]) == 1
    assert "is archived" in client.error("thread/resume", {"threadId": thread.id})["message"]
    assert client.call("thread/unarchive", {"threadId": thread.id})["thread"]["id"] == thread.id
    client.wait_for_method("thread/unarchived")


def test_deleting_a_thread_enqueues_the_erasure_of_its_files(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect()
    thread = make_thread(backend.store, backend.config, materialized=True)
    client.call("thread/resume", {"threadId": thread.id})

    client.call("thread/delete", {"threadId": thread.id})

    client.wait_for_method("thread/deleted")
    other.wait_for_method("thread/deleted")
    assert client.error("thread/read", {"threadId": thread.id})["message"].startswith("thread not loaded")
    (erasure,) = client.call("erasure/list")["data"]
    assert (erasure["threadId"], erasure["receipt"], erasure["doneAtMs"]) == (thread.id, {"threads": 1}, None)
    assert backend.enqueued == ["erasure"]


def test_settings_that_a_turn_changes_are_published_once(backend: Backend) -> None:
    client = backend.connect()
    thread_id = client.call("thread/start", {})["thread"]["id"]
    mode = {"mode": "plan", "settings": {"model": "other", "reasoning_effort": None, "developer_instructions": None}}
    params = {"threadId": thread_id, "input": [], "model": "scripted", "collaborationMode": mode}

    client.call("turn/start", params)
    settings = client.wait_for_method("thread/settings/updated")["params"]["threadSettings"]
    client.call("turn/start", params)
    client.call("account/read")

    assert (settings["model"], settings["collaborationMode"]) == ("other", mode)
    assert client.methods().count("thread/settings/updated") == 1


def test_title_threads_are_refused_with_titles_false(open_backend: Callable[..., Backend]) -> None:
    config = {"features.shell_tool": False, "web_search": "disabled", "mcp_servers": {}, "tools.update_plan.enabled": 0}
    params = {"threadSource": "thread_title", "ephemeral": True, "config": config, "environments": []}

    served = open_backend().connect().call("thread/start", params)
    refused = open_backend(server={"titles": False}).connect().error("thread/start", params)

    assert (served["thread"]["threadSource"], served["thread"]["ephemeral"]) == ("thread_title", True)
    assert "titles" in refused["message"]


def test_an_mcp_server_that_a_user_may_not_bring_is_left_out_with_a_warning(backend: Backend) -> None:
    client = backend.connect("ann")

    client.call("thread/start", {"config": {"mcp_servers": {"files": {"command": "npx", "env": {"K": "secret-1"}}}}})

    message = client.wait_for_method("warning")["params"]["message"]
    assert "mcp_servers.files: its command is not in [server] user_mcp_commands" in message
    assert "secret-1" not in str(client.frames)


def test_users_with_keys_get_no_foreign_folders_and_no_full_access(backend: Backend) -> None:
    client = backend.connect("user-1")
    own = backend.config.server.workspaces_dir / "user-1"

    started = client.call("thread/start")
    inner = {"threadId": started["thread"]["id"], "cwd": f"{started['cwd']}/x/"}
    client.call("thread/settings/update", inner)
    assert client.wait_for_method("thread/settings/updated")["params"]["threadSettings"]["cwd"] == f"{started['cwd']}/x"
    for params in (
        {"cwd": f"{own}/x"},
        {"cwd": "/etc"},
        {"cwd": f"{own}-evil"},
        {"cwd": f"{own}/../user-2"},
        {"sandbox": "danger-full-access"},
        {"sandboxPolicy": {"type": "externalSandbox", "networkAccess": "enabled"}},
        {"sandboxPolicy": {"type": "workspaceWrite", "writableRoots": ["/etc"]}},
        {"sandboxPolicy": {"type": "workspaceWrite", "networkAccess": True}},
    ):
        assert client.error("thread/start", params)["code"] == -32602, params


@pytest.mark.parametrize("method", ["collaborationMode/list", "app/list"])
def test_methods_without_effect_answer_with_or_without_params(backend: Backend, method: str) -> None:
    client = backend.connect()

    assert "result" in client.reply(method)
    assert "result" in client.reply(method, {"threadId": "x"})


def test_every_method_is_in_the_table_under_its_own_name() -> None:
    from api.methods import TABLE

    assert {name: method.NAME for name, method in TABLE.items()} == {name: name for name in TABLE}
