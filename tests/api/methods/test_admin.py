"""Methods of admins: what they do to other users and their turns, and that members are refused."""

from __future__ import annotations

import pytest

from shared.store.audit import Row
from tests.builders import Backend, Client, make_thread, make_turn

METHODS = ("admin/user/list", "admin/user/disable", "admin/user/enable", "admin/turn/interrupt")


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


@pytest.mark.parametrize("method", METHODS)
def test_a_member_is_refused_in_every_admin_method(backend: Backend, method: str) -> None:
    thread = make_thread(backend.store, backend.config, "ann")
    turn = make_turn(backend.store, thread)
    member = backend.connect("bob")

    error = member.error(method, {"threadId": thread.id, "userId": "ann"})

    assert error["message"].startswith("only admins may call this method")
    assert not backend.store.turns.get(turn.id, "ann").done
    assert audited(backend) == []
