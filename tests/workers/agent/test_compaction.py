"""Compaction: when it happens, what the model sees before and after, what clients see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Conflict, NotSteerable
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from tests.support import order
from tests.workers.agent.test_stop_requests import WAITS, wait_for_file
from tests.workers.agent.test_turn import texts, types
from tests.workers.builders import Bench
from workers.agent import compaction
from workers.models.output import message_text


def begin_compaction(bench: Bench, thread: Thread) -> Turn:
    new = NewTurn(None, None, {}, {"kind": "compact"})
    return bench.workers[0].store.turns.create(thread.id, thread.owner, new, queued_limit=0)


def compact(bench: Bench, thread: Thread) -> Turn:
    turn = begin_compaction(bench, thread)
    bench.run()
    return bench.turn(turn)


def turn_events(bench: Bench, thread: Thread, turn: Turn) -> list[str]:
    events = bench.events(thread)
    begun = next(n for n, (method, params) in enumerate(events) if params.get("turn", {}).get("id") == turn.id)
    return order.methods(events[begun:])


def test_compaction_turn_has_one_item_and_no_text(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "remember the number 42")

    turn = compact(bench, thread)

    assert turn.status == "completed"
    order.check(bench.events(thread))
    assert turn_events(bench, thread, turn) == [
        "turn/started",
        "item/started contextCompaction",
        "item/completed contextCompaction",
        "thread/tokenUsage/updated",
        "thread/status/changed idle",
        "turn/completed",
    ]
    ended = bench.events(thread)[-1][1]["turn"]
    assert (ended["items"], ended["itemsView"]) == ([], "notLoaded")


def test_history_after_a_compaction_is_the_users_messages_and_the_summary(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "remember the number 42")
    compact(bench, thread)
    assert texts(bench, "user")[-1] == compaction.INSTRUCTIONS

    bench.run_turn(thread, "which number?")

    messages = texts(bench, "user")
    assert messages[0] == "remember the number 42"
    assert messages[1].startswith(compaction.SUMMARY_OPENING)
    assert compaction.INSTRUCTIONS in messages[1]  # the test's model repeats its input
    assert messages[2].startswith("<environment_context>")
    assert messages[3] == "which number?"
    assert texts(bench, "assistant") == []


def test_second_compaction_keeps_user_messages_and_drops_the_old_summary(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "first")
    compact(bench, thread)
    bench.run_turn(thread, "second")

    compact(bench, thread)

    kept = [item["content"][0]["text"] for item in bench.items(thread)[-1].model_items]
    assert kept[:2] == ["first", "second"]
    assert [text.startswith(compaction.SUMMARY_OPENING) for text in kept] == [False, False, True]


def test_newest_messages_are_kept_within_the_limit(bench: Bench) -> None:
    thread = bench.thread()
    for character in "abc":
        bench.run_turn(thread, character * 50_000)

    compact(bench, thread)

    kept = [item["content"][0]["text"] for item in bench.items(thread)[-1].model_items[:-1]]
    assert kept[1] == "c" * 50_000
    assert "tokens truncated" in kept[0]
    assert set(kept[0].split("\n\n")[1]) >= {"b"}
    assert sum(map(len, kept)) < 4.2 * compaction.KEPT_TOKENS


def test_a_compaction_leaves_less_than_half_of_a_small_window(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(model_context_window=16_000)
    thread = bench.thread()
    bench.run_turn(thread, "a" * 40_000)
    bench.run_turn(thread, "b" * 40_000)

    compact(bench, thread)  # the test's model repeats its input, so the summary is long

    assert compaction.estimate_tokens(bench.items(thread)[-1].model_items) < 8_000


@pytest.mark.parametrize(
    ("settings", "used", "compacted"),
    [
        ({"model_context_window": 1000}, 899, False),
        ({"model_context_window": 1000}, 900, True),
        ({"model_auto_compact_token_limit": 500}, 500, True),
        ({"model_context_window": 1000, "model_auto_compact_token_limit": 5000}, 900, True),
    ],
)
def test_turn_starts_with_a_compaction_when_the_window_is_nearly_full(
    open_bench: Callable[..., Bench], settings: dict[str, Any], used: int, compacted: bool
) -> None:
    bench = open_bench(**settings)
    thread = bench.thread()
    bench.run_turn(thread, f"[[usage in={used - 20}]][[say one]]")

    turn = bench.run_turn(thread, "two")

    order.check(bench.events(thread))
    shown = [item for item in bench.items(thread) if item.turn_id == turn.id and item.item is not None]
    assert [row.kind for row in shown] == ["contextCompaction"] * compacted + ["userMessage", "agentMessage"]
    assert shown[-1].item is not None
    assert shown[-1].item["text"] == "You said: two"
    assert len(bench.model.requests) == 2 + compacted


def test_compaction_between_two_answers_leaves_no_call_without_its_output(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(model_context_window=1000)
    thread = bench.thread()

    turn = bench.begin(thread, f"[[usage in=950]][[run {WAITS}]]")
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    bench.begin(thread, "two")
    (bench.cwd / "go").touch()
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert bench.turn(turn).status == "completed"
    kinds = [row.kind for row in bench.items(thread) if row.item is not None]
    assert kinds == ["userMessage", "commandExecution", "contextCompaction", "userMessage", "agentMessage"]
    summary = turn_events(bench, thread, turn)
    at = summary.index("item/completed contextCompaction")
    assert summary[at + 1 : at + 3] == ["thread/tokenUsage/updated", "item/started userMessage"]


def test_turn_after_an_exceeded_window_starts_with_a_compaction(bench: Bench) -> None:
    thread = bench.thread()
    failed = bench.run_turn(thread, "[[fail context_length_exceeded too long]]")
    assert failed.error is not None
    assert failed.error["codexErrorInfo"] == "contextWindowExceeded"

    turn = bench.run_turn(thread, "go on")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    kinds = [row.kind for row in bench.items(thread) if row.turn_id == turn.id and row.item is not None]
    assert kinds == ["contextCompaction", "userMessage", "agentMessage"]
    assert texts(bench, "user")[0] == "[[fail context_length_exceeded too long]]"


def test_failed_compaction_ends_the_turn_with_the_models_error(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    bench.workers[0].store.threads.change_settings(thread.id, thread.owner, {"modelProvider": "gone"})

    turn = compact(bench, thread)

    order.check(bench.events(thread))
    assert turn.status == "failed"
    assert turn.error is not None
    assert "`gone`" in turn.error["message"]
    assert "contextCompaction" not in types(bench.shown(thread))
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_compact_turn_accepts_no_input(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    begin_compaction(bench, thread)

    with pytest.raises(NotSteerable, match="cannot steer a compact turn"):
        bench.begin(thread, "two")
    bench.run()

    order.check(bench.events(thread))
    assert types(bench.shown(thread))[-1] == "contextCompaction"


def test_empty_thread_is_compacted_without_the_model(bench: Bench) -> None:
    thread = bench.thread()

    turn = compact(bench, thread)

    assert turn.status == "completed"
    assert types(bench.shown(thread)) == ["contextCompaction"]
    assert bench.model.requests == []


def test_compact_turn_is_refused_while_a_turn_is_active(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "one")

    with pytest.raises(Conflict):
        begin_compaction(bench, thread)


def test_compaction_is_repeated_when_its_worker_was_lost_before_the_commit(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    second = bench.worker()
    turn = begin_compaction(bench, thread)
    assert second.store.claims.claim(["lost"], lease_ms=30_000, turns_at_once=0)
    bench.lose(turn, second)

    bench.run()

    order.check(bench.events(thread))
    assert bench.turn(turn).status == "completed"
    assert types(bench.shown(thread))[-1] == "contextCompaction"


def test_a_compaction_counts_like_an_answer(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "[[say one]][[usage in=300 out=20]]")

    compact(bench, thread)

    usage = [params["tokenUsage"] for method, params in bench.events(thread) if method == "thread/tokenUsage/updated"]
    assert [one["total"]["totalTokens"] for one in usage] == [320, 320 + 120]
    assert usage[-1]["last"]["totalTokens"] not in (120, 320)  # what the summary takes


def test_a_history_that_does_not_fit_is_summed_up_without_its_beginning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = bench.thread()
    for word in ("one", "two", "three"):
        bench.run_turn(thread, word)
    asked = len(bench.model.requests)
    refusal = "[[fail times=2 context_length_exceeded too long]]"
    monkeypatch.setattr(compaction, "INSTRUCTIONS", f"{refusal}[[say A summary.]]")

    turn = compact(bench, thread)

    assert (turn.error, turn.status) == (None, "completed")
    sizes = [len(request.body["input"]) for request in bench.model.requests[asked:]]
    assert len(sizes) == 3
    assert sizes[0] > sizes[1] > sizes[2]
    bench.run_turn(thread, "and then?")
    assert "A summary." in "".join(texts(bench, "user"))


def test_a_history_of_which_nothing_fits_fails_the_compaction(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    monkeypatch.setattr(compaction, "INSTRUCTIONS", "[[fail context_length_exceeded too long]]")

    turn = compact(bench, thread)

    assert turn.error is not None
    assert turn.error["codexErrorInfo"] == "contextWindowExceeded"


def test_another_error_of_the_model_leaves_the_history_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    asked = len(bench.model.requests)
    monkeypatch.setattr(compaction, "INSTRUCTIONS", "[[status 500 times=1 no]][[say A summary.]]")

    assert compact(bench, thread).status == "completed"

    first, second = (len(request.body["input"]) for request in bench.model.requests[asked:])
    assert first == second


def test_an_imported_compaction_is_compacted_again() -> None:
    kept: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "from before"}]},
        {"type": "message", "role": "user", "content": "as a text"},
        {"type": "reasoning", "summary": []},
        {"type": "compaction", "encrypted_content": "x"},
    ]
    row = Item("I", "T", "U", 1, "contextCompaction", item={}, model_items=kept)

    found = compaction.replacement([row], "what was done", 10_000)

    assert [message_text(item) for item in found][:2] == ["from before", "as a text"]
