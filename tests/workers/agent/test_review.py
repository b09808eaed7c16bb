"""A review turn: its items, its instructions to the model, how it ends."""

from __future__ import annotations

from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from tests.builders import text_input
from tests.support import order
from tests.workers.agent.test_stop_requests import interrupt
from tests.workers.agent.test_turn import texts, types
from tests.workers.builders import Bench
from workers.agent import prompt


def begin_review(bench: Bench, thread: Thread, text: str) -> Turn:
    new = NewTurn(text_input(text), None, {}, {"kind": "review", "review": "current changes"})
    return bench.workers[0].store.turns.create(thread.id, thread.owner, new, queued_limit=0)


def test_review_is_entered_answered_and_exited(bench: Bench) -> None:
    thread = bench.thread()

    turn = begin_review(bench, thread, "[[run echo looked]][[say No findings.]]")
    bench.run()

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    shown = bench.shown(thread)
    assert types(shown) == [
        "enteredReviewMode",
        "userMessage",
        "commandExecution",
        "agentMessage",
        "exitedReviewMode",
    ]
    assert (shown[0]["review"], shown[-1]["review"]) == ("current changes", "No findings.")
    assert prompt.REVIEW_INSTRUCTIONS in texts(bench, "developer")
    assert types(bench.events(thread)[-1][1]["turn"]["items"]) == ["agentMessage"]


def test_interrupted_review_is_exited_too(bench: Bench) -> None:
    thread = bench.thread()
    turn = begin_review(bench, thread, "[[say half]][[pause p]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    interrupt(bench, thread)
    running.join()

    bench.settle()
    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "interrupted"}
    assert types(bench.shown(thread)) == ["enteredReviewMode", "userMessage", "exitedReviewMode"]
    assert "interrupted" in bench.shown(thread)[-1]["review"]


def test_regular_turn_has_no_review_items(bench: Bench) -> None:
    thread = bench.thread()
    begin_review(bench, thread, "[[say Fine.]]")
    bench.run()

    bench.run_turn(thread, "thanks")

    assert types(bench.shown(thread))[-2:] == ["userMessage", "agentMessage"]
