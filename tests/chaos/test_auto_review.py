"""A worker is killed while a reviewer judges: the next one gets the verdict, and the command runs once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.deployment import PATIENT, Deployment
from tests.support.turns import check_order, of_thread, start_turn, wait_for_end
from tests.support.wait import until

ALLOW = '{"risk_level":"low","user_authorization":"high","outcome":"allow","rationale":"fine"}'


def test_a_worker_is_killed_in_the_middle_of_a_review(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(workers=1, server=PATIENT)
    (worker,) = deployment.workers
    call = {"cmd": "echo ran >> probe", "login": False, "sandbox_permissions": "require_escalated"}
    script = f"[[tool exec_command {json.dumps(call)}]][[say Then.]]"
    client = deployment.connect()

    for number in times:
        deployment.model.verdicts[:] = [f"[[pause review-{number}]][[say {ALLOW}]]"]
        reviews = len(deployment.model.reviews())
        thread = client.request("thread/start", {"approvalPolicy": "on-request", "approvalsReviewer": "auto_review"})[
            "thread"
        ]
        turn_id = start_turn(client, thread["id"], script)
        until(lambda: len(deployment.model.reviews()) > reviews)  # noqa: B023

        worker.kill()
        deployment.start_worker(worker)
        until(lambda: len(deployment.model.reviews()) > reviews + 1)  # noqa: B023
        deployment.model.release(f"review-{number}")

        assert wait_for_end(client, turn_id)["status"] == "completed"
        frames = of_thread(client.received, thread["id"])
        check_order(frames)
        methods = [frame["method"] for frame in frames]
        for method in ("item/autoApprovalReview/started", "guardianWarning", "item/autoApprovalReview/completed"):
            assert methods.count(method) == 1
        assert (Path(thread["cwd"]) / "probe").read_text() == "ran\n"
