"""thread/approveGuardianDeniedAction with several users; its story is in tests/wire/test_auto_review.py."""

from __future__ import annotations

from typing import Any

import pytest

from shared.ids import new_id
from tests.builders import Backend, claim_turn, end_turn, make_thread, make_turn

ACTION = {"type": "command", "source": "unifiedExec", "command": "make install", "cwd": "/src"}


@pytest.fixture
def denied(backend: Backend) -> dict[str, Any]:
    """The params that lift a denial in a thread of Ann."""
    thread = make_thread(backend.store, backend.config, "ann")
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    item_id, review_id = new_id(), new_id()
    params = {"reviewId": review_id, "targetItemId": item_id, "startedAtMs": 1, "action": ACTION}
    backend.store.claims.record_review(claim, item_id, params, {"decision": "decline"})
    end_turn(backend.store, claim)
    return {"threadId": thread.id, "event": {"id": review_id, "target_item_id": item_id}}


def test_the_owner_lifts_a_denial(backend: Backend, denied: dict[str, Any]) -> None:
    assert backend.connect("ann").call("thread/approveGuardianDeniedAction", denied) == {}


def test_the_thread_of_another_user_is_like_none(backend: Backend, denied: dict[str, Any]) -> None:
    client = backend.connect("bob")
    own = client.call("thread/start", {})["thread"]["id"]

    of_ann = client.error("thread/approveGuardianDeniedAction", denied)
    unknown = client.error("thread/approveGuardianDeniedAction", {**denied, "threadId": (none := new_id())})
    from_own = client.error("thread/approveGuardianDeniedAction", {**denied, "threadId": own})

    assert of_ann["message"].replace(denied["threadId"], "ID") == unknown["message"].replace(none, "ID")
    assert "no review with this id" in from_own["message"]


@pytest.mark.parametrize("event", [{}, {"id": 5, "target_item_id": 5}, {"target_item_id": "../x"}, {"action": []}])
def test_an_event_of_another_shape_is_refused(backend: Backend, denied: dict[str, Any], event: dict[str, Any]) -> None:
    error = backend.connect("ann").error("thread/approveGuardianDeniedAction", {**denied, "event": event})

    assert error["code"] in (-32600, -32602)
