"""Methods of admins that manage users and their keys, and list what all users did: pages, bad input, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.clock import now_ms
from shared.config.webhooks import Webhook
from shared.store import Store
from shared.store.audit import AuditEntry
from tests.builders import Backend, Client, claim_turn, end_turn, make_thread, make_turn

URL = "https://hooks.example/in"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
UNKNOWN = "01a20430-11aa-7f00-9c41-6b7d2e9f0a33"


def connect_admin(backend: Backend) -> Client:
    return backend.connect(backend.store.users.add("root", "admin").id, role="admin")


@pytest.fixture
def admin(backend: Backend) -> Client:
    return connect_admin(backend)


def audited(backend: Backend) -> list[tuple[str, str | None, str | None]]:
    return [(row.action, row.subject_id, row.detail) for row in backend.store.audit.all_users_page()]


# -- users and keys


def test_an_admin_adds_a_user_whose_key_is_shown_once_and_revoked(backend: Backend, admin: Client) -> None:
    user = admin.call("admin/user/add", {"name": "ann"})["user"]
    assert (user["name"], user["role"], user["disabledAtMs"]) == ("ann", "member", None)
    of_ann = {"userId": user["userId"]}

    secret = admin.call("admin/key/create", {**of_ann, "label": "laptop", "expiresAtMs": now_ms() + 60_000})["key"]

    found = backend.store.users.find_by_key(secret)
    assert found is not None
    assert (found.user.name, found.name) == ("ann", "laptop")
    listed = admin.call("admin/key/list", of_ann)
    assert secret not in str(listed)
    (key,) = listed["data"]
    assert (key["keyId"], key["label"], key["revokedAtMs"], key["lastUsedAtMs"]) == (found.id, "laptop", None, None)

    for _ in range(2):  # repeating it changes nothing
        assert admin.call("admin/key/revoke", {"keyId": found.id}) == {}
    assert backend.store.users.find_by_key(secret) is None
    assert admin.call("admin/key/list", of_ann)["data"][0]["revokedAtMs"] is not None
    looked = ("admin/key/list", user["userId"], None)
    assert audited(backend) == [
        ("admin/user/add", user["userId"], None),
        ("admin/key/create", found.id, None),
        looked,
        ("admin/key/revoke", found.id, None),
        looked,
    ]


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("admin/user/add", {"name": "<img src=x>"}, "expected a name of 1 to 64 ASCII letters"),
        ("admin/user/add", {"name": ""}, "expected a name of 1 to 64 ASCII letters"),
        ("admin/user/add", {"name": "root"}, "user 'root' exists already"),
        ("admin/user/add", {"name": "bob", "role": "king"}, "unknown variant `king`"),
        ("admin/key/create", {"userId": UNKNOWN}, f"user not found: {UNKNOWN}"),
        ("admin/key/create", {"userId": "ROOT", "label": ""}, "a key's label has 1 to 100 printable characters"),
        (
            "admin/key/create",
            {"userId": "ROOT", "label": "\x1b[31m"},
            "a key's label has 1 to 100 printable characters",
        ),
        ("admin/key/create", {"userId": "ROOT", "expiresAtMs": 1}, "expiresAtMs: expected a time in the future"),
        ("admin/key/revoke", {"keyId": "nothing"}, "no key nothing"),
        ("admin/key/list", {"userId": UNKNOWN}, f"user not found: {UNKNOWN}"),
        ("admin/key/list", {"userId": "ROOT", "cursor": "soon"}, "invalid cursor: soon"),
        ("admin/userLimits/read", {"userId": UNKNOWN}, f"user not found: {UNKNOWN}"),
        ("admin/userLimits/set", {"userId": UNKNOWN, "limits": {"threads": 1}}, f"user not found: {UNKNOWN}"),
        ("admin/userLimits/set", {"userId": "ROOT", "limits": {"owner": 1}}, "unknown limit owner"),
        ("admin/userLimits/set", {"userId": "ROOT", "limits": {"threads": -1}}, "expected an integer of 0 or more"),
        ("admin/userLimits/set", {"userId": "ROOT", "limits": {"weight": 0}}, "expected an integer of 1 or more"),
        ("admin/userLimits/set", {"userId": "ROOT", "limits": {"threads": 2, "weight": 10**9}}, "at most 1000000"),
        ("admin/userLimits/set", {"userId": "ROOT", "limits": {"threads": "many"}}, "expected an integer"),
        ("admin/feedback/retry", {"feedbackId": UNKNOWN}, f"feedback not found: {UNKNOWN}"),
        ("admin/feedback/list", {"status": "lost"}, "unknown variant `lost`"),
        ("admin/feedback/list", {"cursor": "soon"}, "invalid cursor: soon"),
        ("admin/webhook/list", {"state": "begun"}, "unknown variant `begun`"),
        ("admin/webhook/list", {"cursor": "soon"}, "invalid cursor: soon"),
        ("admin/webhook/replay", {"deliveryId": UNKNOWN}, "no delivery to a webhook of config.toml has this id"),
        ("admin/audit/list", {"cursor": "soon"}, "invalid cursor: soon"),
        ("admin/audit/list", {"cursor": "9" * 40}, "invalid cursor: 999"),
        ("admin/audit/list", {"limit": 0}, "limit"),
        ("admin/audit/list", {"actions": "turn/start"}, "unknown field `actions`"),
        ("admin/endedTurn/list", {"cursor": "soon"}, "invalid cursor: soon"),
        ("admin/endedTurn/list", {"status": "queued"}, "unknown variant `queued`"),
        ("admin/erasure/list", {"cursor": "soon"}, "invalid cursor: soon"),
        ("admin/erasure/list", {"limit": 101}, "limit"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    backend: Backend, admin: Client, method: str, params: dict[str, Any], message: str
) -> None:
    root = backend.store.users.get("root").id
    given = {name: root if value == "ROOT" else value for name, value in params.items()}

    assert message in admin.error(method, given)["message"]

    assert audited(backend) == []
    assert [account.user.name for account in backend.store.users.accounts()] == ["root"]
    assert (backend.store.users.keys(), backend.store.limits.own(root)) == ([], {})


def test_the_first_user_is_not_added_over_the_network(backend: Backend) -> None:
    local = backend.connect("local", role="admin")

    assert "the first user is added on the server's host" in local.error("admin/user/add", {"name": "ann"})["message"]

    assert not backend.store.users.exist()


def test_an_admin_sees_and_changes_the_limits_of_a_user(backend: Backend, admin: Client) -> None:
    ann = backend.store.users.add("ann").id

    def limits(answer: dict[str, Any]) -> dict[str, tuple[int | None, int]]:
        return {one["name"]: (one["own"], one["default"]) for one in answer["data"]}

    before = limits(admin.call("admin/userLimits/read", {"userId": ann}))
    assert (before["weight"], before["queued_turns"]) == ((None, 1), (None, 1000))

    changed = admin.call("admin/userLimits/set", {"userId": ann, "limits": {"threads": 5, "weight": 3}})
    assert limits(changed) == {**before, "threads": (5, 0), "weight": (3, 1)}
    assert backend.store.limits.of(ann, backend.config.limits).threads == 5
    admin.call("admin/userLimits/set", {"userId": ann, "limits": {"threads": None}})
    assert limits(admin.call("admin/userLimits/read", {"userId": ann})) == {**before, "weight": (3, 1)}

    assert [one for one in audited(backend) if one[0].endswith("set")] == [
        ("admin/userLimits/set", ann, "threads=5,weight=3"),
        ("admin/userLimits/set", ann, "threads=default"),
    ]


# -- lists, a page at a time


def report(store: Store, owner: str, reason: str) -> str:
    values: dict[str, Any] = {"thread_id": None, "classification": "bug", "tags": {}, "include_logs": False}
    return store.feedback.create(owner, reason=reason, per_day=0, **values).id


def deliver(store: Store) -> None:
    with store.database.write() as connection:
        store.outbox.add(connection, "turn.failed", {"turnId": "t"})


def erase(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config, "ann", preview="kept for its receipt")
    backend.store.threads.delete(thread.id, "ann")


@pytest.fixture
def hooked(open_backend: Callable[..., Backend]) -> Backend:
    """A backend whose configuration has a webhook."""
    return open_backend(webhooks=(Webhook(URL, SECRET),))


def test_each_list_gives_every_entry_once_newest_first(hooked: Backend) -> None:
    admin, ann = connect_admin(hooked), hooked.store.users.add("ann").id
    for number in range(5):
        hooked.store.users.create_key("ann", f"key {number}")
        report(hooked.store, ann, f"report {number}")
        deliver(hooked.store)
        erase(hooked)
        hooked.store.audit.append(AuditEntry(ann, "turn/start", "http"), subject_id=f"turn {number}")

    for method, params, id_of in (
        ("admin/key/list", {"userId": ann}, "keyId"),
        ("admin/feedback/list", {"status": "received"}, "id"),
        ("admin/webhook/list", {"state": "pending"}, "deliveryId"),
        ("admin/erasure/list", {}, "id"),
        ("admin/audit/list", {"userId": ann}, "subjectId"),
    ):
        seen, cursor = [], None
        while page := admin.call(method, {**params, "limit": 2, "cursor": cursor}):
            seen.append([one[id_of] for one in page["data"]])
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert [len(ids) for ids in seen] == [2, 2, 1], method
        every = [one for ids in seen for one in ids]
        assert every == sorted(set(every), reverse=True), method


def test_an_admin_lists_the_turns_that_have_ended_without_their_content(backend: Backend, admin: Client) -> None:
    ended = []
    for text, status in (("first", "completed"), ("second", "failed"), ("third", "failed")):
        make_turn(backend.store, make_thread(backend.store, backend.config, "ann", name="secret"), text)
        ended.append(end_turn(backend.store, claim_turn(backend.store), status))
    make_turn(backend.store, make_thread(backend.store, backend.config, "ann"))

    page = admin.call("admin/endedTurn/list", {"limit": 2})
    assert [(one["turnId"], one["status"]) for one in page["data"]] == [
        (ended[2].id, "failed"),
        (ended[1].id, "failed"),
    ]
    assert page["data"][0]["endedAtMs"] == ended[2].completed_at_ms
    last = admin.call("admin/endedTurn/list", {"limit": 2, "cursor": page["nextCursor"]})
    assert [one["turnId"] for one in last["data"]] == [ended[0].id]
    assert last["nextCursor"] is None
    assert len(admin.call("admin/endedTurn/list", {"status": "failed", "userId": "ann"})["data"]) == 2
    assert admin.call("admin/endedTurn/list", {"userId": "bob"})["data"] == []

    assert not any(word in str([page, last]) for word in ("secret", "first", "second", "third"))
    assert audited(backend)[-2:] == [("admin/endedTurn/list", "ann", None), ("admin/endedTurn/list", "bob", None)]


def test_an_admin_reads_reports_and_retries_one_that_failed(backend: Backend, admin: Client) -> None:
    ann = backend.store.users.add("ann").id
    failed = report(backend.store, ann, "<script>it stops</script>")
    claimed = backend.store.feedback.claim(lease_ms=1000)
    assert claimed is not None
    backend.store.feedback.retry_or_fail(claimed, "the sink is full", None)

    (shown,) = admin.call("admin/feedback/list", {"status": "failed"})["data"]
    assert (shown["id"], shown["userId"], shown["reason"], shown["error"], shown["attempts"]) == (
        failed,
        ann,
        "<script>it stops</script>",
        "the sink is full",
        1,
    )
    assert admin.call("admin/feedback/list", {"status": "delivered"})["data"] == []
    assert admin.call("admin/feedback/retry", {"feedbackId": failed}) == {}

    assert backend.store.feedback.get(failed, ann).status == "received"
    assert failed in backend.enqueued
    assert "only failed ones are retried" in admin.error("admin/feedback/retry", {"feedbackId": failed})["message"]


def test_an_admin_replays_a_delivery_that_was_given_up(hooked: Backend) -> None:
    admin = connect_admin(hooked)
    deliver(hooked.store)
    claimed = hooked.store.outbox.claim(lease_ms=30_000, at_once=1)
    assert claimed is not None
    replay = {"deliveryId": claimed.id}
    assert "is being sent now" in admin.error("admin/webhook/replay", replay)["message"]
    hooked.store.outbox.settle(claimed, "HTTP 500")

    listed = admin.call("admin/webhook/list", {"state": "dead"})
    assert listed["webhooks"] == [URL]
    (dead,) = listed["data"]
    assert (dead["deliveryId"], dead["url"], dead["error"], dead["dueAtMs"]) == (claimed.id, URL, "HTTP 500", None)
    assert SECRET not in str(listed)
    assert admin.call("admin/webhook/replay", replay) == {}

    again = hooked.store.outbox.claim(lease_ms=1000, at_once=1)
    assert again is not None
    assert (again.id, again.attempts) == (claimed.id, 1)
    assert audited(hooked) == [("admin/webhook/list", None, None), ("admin/webhook/replay", claimed.id, None)]


def test_the_audit_log_is_filtered_and_says_who_looked(backend: Backend, admin: Client) -> None:
    thread = make_thread(backend.store, backend.config, "ann")
    for owner, action in (("ann", "turn/start"), ("bob", "turn/start"), ("ann", "thread/archive")):
        backend.store.audit.append(AuditEntry(owner, action, "http", "192.0.2.7"), thread_id=thread.id)

    def found(**params: str) -> list[tuple[str, str]]:
        return [(one["userId"], one["action"]) for one in admin.call("admin/audit/list", params)["data"]]

    assert found(userId="ann") == [("ann", "thread/archive"), ("ann", "turn/start")]
    assert found(action="turn/start") == [("bob", "turn/start"), ("ann", "turn/start")]
    assert found(threadId=thread.id, userId="bob") == [("bob", "turn/start")]
    root = backend.store.users.get("root").id
    assert found(userId=root) == [(root, "admin/audit/list")] * 3, "each look is an entry"
