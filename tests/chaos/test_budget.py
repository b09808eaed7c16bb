"""kill -9 of all workers while many turns spend one budget: afterwards the sums agree."""

from __future__ import annotations

from collections.abc import Callable

from shared.store.threads import Filter
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import start_thread, start_turn, wait_for_end
from tests.support.wait import until

TURNS = 50
CAP = 150_000  # room for four calls at once, as the model of the tests may answer with 32,000 tokens
EACH = 2100  # tokens that a call takes
ANSWER = f"[[say n=10 delay_ms=50]][[usage in={EACH - 100} out=100]]"
SCRIPT = f"{ANSWER}[[run true]]{ANSWER}"
SECONDS = 60.0


def test_after_a_kill_of_all_workers_what_was_spent_agrees_with_what_was_answered(
    deploy: Callable[..., Deployment], times: range
) -> None:
    deployment = deploy(workers=2)
    client = deployment.connect()

    for _ in times:
        spent = deployment.store.usage.standing("local").day
        deployment.store.limits.change("local", {"tokens_per_day": spent + CAP})
        turns = [start_turn(client, start_thread(client), SCRIPT) for _ in range(TURNS)]
        until(lambda: is_under_way(deployment, spent + CAP // 4), seconds=SECONDS)  # noqa: B023
        for worker in deployment.workers:
            worker.kill()
        assert deployment.store.usage.standing("local").reserved > 0, "the kill hit no call of the model"
        for worker in deployment.workers:
            deployment.start_worker(worker)

        check(deployment, client, turns, spent + CAP)


def is_under_way(deployment: Deployment, tokens: int) -> bool:
    """Whether that many are spent, and the model answers now."""
    standing = deployment.store.usage.standing("local")
    return standing.day > tokens and standing.reserved > 0


def check(deployment: Deployment, client: ProtocolClient, turns: list[str], cap: int) -> None:
    """All turns ended, as answered or out of tokens; nothing is reserved, and every answer was counted once."""
    ends = [wait_for_end(client, turn_id, SECONDS) for turn_id in turns]
    out = [end["error"]["codexErrorInfo"] for end in ends if end["status"] != "completed"]
    assert set(out) == {"usageLimitExceeded"}
    assert len(out) < TURNS
    standing = deployment.store.usage.standing("local")
    assert standing.reserved == 0
    assert cap - EACH * 20 < standing.day <= cap
    page = deployment.store.threads.page(
        "local", Filter(), sort_key="created_at", descending=True, after=None, limit=10_000
    )
    answered = [thread.token_usage["total"]["totalTokens"] for thread in page if thread.token_usage]
    # Calls that a message or the kill cut off have no answer: the first count by estimate, the others not at all.
    unanswered = len(deployment.model.requests) - sum(answered) // EACH
    assert 0 <= standing.day - sum(answered) <= unanswered * EACH
