"""What admins may do to what belongs to others, and nobody else."""

from __future__ import annotations

import pytest

from shared.store.audit import Row
from tests.builders import Client, House, make_thread, make_turn

METHODS = ("admin/user/list", "admin/user/disable", "admin/user/enable", "admin/turn/interrupt")


@pytest.fixture
def admin(house: House) -> Client:
    house.store.users.add("root", "admin")
    return house.connect(house.store.users.by_name("root").id, role="admin")


def audited(house: House) -> list[Row]:
    return house.store.audit.all_users_page()


def test_an_admin_locks_somebody_out_with_what_they_have_begun_and_lets_them_in_again(
    house: House, admin: Client
) -> None:
    ann = house.store.users.add("ann")
    thread = make_thread(house.store, house.config, ann.id)
    turn = make_turn(house.store, thread)
    listed = {one["name"]: one for one in admin.call("admin/user/list", {})["data"]}
    assert (listed["ann"]["activeTurns"], listed["root"]["activeTurns"]) == (1, 0)

    disabled = admin.call("admin/user/disable", {"userId": ann.id, "stopTurns": True})["user"]

    assert disabled["disabledAtMs"] is not None
    assert house.store.turns.get(turn.id, ann.id).status == "interrupted"
    assert admin.call("admin/user/enable", {"userId": ann.id})["user"]["disabledAtMs"] is None
    acts = [(row.action, row.subject_id) for row in audited(house)]
    assert acts == [
        ("admin/user/list", None),
        ("admin/user/disable", ann.id),
        ("admin/user/disable", turn.id),
        ("admin/user/enable", ann.id),
    ]


def test_an_admin_stops_one_turn(house: House, admin: Client) -> None:
    thread = make_thread(house.store, house.config, "ann")
    turn = make_turn(house.store, thread)

    assert admin.call("admin/turn/interrupt", {"threadId": thread.id}) == {"interrupted": True}
    assert admin.call("admin/turn/interrupt", {"threadId": thread.id}) == {"interrupted": False}

    assert house.store.turns.get(turn.id, "ann").status == "interrupted"
    assert [(row.action, row.thread_id) for row in audited(house)] == [("admin/turn/interrupt", thread.id)]


@pytest.mark.parametrize("method", METHODS)
def test_a_member_is_refused_whatever_is_named(house: House, method: str) -> None:
    thread = make_thread(house.store, house.config, "ann")
    turn = make_turn(house.store, thread)
    member = house.connect("bob")

    error = member.error(method, {"threadId": thread.id, "userId": "ann"})

    assert error["message"].startswith("this is for admins")
    assert not house.store.turns.get(turn.id, "ann").done
    assert audited(house) == []
