"""Token budgets, as a turn meets them: room before a model call, what it took after it, the end when there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared import mailbox
from shared.config import Limits
from shared.store.threads import Thread
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_compaction import begin_compaction
from tests.workers.builders import Bench
from workers.agent import budget
from workers.models.chunks import Prompt
from workers.tasks import run_turn
from workers.workspace import workspace_for

ANSWER = 32_000  # of a model that nothing is known of
SMALL = Limits(tokens_per_day=100_000)


def used(bench: Bench, owner: str = "local") -> tuple[int, int]:
    """Tokens spent today, and reserved."""
    standing = bench.workers[0].store.usage.standing(owner)
    return standing.day, standing.reserved


def of(bench: Bench, owner: str) -> Thread:
    """A thread of a user, in its own workspace."""
    services, thread = bench.workers[0], bench.thread(owner)
    cwd = workspace_for(services.config.server.workspaces_dir, owner, thread.id)
    return services.store.threads.change_settings(thread.id, owner, {"cwd": str(cwd)})


def told(bench: Bench, thread: Thread, method: str) -> list[dict[str, Any]]:
    return [params for name, params in bench.events(thread) if name == method]


def spend(tokens: int) -> str:
    return f"[[say ok]][[usage in={tokens} out=0]]"


def test_every_answer_counts_once_for_its_user(bench: Bench) -> None:
    bench.say(of(bench, "ann"), "[[usage in=300 out=20]][[run true]][[say ok]][[usage in=500 out=7]]")
    bench.say(of(bench, "bob"), spend(11))

    assert used(bench, "ann") == (827, 0)
    assert used(bench, "bob") == (11, 0)


def test_without_a_budget_the_database_is_asked_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.workers[0].store, "usage", None)

    assert bench.say(bench.thread(), "[[run true]][[say ok]]").status == "completed"


def test_room_is_reserved_while_the_model_answers(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    bench.begin(bench.thread(), "[[say a]][[pause here]][[usage in=90 out=10]]")
    running = bench.start_run()
    bench.model.wait_reached("here")

    spent, reserved = used(bench)
    assert spent == 0
    assert ANSWER < reserved < ANSWER + 10_000
    bench.model.release("here")
    running.join()

    assert used(bench) == (100, 0)


def test_a_turn_that_runs_out_fails_cleanly_and_says_until_when(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()

    turn = bench.say(thread, "[[say first]][[usage in=99000 out=0]][[run true]][[say never]]")

    assert turn.status == "failed"
    assert turn.error is not None
    assert turn.error["codexErrorInfo"] == "usageLimitExceeded"
    assert "99000 of 100000 tokens are spent" in turn.error["message"]
    assert turn.error["message"].endswith("00:00 UTC.")
    order.check(bench.events(thread))
    assert [item["type"] for item in bench.shown(thread)] == ["userMessage", "agentMessage", "commandExecution"]
    assert len(bench.model.requests) == 1
    assert bench.say(thread, "again").status == "failed"
    assert [item["type"] for item in bench.shown(thread)][-1] == "userMessage"
    assert used(bench) == (99_000, 0)


def test_a_budget_of_ones_own_counts_before_the_default_from_the_next_step_on(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    store = bench.workers[0].store
    store.limits.change("ann", {"tokens_per_day": 0})
    store.limits.change("bob", {"tokens_per_month": 5})

    assert bench.say(of(bench, "ann"), spend(500_000)).status == "completed"
    assert bench.say(of(bench, "ann"), "more").status == "completed"
    failed = bench.say(of(bench, "bob"), "hello")

    assert failed.error is not None
    assert "this month's token budget" in failed.error["message"]


def test_the_last_answer_may_be_as_long_as_there_is_room(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()
    bench.say(thread, spend(80_000))

    bench.say(thread, "[[say short]][[usage in=100 out=10]]")

    asked = bench.model.requests[-1].body["max_output_tokens"]
    assert 10_000 < asked < 20_000
    assert "max_output_tokens" not in bench.model.requests[0].body
    failed = bench.say(thread, "[[say long]][[incomplete max_output_tokens]]")
    assert failed.error is not None
    assert failed.error["codexErrorInfo"] == "usageLimitExceeded"


def test_calls_wait_for_what_others_have_reserved_and_do_not_need(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=60_000))
    first, second = bench.thread(), bench.thread()
    bench.begin(first, "[[say a]][[pause here]][[usage in=1000 out=0]]")
    one = bench.start_run()
    bench.model.wait_reached("here")

    turn = bench.begin(second, spend(1000))
    other = bench.start_run(bench.worker())
    until(lambda: told(bench, second, "account/rateLimits/updated"))
    assert len(bench.model.requests) == 1
    bench.model.release("here")
    one.join()
    other.join()

    assert bench.turn(turn).status == "completed"
    assert used(bench) == (2000, 0)


def test_who_waits_for_room_hears_an_interrupt(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=60_000))
    first, second = bench.thread(), bench.thread()
    bench.begin(first, "[[say a]][[pause here]]")
    one = bench.start_run()
    bench.model.wait_reached("here")
    turn = bench.begin(second, "hello")
    worker = bench.worker()
    other = bench.start_run(worker)
    until(lambda: told(bench, second, "account/rateLimits/updated"))

    worker.store.turns.interrupt(second.id, "local", turn.id)
    mailbox.announce(worker.redis, mailbox.INTERRUPT, turn.id)
    other.join()

    assert bench.turn(turn).status == "interrupted"
    bench.model.release("here")
    one.join()


def test_an_answer_that_breaks_off_counts_by_estimate(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.say(bench.thread(), f"[[say {'word ' * 400}]][[drop times=1]][[say ok]][[usage in=70 out=5]]")

    spent, reserved = used(bench)
    assert reserved == 0
    assert 75 + 500 < spent < 10_000


def test_a_call_that_never_began_to_answer_costs_nothing(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.say(bench.thread(), "[[status 500 times=1]][[say ok]][[usage in=70 out=5]]")

    assert used(bench) == (75, 0)


def test_a_server_that_does_not_count_is_counted_by_estimate(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.say(bench.thread(), "[[say ok]][[usage in=0 out=0]]")

    spent, reserved = used(bench)
    assert 300 < spent < 10_000
    assert reserved == 0


def test_a_compaction_counts_and_ends_cleanly_when_there_is_no_room(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()
    bench.say(thread, spend(1000))
    begin_compaction(bench, thread)
    bench.run()
    after = used(bench)
    assert after == (1120, 0)
    bench.say(thread, spend(98_500))

    turn = begin_compaction(bench, thread)
    bench.run()

    ended = bench.turn(turn)
    assert ended.error is not None
    assert (ended.status, ended.error["codexErrorInfo"]) == ("failed", "usageLimitExceeded")
    order.check(bench.events(thread))


def test_the_worker_that_dies_with_a_reservation_gives_it_back(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    turn = bench.begin(bench.thread(), "[[say a]][[pause here]][[usage in=90 out=10]]")
    bench.start_run()
    bench.model.wait_reached("here")
    assert used(bench)[1] > ANSWER

    other = bench.worker()
    bench.lose(turn, other)
    assert used(bench)[1] == 0
    bench.model.release("here")
    run_turn.run(other)

    assert bench.turn(turn).status == "completed"
    assert used(bench) == (100, 0)


# -- what clients are told


def test_clients_are_told_where_their_user_stands_when_it_changes(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=100_000, tokens_per_month=1_000_000))
    thread = bench.thread()

    bench.say(thread, spend(30_000))

    windows = [params["rateLimits"] for params in told(bench, thread, "account/rateLimits/updated")]
    assert [(one["primary"]["usedPercent"], one["secondary"]["usedPercent"]) for one in windows] == [(0, 0), (30, 3)]
    assert windows[0]["primary"]["windowDurationMins"] == 24 * 60
    order.check(bench.events(thread))


def test_a_user_is_warned_once_a_day_when_most_of_the_budget_is_gone(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=1_000_000, warn_percent=70))
    threads = [bench.thread() for _ in range(3)]

    bench.say(threads[0], spend(690_000))
    assert told(bench, threads[0], "warning") == []
    bench.say(threads[1], spend(15_000))
    bench.say(threads[2], spend(1000))

    warned = told(bench, threads[1], "warning")
    assert len(warned) == 1
    assert warned[0]["threadId"] == threads[1].id
    assert warned[0]["message"].startswith(
        "70 % of this day's token budget is used (705000 of 1000000 tokens); it resets"
    )
    assert told(bench, threads[2], "warning") == []


def test_images_count_for_what_they_are_and_not_for_their_bytes() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_000_000}
    request = Prompt("m", [{"type": "message", "role": "user", "content": [image]}], [], "t", "u")

    assert budget.IMAGE_TOKENS < budget.estimate_input(request) < budget.IMAGE_TOKENS + 100
