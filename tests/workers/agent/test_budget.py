"""Token budgets in a turn: the reservation before a model call, the cost after it, the end when a budget is used up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from shared.clock import now_ms
from shared.config import Limits
from shared.events import turn_signals
from shared.store import usage
from shared.store.threads import Thread
from shared.store.turns import Turn
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_compaction import begin_compaction
from tests.workers.builders import Bench, Running
from workers.agent import budget
from workers.models.chunks import Prompt
from workers.services import Services
from workers.tasks import run_turn
from workers.workspace.folders import workspace_for

ANSWER = 32_000  # limit of an answer, for a model that is not in the catalogue
SMALL = Limits(tokens_per_day=100_000)
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(autouse=True)
def one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon, so that no test has two days."""
    noon_ms = (now_ms() // DAY_MS) * DAY_MS + DAY_MS // 2
    monkeypatch.setattr(usage, "now_ms", lambda: noon_ms)


def used(bench: Bench, owner: str = "local") -> tuple[int, int]:
    """Return the tokens spent today, and those reserved."""
    standing = bench.workers[0].store.usage.standing(owner)
    return standing.day, standing.reserved


def of(bench: Bench, owner: str) -> Thread:
    """Store a thread of a user, in its own workspace."""
    services, thread = bench.workers[0], bench.thread(owner)
    cwd = workspace_for(services.config.server.workspaces_dir, owner, thread.id)
    return services.store.threads.change_settings(thread.id, owner, {"cwd": str(cwd)})


def published(bench: Bench, thread: Thread, method: str) -> list[dict[str, Any]]:
    return [params for name, params in bench.events(thread) if name == method]


def spend(tokens: int) -> str:
    return f"[[say ok]][[usage in={tokens} out=0]]"


def test_every_answer_counts_once_for_its_user(bench: Bench) -> None:
    bench.run_turn(of(bench, "ann"), "[[usage in=300 out=20]][[run true]][[say ok]][[usage in=500 out=7]]")
    bench.run_turn(of(bench, "bob"), spend(11))

    assert used(bench, "ann") == (827, 0)
    assert used(bench, "bob") == (11, 0)


def test_no_budget_needs_no_database_statement(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.workers[0].store, "usage", None)

    assert bench.run_turn(bench.thread(), "[[run true]][[say ok]]").status == "completed"


def test_tokens_are_reserved_while_the_model_answers(open_bench: Callable[..., Bench]) -> None:
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


def test_exceeded_budget_fails_the_turn_and_names_the_reset_time(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[say first]][[usage in=99000 out=0]][[run true]][[say never]]")

    assert turn.status == "failed"
    assert turn.error is not None
    assert turn.error["codexErrorInfo"] == "usageLimitExceeded"
    assert "99000 of 100000 tokens are spent" in turn.error["message"]
    assert turn.error["message"].endswith("00:00 UTC.")
    order.check(bench.events(thread))
    assert [item["type"] for item in bench.shown(thread)] == ["userMessage", "agentMessage", "commandExecution"]
    assert len(bench.model.requests) == 1
    assert bench.run_turn(thread, "again").status == "failed"
    assert [item["type"] for item in bench.shown(thread)][-1] == "userMessage"
    assert used(bench) == (99_000, 0)


def test_user_budget_overrides_the_default_from_the_next_step(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    store = bench.workers[0].store
    store.limits.change("ann", {"tokens_per_day": 0})
    store.limits.change("bob", {"tokens_per_month": 5})

    assert bench.run_turn(of(bench, "ann"), spend(500_000)).status == "completed"
    assert bench.run_turn(of(bench, "ann"), "more").status == "completed"
    failed = bench.run_turn(of(bench, "bob"), "hello")

    assert failed.error is not None
    assert "this month's token budget" in failed.error["message"]


def test_answer_limit_is_what_the_budget_has_left(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()
    bench.run_turn(thread, spend(80_000))

    bench.run_turn(thread, "[[say short]][[usage in=100 out=10]]")

    limit = bench.model.requests[-1].body["max_output_tokens"]
    assert 10_000 < limit < 20_000
    assert "max_output_tokens" not in bench.model.requests[0].body
    failed = bench.run_turn(thread, "[[say long]][[incomplete max_output_tokens]]")
    assert failed.error is not None
    assert failed.error["codexErrorInfo"] == "usageLimitExceeded"


@dataclass
class Waiting:
    """A turn that waits for tokens which another turn of the user has reserved, until "here" is released."""

    bench: Bench
    holder: Running
    turn: Turn
    worker: Services
    run: Running

    @classmethod
    def begin(cls, bench: Bench, text: str) -> Waiting:
        bench.begin(bench.thread(), "[[say a]][[pause here]][[usage in=1000 out=0]]")
        holder = bench.start_run()
        bench.model.wait_reached("here")
        thread, worker = bench.thread(), bench.worker()
        turn = bench.begin(thread, text)
        run = bench.start_run(worker)
        until(lambda: published(bench, thread, "account/rateLimits/updated"))
        return cls(bench, holder, turn, worker, run)

    @property
    def thread(self) -> Thread:
        return self.worker.store.threads.get(self.turn.thread_id, self.turn.owner)

    def release(self) -> None:
        """Return the tokens, and wait for the end of both turns."""
        self.bench.model.release("here")
        self.holder.join()
        self.run.join()


def test_call_waits_for_reservations_that_are_returned(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=60_000))
    waiting = Waiting.begin(bench, spend(1000))
    assert len(bench.model.requests) == 1

    waiting.release()

    assert bench.turn(waiting.turn).status == "completed"
    assert used(bench) == (2000, 0)


def test_interrupt_ends_the_wait_for_a_reservation(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=60_000))
    waiting = Waiting.begin(bench, "hello")

    waiting.worker.store.turns.interrupt(waiting.turn.thread_id, "local", waiting.turn.id)
    turn_signals.publish(waiting.worker.redis, turn_signals.INTERRUPT, waiting.turn.id)
    waiting.run.join()

    assert bench.turn(waiting.turn).status == "interrupted"
    waiting.release()


def test_input_that_comes_while_a_call_waits_for_a_reservation_is_read_first(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=60_000))
    waiting = Waiting.begin(bench, "the first message")

    bench.begin(waiting.thread, "the second message")
    turn_signals.publish(waiting.worker.redis, turn_signals.STEER, waiting.turn.id)
    until(lambda: [row.kind for row in bench.items(waiting.thread)].count("userMessage") == 2)
    waiting.release()

    assert bench.turn(waiting.turn).status == "completed"
    assert len(bench.model.requests) == 2
    sent = json.dumps(bench.model.requests[-1].body["input"])
    assert "the first message" in sent
    assert "the second message" in sent


def test_cut_answer_counts_by_estimate(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.run_turn(bench.thread(), f"[[say {'word ' * 400}]][[drop times=1]][[say ok]][[usage in=70 out=5]]")

    spent, reserved = used(bench)
    assert reserved == 0
    assert 75 + 500 < spent < 10_000


def test_call_without_any_answer_costs_nothing(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.run_turn(bench.thread(), "[[status 500 times=1]][[say ok]][[usage in=70 out=5]]")

    assert used(bench) == (75, 0)


def test_answer_without_reported_usage_counts_by_estimate(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)

    bench.run_turn(bench.thread(), "[[say ok]][[usage in=0 out=0]]")

    spent, reserved = used(bench)
    assert 300 < spent < 10_000
    assert reserved == 0


def test_answer_without_reported_usage_counts_where_there_is_no_budget(bench: Bench) -> None:
    bench.run_turn(bench.thread(), "[[say ok]][[usage in=0 out=0]]")

    assert used(bench)[0] > 0


def test_compaction_counts_and_fails_cleanly_over_budget(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=SMALL)
    thread = bench.thread()
    bench.run_turn(thread, spend(1000))
    begin_compaction(bench, thread)
    bench.run()
    after = used(bench)
    assert after == (1120, 0)
    bench.run_turn(thread, spend(98_500))

    turn = begin_compaction(bench, thread)
    bench.run()

    ended = bench.turn(turn)
    assert ended.error is not None
    assert (ended.status, ended.error["codexErrorInfo"]) == ("failed", "usageLimitExceeded")
    order.check(bench.events(thread))


def test_reservation_of_a_lost_worker_is_returned(open_bench: Callable[..., Bench]) -> None:
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


# -- what clients receive


def test_rate_limits_are_published_when_they_change(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=100_000, tokens_per_month=1_000_000))
    thread = bench.thread()

    bench.run_turn(thread, spend(30_000))

    windows = [params["rateLimits"] for params in published(bench, thread, "account/rateLimits/updated")]
    assert [(one["primary"]["usedPercent"], one["secondary"]["usedPercent"]) for one in windows] == [(0, 0), (30, 3)]
    assert windows[0]["primary"]["windowDurationMins"] == 24 * 60
    order.check(bench.events(thread))


def test_user_is_warned_once_a_day_when_most_of_the_budget_is_used(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(tokens_per_day=1_000_000, warn_percent=70))
    threads = [bench.thread() for _ in range(3)]

    bench.run_turn(threads[0], spend(690_000))
    assert published(bench, threads[0], "warning") == []
    bench.run_turn(threads[1], spend(15_000))
    bench.run_turn(threads[2], spend(1000))

    warnings = published(bench, threads[1], "warning")
    assert len(warnings) == 1
    assert warnings[0]["threadId"] == threads[1].id
    assert warnings[0]["message"].startswith(
        "70 % of this day's token budget is used (705000 of 1000000 tokens); it resets"
    )
    assert published(bench, threads[2], "warning") == []


def test_images_count_by_number_not_by_bytes() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_000_000}
    request = Prompt("m", [{"type": "message", "role": "user", "content": [image]}], [], "t", "u")

    assert budget.IMAGE_TOKENS < budget.estimate_input(request) < budget.IMAGE_TOKENS + 100
