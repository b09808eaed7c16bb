"""Methods of admins: what they do to other users and their turns, and that members are refused."""

from __future__ import annotations

import pytest

from api.methods import TABLE
from shared import alerts
from shared.store import usage
from shared.store.audit import Row
from shared.store.usage import Spent
from shared.store.workers import Worker
from tests.builders import Backend, Client, make_thread, make_turn

METHODS = sorted(name for name in TABLE if name.startswith("admin/"))
WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)


@pytest.fixture
def admin(backend: Backend) -> Client:
    backend.store.users.add("root", "admin")
    return backend.connect(backend.store.users.get("root").id, role="admin")


def audited(backend: Backend) -> list[Row]:
    return backend.store.audit.all_users_page()


def test_an_admin_disables_a_user_and_their_turns_and_enables_the_user_again(backend: Backend, admin: Client) -> None:
    ann = backend.store.users.add("ann")
    thread = make_thread(backend.store, backend.config, ann.id)
    turn = make_turn(backend.store, thread)
    listed = {one["name"]: one for one in admin.call("admin/user/list", {})["data"]}
    assert (listed["ann"]["activeTurns"], listed["root"]["activeTurns"]) == (1, 0)

    disabled = admin.call("admin/user/disable", {"userId": ann.id, "stopTurns": True})["user"]

    assert disabled["disabledAtMs"] is not None
    assert backend.store.turns.get(turn.id, ann.id).status == "interrupted"
    assert admin.call("admin/user/enable", {"userId": ann.id})["user"]["disabledAtMs"] is None
    acts = [(row.action, row.subject_id) for row in audited(backend)]
    assert acts == [
        ("admin/user/list", None),
        ("admin/user/disable", ann.id),
        ("admin/user/disable", turn.id),
        ("admin/user/enable", ann.id),
    ]


def test_an_admin_interrupts_a_turn(backend: Backend, admin: Client) -> None:
    thread = make_thread(backend.store, backend.config, "ann")
    turn = make_turn(backend.store, thread)

    assert admin.call("admin/turn/interrupt", {"threadId": thread.id}) == {"interrupted": True}
    assert admin.call("admin/turn/interrupt", {"threadId": thread.id}) == {"interrupted": False}

    assert backend.store.turns.get(turn.id, "ann").status == "interrupted"
    assert [(row.action, row.thread_id) for row in audited(backend)] == [("admin/turn/interrupt", thread.id)]


def test_an_admin_sees_the_workers_and_why_each_turn_waits_and_moves_one(backend: Backend, admin: Client) -> None:
    thread = make_thread(backend.store, backend.config, "ann")
    turn = make_turn(backend.store, thread)
    (waiting,) = admin.call("admin/turn/list", {})["data"]
    assert (waiting["turnId"], waiting["state"], waiting["cause"]) == (turn.id, "queued", "noWorker")
    assert admin.call("admin/turn/list", {"state": "running"})["data"] == []

    backend.store.workers.report(WORKER)
    assert len(backend.store.claims.claim([f"{WORKER.name}:x"], lease_ms=30_000, turns_at_once=0)) == 1
    (worker,) = admin.call("admin/worker/list", {})["data"]
    assert (worker["name"], worker["state"], worker["turns"]) == (WORKER.name, "ready", 1)
    assert admin.call("admin/turn/list", {"worker": "host:1"})["data"][0]["worker"] == WORKER.name
    assert admin.call("admin/turn/requeue", {"turnId": turn.id}) == {"requeued": True}
    assert admin.call("admin/turn/requeue", {"turnId": turn.id}) == {"requeued": False}

    read = admin.call("admin/turn/read", {"turnId": turn.id})
    assert (read["status"], read["waits"]["cause"]) == ("inProgress", "claim")
    assert [moment["what"] for moment in read["timeline"]] == ["queued", "claimed for the first time"]
    assert admin.error("admin/turn/read", {"turnId": "nothing"})["message"] == "turn not found: nothing"
    assert [(row.action, row.subject_id) for row in audited(backend)] == [
        *[("admin/turn/list", None)] * 3,
        ("admin/turn/requeue", turn.id),
        ("admin/turn/read", turn.id),
    ]


def test_an_admin_sees_the_load_and_the_queues_at_a_glance(backend: Backend, admin: Client) -> None:
    for owner in ("ann", "ann", "bob"):
        make_turn(backend.store, make_thread(backend.store, backend.config, owner))
    backend.store.workers.report(WORKER)
    for name in ("x", "y"):
        assert len(backend.store.claims.claim([f"{WORKER.name}:{name}"], lease_ms=30_000, turns_at_once=0)) == 1

    seen = admin.call("admin/overview/read", {})
    assert (seen["workers"]["ready"], seen["slots"], seen["newTurns"]) == (1, 2, 3)
    assert seen["turns"] == {"queued": 1, "running": 2, "parked": 0}
    assert [(one["state"], one["cause"], one["count"]) for one in seen["causes"]] == [
        ("queued", "queue", 1),
        ("running", "model", 2),
    ]
    assert [user["userId"] for user in seen["users"]] == ["ann", "bob"]
    queues = admin.call("admin/queue/read", {})["data"]
    assert [one["queue"] for one in queues] == [one["queue"] for one in seen["queues"]]
    (turns,) = (one for one in queues if one["queue"] == "turns")
    assert (turns["workers"], turns["cause"], turns["count"]) == (1, "queue", 1)
    assert "add workers" in turns["why"]
    assert audited(backend) == [], "a console asks every few seconds"


def test_an_admin_reads_what_users_spent(backend: Backend, admin: Client) -> None:
    with backend.store.database.write() as connection:
        usage.add(
            connection, [("ann", Spent("m", 30, input=20, output=10)), ("ann", Spent("m", 3)), ("bob", Spent("n", 5))]
        )

    read = admin.call("admin/usage/read", {})
    assert read["toDay"] == usage.today_utc()
    assert [(one["userId"], one["model"], one["tokens"]) for one in read["data"]] == [("ann", "m", 33), ("bob", "n", 5)]
    assert (read["data"][0]["inputTokens"], read["data"][0]["cost"], read["data"][0]["unpricedTokens"]) == (
        20,
        None,
        33,
    )
    (total,) = admin.call("admin/usage/read", {"groupBy": [], "userId": "bob"})["data"]
    assert (total["day"], total["userId"], total["model"], total["tokens"]) == (None, None, None, 5)
    assert admin.error("admin/usage/read", {"fromDay": "soon"})["message"].startswith("from, to: expected days")
    assert [(row.action, row.subject_id) for row in audited(backend)] == [
        ("admin/usage/read", None),
        ("admin/usage/read", "bob"),
    ]


def test_an_admin_sees_the_alerts_of_the_day(backend: Backend, admin: Client) -> None:
    assert admin.call("admin/alerts/list", {}) == {"watchedAtMs": None, "data": []}
    backend.store.alerts.add(alerts.LEASES_LOST, "A worker was lost.")
    backend.store.alerts.add("OfALaterRelease", "")
    backend.store.alerts.note({}, for_ms={}, stays_ms={alerts.LEASES_LOST: 60_000}, unwatched="")

    read = admin.call("admin/alerts/list", {})

    (shown,) = read["data"]
    assert (shown["name"], shown["severity"], shown["untilMs"]) == ("ThreadhouseLeasesLost", "warning", None)
    assert shown["doc"] == "docs/OPERATIONS.md#threadhouseleaseslost"
    assert 0 <= read["watchedAtMs"] - shown["sinceMs"] < 60_000
    assert audited(backend) == [], "a console asks every few seconds"


@pytest.mark.parametrize("method", METHODS)
def test_a_member_is_refused_in_every_admin_method(backend: Backend, method: str) -> None:
    thread = make_thread(backend.store, backend.config, "ann")
    turn = make_turn(backend.store, thread)
    member = backend.connect("bob")

    known = {"threadId": thread.id, "turnId": turn.id, "userId": "ann"}
    error = member.error(method, {name: known.get(name, value) for name, value in TABLE[method].EXAMPLE.params.items()})

    assert error["message"].startswith("only admins may call this method")
    assert not backend.store.turns.get(turn.id, "ann").done
    assert audited(backend) == []
