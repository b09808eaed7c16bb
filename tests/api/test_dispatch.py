"""Requests and replies on one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared import announcements
from tests.builders import House, claim_turn, end_turn, make_message, make_thread, make_turn, text_input

# What the terminal client sends: every optional member, as null (CLIENTS 1.1).
TUI_THREAD_START = dict.fromkeys(
    ("model", "modelProvider", "cwd", "approvalPolicy", "approvalsReviewer", "permissions", "serviceName",
     "baseInstructions", "developerInstructions", "personality", "environments", "threadSource", "dynamicTools")
) | {"sandbox": "read-only", "config": {}, "ephemeral": False, "historyMode": "paginated"}  # fmt: skip


def test_nothing_is_served_before_the_handshake(house: House) -> None:
    client = house.connect(initialized=False)

    assert client.error("thread/list", {}) == {"code": -32600, "message": "Not initialized"}
    assert "missing field `clientInfo`" in client.error("initialize", {})["message"]
    result = client.call("initialize", {"clientInfo": {"name": "a/b c", "version": "1", "title": None}})

    name, _, rest = result["userAgent"].partition("/")
    assert (name, rest.split()[0]) == ("threadhouse", "0.169.0")
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
def test_what_is_no_request_is_dropped_and_the_connection_stays(house: House, frame: Any) -> None:
    client = house.connect()
    before = len(client.frames)

    client.send(frame)

    client.call("account/read")
    assert len(client.frames) == before + 1


@pytest.mark.parametrize("request_id", [0, 7, "initialize", "9d1"])
def test_an_id_comes_back_as_it_was(house: House, request_id: Any) -> None:
    client = house.connect()

    client.send({"id": request_id, "method": "account/read", "params": {}, "jsonrpc": "2.0"})

    assert client.wait_for(lambda frame: frame.get("id") == request_id and "userId" in frame.get("result", {}))


def test_a_new_thread_is_told_after_its_reply_with_every_member(house: House) -> None:
    client, other = house.connect(), house.connect()

    result = client.call("thread/start", TUI_THREAD_START)

    started = client.wait_for_method("thread/started")["params"]["thread"]
    assert client.frames[-1]["method"] == "thread/started"
    assert started == result["thread"]
    assert other.wait_for_method("thread/started")["params"]["thread"]["id"] == started["id"]
    assert result["sandbox"] == {"type": "readOnly", "networkAccess": False}
    assert result["cwd"] == str(house.config.server.workspaces_dir / "local" / started["id"])
    assert not (house.config.server.workspaces_dir).exists()


def test_a_turn_is_rung_after_its_reply_and_its_events_follow_it(house: House) -> None:
    client = house.connect()
    thread_id = client.call("thread/start", {})["thread"]["id"]

    turn = client.call("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "hi"}]})["turn"]

    assert (turn["status"], turn["items"], turn["startedAt"]) == ("inProgress", [], None)
    assert house.rung == [turn["id"]]
    claim = claim_turn(house.store)
    announcements.announce(house.store, house.services.events, end_turn(house.store, claim))
    client.wait_for_method("turn/completed")
    assert client.methods()[-1] == "turn/completed"


def test_input_for_a_running_turn_steers_it(house: House) -> None:
    client = house.connect()
    thread = make_thread(house.store, house.config)
    turn = make_turn(house.store, thread)
    commands: Any = house.services.redis
    mailbox = commands.pubsub()
    mailbox.subscribe("mailbox")
    mailbox.get_message(timeout=1)

    result = client.call("turn/start", {"threadId": thread.id, "input": text_input("more")})

    assert result["turn"]["id"] == turn.id
    assert mailbox.get_message(timeout=1)["data"] == f"steer {turn.id}".encode()
    assert len(house.store.turns.unread(turn.id)) == 2
    assert house.rung == []


def test_the_same_client_message_again_changes_nothing(house: House) -> None:
    client = house.connect()
    thread = make_thread(house.store, house.config)
    params = {"threadId": thread.id, "input": text_input("once"), "clientUserMessageId": "m1"}

    first, second = client.call("turn/start", params), client.call("turn/start", params)

    turn_id = first["turn"]["id"]
    assert turn_id == second["turn"]["id"]
    assert len(house.store.turns.unread(turn_id)) == 1
    more = {**params, "expectedTurnId": turn_id, "clientUserMessageId": "m2"}
    assert client.call("turn/steer", more) == client.call("turn/steer", more) == {"turnId": turn_id}
    assert len(house.store.turns.unread(turn_id)) == 2


def test_interrupting_a_waiting_turn_ends_it_after_the_reply(house: House) -> None:
    client = house.connect()
    thread = make_thread(house.store, house.config)
    client.call("thread/resume", {"threadId": thread.id})
    turn = make_turn(house.store, thread)

    assert client.call("turn/interrupt", {"threadId": thread.id, "turnId": turn.id}) == {}

    ended = client.wait_for_method("turn/completed")
    assert ended["params"]["turn"]["status"] == "interrupted"
    assert client.methods()[-2:] == ["thread/status/changed", "turn/completed"]


def test_too_many_queued_turns_are_refused(open_house: Callable[..., House]) -> None:
    from shared.config import Limits

    house = open_house(limits=Limits(queued_turns=1))
    client = house.connect()
    first, second = make_thread(house.store, house.config), make_thread(house.store, house.config)
    client.call("turn/start", {"threadId": first.id, "input": []})

    error = client.error("turn/start", {"threadId": second.id, "input": []})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"


def test_the_first_answer_to_a_question_wins_and_everyone_hears_of_it(house: House) -> None:
    thread = make_thread(house.store, house.config)
    clients = [house.connect(), house.connect()]
    for client in clients:
        client.call("thread/resume", {"threadId": thread.id})
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    approval = house.store.turns.park(
        claim, "item/commandExecution/requestApproval", "i", params, [], expires_in_ms=60_000
    )
    house.publish(thread, *announcements.question_asked(approval))

    for client in clients:
        client.wait_for_method("item/commandExecution/requestApproval")
    clients[0].send({"id": approval.id, "result": {"decision": "accept"}})
    clients[1].send({"id": approval.id, "result": {"decision": "decline"}})

    for client in clients:
        resolved = client.wait_for_method("serverRequest/resolved")
        assert resolved["params"] == {"threadId": thread.id, "requestId": approval.id}
    stored = house.store.approvals.find(approval.id, "local")
    assert stored is not None
    assert stored.answer == {"decision": "accept"}
    assert house.rung == [claim.turn_id]


def test_somebody_elses_thread_and_question_are_like_unknown_ones(house: House) -> None:
    thread = make_thread(house.store, house.config, owner="owner")
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    approval = house.store.turns.park(
        claim, "item/commandExecution/requestApproval", "i", {"threadId": thread.id}, [], expires_in_ms=60_000
    )
    stranger = house.connect("stranger")

    stranger.send({"id": approval.id, "result": {"decision": "accept"}})

    stored = house.store.approvals.find(approval.id, "owner")
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


def test_a_thread_in_mid_turn_is_resumed_with_its_completed_items(house: House) -> None:
    thread = make_thread(house.store, house.config)
    turn = make_turn(house.store, thread)
    claim = claim_turn(house.store)
    done = make_message(house.store, claim, "one")
    make_message(house.store, claim, "still open", completed=False)
    client = house.connect()

    result = client.call("thread/resume", {"threadId": thread.id})
    without = client.call("thread/resume", {"threadId": thread.id, "excludeTurns": True})

    (shown,) = result["thread"]["turns"]
    assert (shown["id"], shown["status"]) == (turn.id, "inProgress")
    assert [item["id"] for item in shown["items"]] == [done.id]
    assert without["thread"]["turns"] == []
    assert result["turnsBackwardsCursor"] is not None


def test_turns_and_items_are_listed_a_page_at_a_time(house: House) -> None:
    thread = make_thread(house.store, house.config)
    ids = []
    for number in range(5):
        ids.append(make_turn(house.store, thread).id)
        claim = claim_turn(house.store)
        make_message(house.store, claim, f"answer {number}")
        end_turn(house.store, claim)
    client = house.connect()

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


def test_threads_are_listed_newest_first_with_a_cursor_that_stays_valid(house: House) -> None:
    client = house.connect()
    threads = [make_thread(house.store, house.config, materialized=True) for _ in range(3)]

    first = client.call("thread/list", {"limit": 2})
    make_thread(house.store, house.config, materialized=True)
    rest = client.call("thread/list", {"limit": 2, "cursor": first["nextCursor"]})
    newer = client.call("thread/list", {"cursor": first["backwardsCursor"], "sortDirection": "asc"})

    assert [row["id"] for row in first["data"] + rest["data"]] == [thread.id for thread in threads[::-1]]
    assert rest["nextCursor"] is None
    assert len(newer["data"]) == 1
    assert client.call("thread/list", {"sourceKinds": ["exec"]})["data"] == []
    assert client.call("thread/list", {"sectionId": "pinned"})["data"] == []
    assert len(client.call("thread/list", {"limit": 0})["data"]) == 1


def test_a_thread_is_archived_and_brought_back(house: House) -> None:
    client = house.connect()
    thread = make_thread(house.store, house.config, materialized=True)
    make_turn(house.store, thread)
    client.call("thread/resume", {"threadId": thread.id})

    client.call("thread/archive", {"threadId": thread.id})

    client.wait_for_method("thread/archived")
    assert client.methods()[-3:] == ["turn/completed", "thread/status/changed", "thread/archived"]
    assert client.call("thread/list")["data"] == []
    assert len(client.call("thread/list", {"archived": True})["data"]) == 1
    assert "is archived" in client.error("thread/resume", {"threadId": thread.id})["message"]
    assert client.call("thread/unarchive", {"threadId": thread.id})["thread"]["id"] == thread.id
    client.wait_for_method("thread/unarchived")


def test_a_deleted_thread_is_gone_and_a_worker_is_told_to_remove_the_rest(house: House) -> None:
    client, other = house.connect(), house.connect()
    thread = make_thread(house.store, house.config, materialized=True)
    client.call("thread/resume", {"threadId": thread.id})

    client.call("thread/delete", {"threadId": thread.id})

    client.wait_for_method("thread/deleted")
    other.wait_for_method("thread/deleted")
    assert client.error("thread/read", {"threadId": thread.id})["message"].startswith("thread not loaded")
    (erasure,) = client.call("erasure/list")["data"]
    assert (erasure["threadId"], erasure["receipt"], erasure["doneAtMs"]) == (thread.id, {"threads": 1}, None)
    assert house.rung == ["erasure"]


def test_settings_that_a_turn_overrides_are_told_once_they_change(house: House) -> None:
    client = house.connect()
    thread_id = client.call("thread/start", {})["thread"]["id"]
    mode = {"mode": "plan", "settings": {"model": "other", "reasoning_effort": None, "developer_instructions": None}}
    params = {"threadId": thread_id, "input": [], "model": "scripted", "collaborationMode": mode}

    client.call("turn/start", params)
    told = client.wait_for_method("thread/settings/updated")["params"]["threadSettings"]
    client.call("turn/start", params)
    client.call("account/read")

    assert (told["model"], told["collaborationMode"]) == ("other", mode)
    assert client.methods().count("thread/settings/updated") == 1


def test_title_threads_are_served_unless_the_operator_says_no(open_house: Callable[..., House]) -> None:
    config = {"features.shell_tool": False, "web_search": "disabled", "mcp_servers": {}, "tools.update_plan.enabled": 0}
    params = {"threadSource": "thread_title", "ephemeral": True, "config": config, "environments": []}

    served = open_house().connect().call("thread/start", params)
    refused = open_house(server={"titles": False}).connect().error("thread/start", params)

    assert (served["thread"]["threadSource"], served["thread"]["ephemeral"]) == ("thread_title", True)
    assert "titles" in refused["message"]


def test_users_with_keys_stay_in_their_own_workspaces_and_out_of_full_access(house: House) -> None:
    client = house.connect("user-1")
    own = house.config.server.workspaces_dir / "user-1"

    assert client.call("thread/start", {"cwd": f"{own}/x/"})["cwd"] == f"{own}/x"
    for params in (
        {"cwd": "/etc"},
        {"cwd": f"{own}-evil"},
        {"cwd": f"{own}/../user-2"},
        {"sandbox": "danger-full-access"},
        {"sandboxPolicy": {"type": "externalSandbox", "networkAccess": "enabled"}},
        {"sandboxPolicy": {"type": "workspaceWrite", "writableRoots": ["/etc"]}},
        {"sandboxPolicy": {"type": "workspaceWrite", "networkAccess": True}},
    ):
        assert client.error("thread/start", params)["code"] == -32602, params


@pytest.mark.parametrize("method", ["collaborationMode/list", "hooks/list", "app/list"])
def test_methods_without_effect_answer_with_or_without_params(house: House, method: str) -> None:
    client = house.connect()

    assert "result" in client.reply(method)
    assert "result" in client.reply(method, {"threadId": "x"})


def test_every_method_is_in_the_table_under_its_own_name() -> None:
    from api.methods import TABLE

    assert {name: method.NAME for name, method in TABLE.items()} == {name: name for name in TABLE}
