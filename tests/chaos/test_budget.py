"""kill -9 of all workers while many turns spend one budget: the usage equals the tokens of all answers."""

from __future__ import annotations

from collections.abc import Callable

from shared.store.threads import Filter
from shared.store.usage import today_utc
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import start_thread, start_turn, wait_for_end
from tests.support.wait import until

TURNS = 50
CAP = 150_000  # allows four calls at once, because an answer of the tests' model may have 32,000 tokens
CALL_TOKENS = 2100  # that a model call uses
ANSWER = f"[[say n=10 delay_ms=50]][[usage in={CALL_TOKENS - 100} out=100]]"
SCRIPT = f"{ANSWER}[[run true]]{ANSWER}"
HELD = "[[pause {}]]" + SCRIPT  # its first call runs until the test lets it end
SECONDS = 120.0


def test_usage_equals_the_answers_after_a_kill_of_all_workers(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(workers=2)
    client = deployment.connect()

    for number in times:
        spent = deployment.store.usage.standing("local").day
        deployment.store.limits.change("local", {"tokens_per_day": spent + CAP})
        turns = [start_turn(client, start_thread(client), HELD.format(f"budget{number}"))]
        deployment.model.wait_reached(f"budget{number}", SECONDS)
        turns += [start_turn(client, start_thread(client), SCRIPT) for _ in range(TURNS - 1)]
        until(lambda: deployment.store.usage.standing("local").day > spent + CAP // 4, seconds=SECONDS)  # noqa: B023
        for worker in deployment.workers:
            worker.kill()
        assert deployment.store.usage.standing("local").reserved > 0, "no model call ran when the workers were killed"
        deployment.model.release(f"budget{number}")
        for worker in deployment.workers:
            deployment.start_worker(worker)

        check(deployment, client, turns, spent + CAP)


def check(deployment: Deployment, client: ProtocolClient, turns: list[str], cap: int) -> None:
    """Assert that each turn completed or ran out of tokens, nothing is reserved, and each answer was counted once."""
    ends = [wait_for_end(client, turn_id, SECONDS) for turn_id in turns]
    errors = [end["error"]["codexErrorInfo"] for end in ends if end["status"] != "completed"]
    assert set(errors) == {"usageLimitExceeded"}
    assert len(errors) < TURNS
    standing = deployment.store.usage.standing("local")
    assert standing.reserved == 0
    assert cap - CALL_TOKENS * 20 < standing.day <= cap
    today = today_utc()
    counted = [one.spent for one in deployment.store.usage.all_users_by_model(today, today)]
    assert {spent.model for spent in counted} == {"mock-model"}
    assert sum(spent.tokens for spent in counted) == standing.day
    page = deployment.store.threads.page(
        "local", Filter(), sort_key="created_at", descending=True, after=None, limit=10_000
    )
    answered = [thread.token_usage["total"]["totalTokens"] for thread in page if thread.token_usage]
    # A call without a complete answer counts by estimate, or not at all if the kill cut it off.
    unanswered = len(deployment.model.requests) - sum(answered) // CALL_TOKENS
    assert 0 <= standing.day - sum(answered) <= unanswered * CALL_TOKENS
