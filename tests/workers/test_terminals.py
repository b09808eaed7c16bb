"""Background terminals: commands that run on after their turn, and how each of them ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.config.limits import Limits
from shared.errors import ClaimLost
from shared.fair_share import FairShare
from shared.protocol.notifications import OUTPUT_DELTA
from shared.store.tables import terminals, threads
from shared.store.terminals import Terminal
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from tests.support import order
from tests.support.model_server import YIELD_MS
from tests.support.wait import until
from tests.workers.agent.test_turn import outputs, texts
from tests.workers.builders import Bench, Unreliable
from workers import sweep
from workers.agent import running_commands
from workers.control import fault_points
from workers.services import Services
from workers.terminals import running as running_module

WAITS = "echo up; while [ ! -e go ]; do sleep 0.02; done; echo went"


def leave(line: str = WAITS, **arguments: Any) -> str:
    """Return a script step that starts a command and does not wait for its end."""
    return f"[[tool exec_command {json.dumps({'cmd': line, 'login': False, 'yield_time_ms': 250, **arguments})}]]"


def write(session_id: int, chars: str = "", **arguments: Any) -> str:
    """Return a script step that types into a command."""
    return f"[[tool write_stdin {json.dumps({'session_id': session_id, 'chars': chars, **arguments})}]]"


def of_thread(bench: Bench, thread: Thread) -> list[Terminal]:
    return bench.workers[0].store.terminals.of_thread(thread.id, thread.owner)


def commands(bench: Bench, thread: Thread) -> list[dict[str, Any]]:
    """Return the commands that have ended, as a client reads them."""
    return [item for item in bench.shown(thread) if item["type"] == "commandExecution"]


def told(bench: Bench) -> list[str]:
    """Return what the server told the model, without the instructions."""
    return texts(bench, "developer")[1:]


def quick() -> dict[str, Any]:
    """Return settings with which leases are renewed all the time."""
    return {"renewal_seconds": 0.05}


def wait_for_ends(bench: Bench, thread: Thread, count: int = 1) -> list[dict[str, Any]]:
    """Wait until this many commands have ended and this is in the log. Return them."""

    def ended() -> list[Any]:
        return [params for method, params in bench.events(thread) if is_end(method, params)]

    until(lambda: len(ended()) >= count)
    return [params["item"] for params in ended()]


def is_end(method: str, params: dict[str, Any]) -> bool:
    return method == "item/completed" and params["item"]["type"] == "commandExecution"


def run_and_leave(bench: Bench, *, count: int = 1, **thread: Any) -> Thread:
    """Run a turn that leaves commands running, each of which has printed its first line."""
    made = bench.thread(**thread)
    bench.begin(made, "+".join([leave()] * count) + f"[[pause {made.id}]][[say Left running.]]")
    run = bench.start_run()
    until(lambda: printed(bench, made).count("up\n") == count)
    bench.model.release(made.id)
    run.join()
    bench.settle()
    return made


def printed(bench: Bench, thread: Thread) -> str:
    """Return what the commands of a thread have printed."""
    return "".join(params["delta"] for method, params in bench.events(thread) if method == OUTPUT_DELTA)


def test_a_command_goes_on_after_its_turn_and_ends_by_itself(bench: Bench) -> None:
    thread = run_and_leave(bench)

    (terminal,) = of_thread(bench, thread)
    assert (terminal.command, terminal.cwd) == (WAITS, str(bench.cwd))
    assert commands(bench, thread) == []
    (bench.cwd / "go").touch()
    (ended,) = wait_for_ends(bench, thread)

    assert (ended["status"], ended["exitCode"], ended["aggregatedOutput"]) == ("completed", 0, "up\nwent\n")
    assert (ended["processId"], ended["source"]) == (str(terminal.process_id), "unifiedExecStartup")
    seen = order.check(bench.events(thread), sessions=True)
    assert seen.completed[terminal.item_id] == ended
    assert of_thread(bench, thread) == []
    bench.run_turn(thread, "next")
    assert told(bench) == []


def test_a_client_that_comes_later_gets_the_output_so_far(bench: Bench) -> None:
    thread = run_and_leave(bench)

    bench.run_turn(thread, "a turn in between")

    (item,) = bench.workers[0].log.snapshot(thread.id).open_items
    assert list(item.texts.values()) == ["up\n"]
    (bench.cwd / "go").touch()
    wait_for_ends(bench, thread)
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_a_later_turn_types_into_a_command_that_another_worker_runs(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, leave("read name; echo hi $name; read more", tty=True) + "[[say Left.]]")
    (terminal,) = of_thread(bench, thread)
    other = bench.worker()

    look = write(terminal.process_id, yield_time_ms=250)
    bench.begin(thread, write(terminal.process_id, "you\n") + f"[[pause typed]]{look}{write(99)}[[say Typed.]]")
    run = bench.start_run(other)
    until(lambda: "hi you" in printed(bench, thread))
    bench.model.release("typed")
    run.join()
    bench.settle()

    typed, looked, unknown = outputs(bench)[-3:]
    assert "hi you" in typed + looked
    assert f"Process running with session ID {terminal.process_id}" in typed
    assert unknown == "no session 99: it has ended, or never existed"
    interactions = [params for method, params in bench.events(thread) if method.endswith("/terminalInteraction")]
    assert [(one["itemId"], one["stdin"]) for one in interactions] == [
        (terminal.item_id, chars) for chars in ("you\n", "")
    ]
    bench.begin(thread, write(terminal.process_id, "\n", yield_time_ms=YIELD_MS) + "[[say Ended.]]")
    bench.run(other)
    assert "Process exited with code 0" in outputs(bench)[-1]
    wait_for_ends(bench, thread)
    order.check(bench.events(thread), sessions=True)


def test_a_later_turn_reads_how_a_command_ended(bench: Bench) -> None:
    thread = run_and_leave(bench)
    (read_before,) = outputs(bench)
    (terminal,) = of_thread(bench, thread)
    (bench.cwd / "go").touch()
    wait_for_ends(bench, thread)
    sweep.end_terminals(bench.workers[0])

    bench.run_turn(thread, write(terminal.process_id) * 2 + "[[say Read.]]")

    for outcome in outputs(bench)[-2:]:
        assert outcome.startswith(f"Session {terminal.process_id} (")
        unread = "up\nwent\n".removeprefix(read_before.partition("\nOutput:\n")[2])
        assert outcome.endswith(f"Process exited with code 0\nOutput:\n{unread}")
    with bench.workers[0].store.database.write() as connection:  # an hour later
        connection.execute(update(terminals).values(ended_at_ms=0))
    sweep.end_terminals(bench.workers[0])
    bench.run_turn(thread, write(terminal.process_id) + "[[say Late.]]")
    assert outputs(bench)[-1] == f"no session {terminal.process_id}: it has ended, or never existed"


def test_typing_needs_a_terminal_in_a_later_turn_too(bench: Bench) -> None:
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)

    bench.run_turn(thread, write(terminal.process_id, "text") + "[[say Then.]]")

    assert "has no terminal" in outputs(bench)[-1]


def test_an_interrupt_ends_the_wait_for_a_command_and_not_the_command(bench: Bench) -> None:
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    turn = bench.begin(thread, write(terminal.process_id, yield_time_ms=120_000) + "[[say Never.]]")
    run = bench.start_run()
    until(lambda: any(not row.answered and row.begun_at_ms for row in bench.items(thread)))
    until(lambda: bench.workers[0].running)

    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, turn.id)
    bench.connect().publish("turn-signals", f"interrupt {turn.id}")
    run.join()

    assert bench.turn(turn).status == "interrupted"
    assert of_thread(bench, thread) == [terminal]


def test_an_interrupted_turn_leaves_its_commands_running(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, leave() + "[[pause say]][[say Never.]]")
    run = bench.start_run()
    bench.model.wait_reached("say", 60)

    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, turn.id)
    bench.connect().publish("turn-signals", f"interrupt {turn.id}")
    run.join()

    assert bench.turn(turn).status == "interrupted"
    assert len(of_thread(bench, thread)) == 1


def test_a_user_ends_a_command_and_the_model_is_not_told(bench: Bench) -> None:
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    services = bench.workers[0]

    asked = services.store.terminals.request_stop(thread.id, thread.owner, terminal.process_id)
    assert asked == [terminal.item_id]
    assert services.store.terminals.request_stop(thread.id, thread.owner, terminal.process_id) == []
    bench.connect().publish("turn-signals", f"stop-terminal {terminal.item_id}")

    (ended,) = wait_for_ends(bench, thread)
    assert (ended["status"], ended["exitCode"], ended["aggregatedOutput"]) == ("failed", -1, "up\n")
    assert "warning" not in [method for method, _ in bench.events(thread)]
    bench.run_turn(thread, "next")
    assert told(bench) == []


def test_a_stop_whose_signal_is_lost_takes_effect_at_the_next_renewal(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server=quick())
    thread = run_and_leave(bench, count=2)

    assert len(bench.workers[0].store.terminals.request_stop(thread.id, thread.owner)) == 2

    assert [ended["exitCode"] for ended in wait_for_ends(bench, thread, 2)] == [-1, -1]


def test_commands_beyond_the_limit_are_ended_with_their_turn(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(background_terminals=2))
    first = run_and_leave(bench)

    second = run_and_leave(bench, count=2)

    assert (len(of_thread(bench, first)), len(of_thread(bench, second))) == (1, 1)
    (ended,) = commands(bench, second)
    assert (ended["status"], ended["aggregatedOutput"]) == ("failed", "up\n")
    bench.run_turn(second, "next")
    (report,) = told(bench)
    assert "stopped by the limit of 2 background terminals" in report
    order.check(bench.events(second), sessions=True)


def test_no_command_outlives_its_turn_where_none_may(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(background_terminals=0))

    thread = run_and_leave(bench)

    assert of_thread(bench, thread) == []
    assert len(commands(bench, thread)) == 1


def test_input_that_comes_at_the_end_of_a_turn_keeps_its_commands_in_it(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, leave() + "[[say Left.]]")

    def steer() -> None:
        fault_points.call_at("", lambda: None)
        bench.begin(thread, "[[run touch go]][[say More.]]")

    fault_points.call_at("before_end", steer)
    bench.run()

    assert bench.turn(turn).status == "completed"
    assert [
        one["aggregatedOutput"] for one in wait_for_ends(bench, thread, 2) if "went" in one["aggregatedOutput"]
    ] == ["up\nwent\n"]
    order.check(bench.events(thread), sessions=True)


def lose_worker(bench: Bench, services: Services) -> None:
    """End the leases of all background terminals, as if their worker were gone, and sweep in another worker.

    Their worker is not gone: it may renew a lease before the sweep looks.
    """

    def are_ended() -> bool:
        with services.store.database.write() as connection:
            connection.execute(update(terminals).values(lease_until_ms=0))
        sweep.end_terminals(services)
        with services.store.database.read() as connection:
            return not connection.execute(select(terminals.c.item_id).where(terminals.c.ended_at_ms.is_(None))).all()

    until(are_ended)


def test_a_command_of_a_lost_worker_ends_as_failed_and_the_model_is_told(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server=quick())
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    process = bench.workers[0].terminals._running[terminal.item_id].session.process
    other = bench.worker()

    lose_worker(bench, other)

    (ended,) = wait_for_ends(bench, thread)
    assert (ended["status"], ended["exitCode"]) == ("failed", None)
    assert process.wait(60)  # its worker lives, and finds that the command is not its own any more
    assert str(process.stopped_by) == running_module.REMOVED
    bench.run_turn(thread, "next")
    (report,) = told(bench)
    assert f"The worker that ran session {terminal.process_id} (`{WAITS}`) was lost" in report
    bench.run_turn(thread, "after that")
    assert len(told(bench)) == 1
    assert len(wait_for_ends(bench, thread)) == 1
    order.check(bench.events(thread), sessions=True)


def test_a_shutdown_ends_the_commands_and_the_model_is_told(bench: Bench) -> None:
    thread = run_and_leave(bench)
    other = bench.worker()
    services = bench.workers.pop(0)

    services.drain()
    services.close(60)

    (ended,) = wait_for_ends(bench, thread)
    assert (ended["status"], ended["aggregatedOutput"]) == ("failed", "up\n")
    warnings = [params["message"] for method, params in bench.events(thread) if method == "warning"]
    assert warnings == [f"the background terminal `{WAITS}` was ended by shutdown"]
    bench.begin(thread, "next")
    bench.run(other)
    (report,) = told(bench)
    assert "Process stopped by shutdown after" in report
    order.check(bench.events(thread), sessions=True)


def test_a_worker_that_shuts_down_keeps_no_commands(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, leave() + "[[pause say]][[say Left.]]")
    run = bench.start_run()
    bench.model.wait_reached("say", 60)

    bench.workers[0].terminals.drain()
    bench.model.release("say")
    run.join()

    assert bench.turn(turn).status == "completed"
    assert of_thread(bench, thread) == []
    assert len(commands(bench, thread)) == 1


@pytest.mark.parametrize("removal", ["delete", "revert"])
def test_a_command_ends_when_its_thread_or_turn_is_removed(open_bench: Callable[..., Bench], removal: str) -> None:
    bench = open_bench(server=quick())
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    process = bench.workers[0].terminals._running[terminal.item_id].session.process
    store = bench.workers[0].store

    if removal == "delete":
        store.threads.delete(thread.id, thread.owner)
    else:
        store.histories.revert(thread.id, thread.owner, terminal.turn_id)

    assert process.wait(60)
    until(lambda: not bench.workers[0].terminals._running)
    with store.database.read() as connection:
        assert connection.execute(select(terminals)).all() == []


def test_an_end_that_was_stored_and_not_published_is_published_by_the_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    services = bench.workers[0]
    (running,) = services.terminals._running.values()
    monkeypatch.setattr(type(running.writer), "publish_events", lambda *_, **__: None)
    (bench.cwd / "go").touch()
    assert running.over.wait(60)
    monkeypatch.undo()

    sweep.end_terminals(services)  # too early: its worker may be about to publish it
    assert not any(is_end(method, params) for method, params in bench.events(thread))
    with services.store.database.write() as connection:
        connection.execute(update(terminals).values(ended_at_ms=0))
    sweep.end_terminals(services)
    sweep.end_terminals(services)

    (ended,) = wait_for_ends(bench, thread)
    assert ended["aggregatedOutput"] == "up\nwent\n"
    assert terminal.item_id == ended["id"]
    order.check(bench.events(thread), sessions=True)
    with services.store.database.read() as connection:
        assert connection.execute(select(terminals)).all() == []


def test_a_silent_database_ends_a_command_before_another_process_may(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(server=quick())
    thread = run_and_leave(bench)
    (running,) = bench.workers[0].terminals._running.values()

    def be_away(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(bench.workers[0].store.terminals, "renew", be_away)
    running.renewed_at -= bench.workers[0].config.server.authority_seconds  # that much time has passed

    assert running.session.process.wait(60)
    assert running.session.process.stopped_by == running_module.SILENT_DATABASE
    assert thread.owner == LOCAL_USER


def test_redis_that_is_away_fails_the_typing_and_not_the_turn(bench: Bench) -> None:
    thread = run_and_leave(bench)
    (terminal,) = of_thread(bench, thread)
    clients: list[Unreliable] = []

    def connect(_url: str = "", **_: Any) -> Unreliable:
        clients.append(Unreliable(server=bench.redis_server))
        return clients[-1]

    other = bench.worker(connect)
    clients[0].away = True  # the worker's own client; the journal has another
    turn = bench.begin(thread, write(terminal.process_id) + "[[say Then.]]")
    bench.run(other)

    assert bench.turn(turn).status == "completed"
    assert "it is unknown what was typed" in outputs(bench)[-1]


def test_the_size_of_a_thread_counts_what_a_command_printed_after_its_turn(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, leave("while [ ! -e go ]; do sleep 0.02; done; seq 10000") + "[[say Left.]]")
    size = select(threads.c.stored_bytes).where(threads.c.id == thread.id)
    with bench.workers[0].store.database.read() as connection:
        before = connection.scalar(size)

    (bench.cwd / "go").touch()
    wait_for_ends(bench, thread)

    with bench.workers[0].store.database.read() as connection:
        assert (connection.scalar(size) or 0) - (before or 0) > len("".join(f"{n}\n" for n in range(1, 10_001)))


def test_places_are_given_back_when_the_claim_is_lost_while_commands_are_ended(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(limits=Limits(background_terminals=1))
    thread = bench.thread()

    def lose(*_: object) -> None:
        raise ClaimLost("another worker has the turn")

    with monkeypatch.context() as patched:
        patched.setattr(running_commands, "_report", lose)
        bench.begin(thread, leave() + "+" + leave() + "[[say Left.]]")
        bench.start_run().join()

    share = bench.workers[0].terminals._share
    assert share.take(thread.owner, running_module.MAX_TERMINALS // 2)


def test_a_worker_keeps_no_more_than_a_users_share(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.workers[0].terminals, "_share", FairShare(2))

    thread = run_and_leave(bench, count=2)

    assert len(of_thread(bench, thread)) == 1
    bench.run_turn(thread, "next")
    (report,) = told(bench)
    assert "stopped by your share of the background terminals of this worker" in report
