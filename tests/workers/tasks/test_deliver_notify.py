"""notify.deliver: webhooks and the notify program, in a worker without a process."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update

from shared.config.webhooks import Webhook
from shared.store.tables import outbox
from tests.support.wait import until
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from tests.workers.builders import Bench, start
from workers.control import fault_points
from workers.delivery import notify_program
from workers.tasks import deliver_notify

NOW = {"webhook_retry_seconds": (60.0, 60.0), "webhook_timeout_seconds": 5.0}


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def hook(receiver: WebhookReceiver, *events: str, **values: Any) -> Webhook:
    return Webhook(**{"url": receiver.url, "secret": SECRET, "events": events, "allow_private": True, **values})


def deliver(bench: Bench) -> None:
    deliver_notify.run(bench.workers[0])


def rows(bench: Bench) -> list[Any]:
    with bench.workers[0].store.database.read() as connection:
        return list(connection.execute(select(outbox).order_by(outbox.c.id)))


def make_due(bench: Bench) -> None:
    """Make the next attempt due, as if its time had come or the worker that tried was long dead."""
    with bench.workers[0].store.database.write() as connection:
        connection.execute(update(outbox).values(due_at_ms=0, lease_until_ms=None))


# -- webhooks


def test_webhook_receives_ids_with_a_valid_signature(
    open_bench: Callable[..., Bench], receiver: WebhookReceiver
) -> None:
    bench = open_bench(webhooks=(hook(receiver, "turn.started", "turn.completed"),))
    turn = bench.run_turn(bench.thread(), "[[say a secret]]")

    deliver(bench)

    first, second = (one.verified() for one in receiver.received)
    ids = {"threadId": turn.thread_id, "turnId": turn.id, "userId": "local", "kind": "regular"}
    assert (first["type"], first["data"]) == ("turn.started", {**ids, "status": "inProgress"})
    assert (second["type"], second["data"]) == ("turn.completed", {**ids, "status": "completed"})
    assert second["timestamp"].endswith("Z")
    request = receiver.received[0]
    assert (request.path, request.headers["Host"]) == ("/in?a=1", receiver.url.split("/")[2])
    assert b"secret" not in b"".join(one.body for one in receiver.received)
    assert [row.state for row in rows(bench)] == ["delivered"] * 2


@pytest.mark.parametrize(
    ("answer", "timeout_s", "error"),
    [
        (500, 60.0, "HTTP 500"),
        (404, 60.0, "HTTP 404"),
        (302, 60.0, "HTTP 302: redirects are not followed"),
        ("hang", 1.0, "no response within 1 s"),
        ("drip", 1.0, "no response within 1 s"),
    ],
)
def test_rejected_event_is_retried_by_schedule_and_then_given_up(
    open_bench: Callable[..., Bench], receiver: WebhookReceiver, answer: int | str, timeout_s: float, error: str
) -> None:
    with WebhookReceiver() as inside:
        receiver.location = inside.url
        receiver.answers = [answer] * 3
        server = {**NOW, "webhook_timeout_seconds": timeout_s}
        bench = open_bench(webhooks=(hook(receiver, "turn.completed"),), server=server)
        bench.run_turn(bench.thread(), "hello")

        found = []
        for _ in range(3):
            deliver(bench)
            deliver(bench)  # it is not due yet, or given up
            found += [(row.state, row.error) for row in rows(bench)]
            make_due(bench)

        assert found == [("pending", error), ("pending", error), ("dead", error)]
        until(lambda: len(receiver.received) == 3)  # it may read a request after its sender has given up
        assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
        assert inside.received == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::ffff:127.0.0.1]:{}/"])
def test_private_address_is_refused_unless_allowed(
    open_bench: Callable[..., Bench], receiver: WebhookReceiver, url: str
) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    refused = hook(receiver, "turn.completed", url=url.format(port), allow_private=False)
    bench = open_bench(webhooks=(refused,), server=NOW)
    bench.run_turn(bench.thread(), "hello")

    deliver(bench)

    assert receiver.received == []
    (row,) = rows(bench)
    assert row.state == "pending"
    assert "private, local and reserved addresses are refused" in row.error


def test_proxies_of_the_environment_are_not_used(
    open_bench: Callable[..., Bench], receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    bench = open_bench(webhooks=(hook(receiver, "turn.completed"),))
    bench.run_turn(bench.thread(), "hello")

    deliver(bench)

    assert len(receiver.received) == 1


def test_hanging_receiver_does_not_delay_another(open_bench: Callable[..., Bench], receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as slow:
        slow.answers = ["hang"] * 100
        hooks = (hook(slow, "turn.started"), hook(receiver, "turn.completed"))
        bench = open_bench(webhooks=hooks, server={**NOW, "webhook_timeout_seconds": 20.0})
        thread = bench.thread()
        for _ in range(6):
            bench.run_turn(thread, "hello")

        running = [start(lambda: deliver(bench)) for _ in range(8)]
        until(lambda: len(receiver.received) == 6 and len(slow.received) == deliver_notify.AT_ONCE)
        slow.closed.set()
        for one in running:
            one.join()

        assert sum(row.state == "delivered" for row in rows(bench)) == 6


def test_delivery_of_a_dead_worker_is_repeated_with_the_same_id(
    open_bench: Callable[..., Bench], receiver: WebhookReceiver
) -> None:
    bench = open_bench(webhooks=(hook(receiver, "turn.completed"),), server=NOW)
    bench.run_turn(bench.thread(), "hello")
    fault_points.call_at("after_webhook", die)
    with pytest.raises(Died):
        deliver(bench)
    fault_points.call_at("", lambda: None)

    deliver(bench)
    assert len(receiver.received) == 1
    make_due(bench)
    deliver(bench)

    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert [(row.state, row.attempts) for row in rows(bench)] == [("delivered", 2)]


# -- the program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program that records its last argument, its folder and its environment."""
    file = tmp_path / "notifier"
    file.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$2" >> {tmp_path}/notifications\npwd > {tmp_path}/pwd\nenv > {tmp_path}/env\n'
    )
    file.chmod(0o700)
    return file


def notifications(program: Path) -> list[Any]:
    """Return the arguments of the program's runs."""
    file = program.parent / "notifications"
    return [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def test_program_receives_only_what_the_user_typed(
    open_bench: Callable[..., Bench], program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    bench = open_bench(notify=(str(program), "arg"), developer_instructions="be brief")
    (bench.cwd / "AGENTS.md").write_text("Injected.")
    thread = bench.thread()
    bench.run_turn(thread, "an earlier turn")
    deliver(bench)
    fault_points.call_at("mid_stream", once(lambda: bench.begin(thread, "steered é\n  ")))

    turn = bench.run_turn(thread, "[[say I look.]]", options={"client": "tests"})
    deliver(bench)

    assert notifications(program)[1:] == [
        {
            "type": "agent-turn-complete",
            "thread-id": thread.id,
            "turn-id": turn.id,
            "cwd": str(bench.cwd),
            "client": "tests",
            "input-messages": ["[[say I look.]]", "steered é\n  "],
            "last-assistant-message": bench.shown(thread)[-1]["text"],
        }
    ]
    assert Path((program.parent / "pwd").read_text().strip()) == bench.home
    environ = (program.parent / "env").read_text()
    assert "PATH=" in environ
    assert "sk-secret" not in environ


def test_review_argument_has_no_client_and_no_text_of_the_server(
    open_bench: Callable[..., Bench], program: Path
) -> None:
    bench = open_bench(notify=(str(program), "arg"))
    thread = bench.thread()
    bench.run_turn(thread, "Review the current changes.", options={"kind": "review", "review": "current changes"})
    bench.run_turn(thread, "look at x", options={"kind": "review", "review": "look at x"})

    deliver(bench)

    assert [one["input-messages"] for one in notifications(program)] == [[], ["look at x"]]
    assert all("client" not in one for one in notifications(program))


def test_title_threads_are_not_notified(open_bench: Callable[..., Bench], program: Path) -> None:
    bench = open_bench(notify=(str(program), "arg"))
    thread = bench.thread()
    with bench.workers[0].store.database.write() as connection:
        connection.exec_driver_sql("UPDATE threads SET thread_source = 'thread_title'")
    bench.run_turn(thread, "hello")

    assert rows(bench) == []


@pytest.mark.parametrize(
    ("script", "timeout_s", "error"),
    [
        ("exit 3", 60.0, "it ended with exit code 3"),
        ("sleep 600 & sleep 600", 0.2, "it ran for more than 0.2 s and was ended"),
        (None, 60.0, "it could not be started: [Errno 2] No such file or directory"),
    ],
)
def test_failing_program_changes_nothing_and_is_not_retried(
    open_bench: Callable[..., Bench],
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    timeout_s: float,
    error: str,
) -> None:
    started = record_started(monkeypatch, program)
    program.write_text(f"#!/bin/sh\n{script}\n")
    if script is None:
        program.unlink()
    bench = open_bench(notify=(str(program),), server={"notify_timeout_seconds": timeout_s})
    turn = bench.run_turn(bench.thread(), "hello")

    deliver(bench)
    make_due(bench)
    deliver(bench)

    assert turn.status == "completed"
    (row,) = rows(bench)
    assert (row.state, row.attempts) == ("dead", 1)
    assert row.error.startswith(error)
    if script:
        (pid,) = started
        until(lambda: not group_lives(pid))


def record_started(monkeypatch: pytest.MonkeyPatch, program: Path) -> list[int]:
    """Return the pids of the runs of a program from now on: a run may be ended before it could write its own."""
    started: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if arguments[0][0] == str(program):
                started.append(self.pid)

    monkeypatch.setattr(notify_program.subprocess, "Popen", Popen)
    return started


def test_program_output_is_logged_without_user_and_model_texts(
    open_bench: Callable[..., Bench], program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program.write_text(
        '#!/bin/sh\necho "I got $1"; printf "%s" "$1" | cut -c 1-20\n'
        "echo beside sk-proj-abcdefghijklmnopqrstuvwx0123456789 >&2\n"
    )
    bench = open_bench(notify=(str(program),))
    bench.run_turn(bench.thread(), "[[say classified]]")

    with caplog.at_level(logging.INFO, "workers.delivery.notify_program"):
        deliver(bench)

    assert "I got […]" in caplog.text
    assert "beside [REDACTED]" in caplog.text
    assert "classified" not in caplog.text


@pytest.mark.parametrize("point", ["before_notify", "after_notify"])
def test_program_of_a_dead_worker_is_not_run_again(open_bench: Callable[..., Bench], program: Path, point: str) -> None:
    bench = open_bench(notify=(str(program), "arg"))
    bench.run_turn(bench.thread(), "hello")
    fault_points.call_at(point, die)
    with pytest.raises(Died):
        deliver(bench)
    fault_points.call_at("", lambda: None)

    make_due(bench)
    deliver(bench)

    assert len(notifications(program)) == (point == "after_notify")


def test_shutdown_leaves_the_program_running(tmp_path: Path) -> None:
    leave = threading.Event()
    leave.set()
    script = f"sleep 0.2; echo done > {tmp_path}/done"
    content: dict[str, Any] = {"input-messages": [], "last-assistant-message": None}

    problem = notify_program.run(["sh", "-c", script], content, tmp_path, 30.0, leave)

    assert problem == "the worker shut down while it ran; it runs on unattended"
    until((tmp_path / "done").exists)


def test_argument_is_shortened_to_the_limit() -> None:
    content = {"input-messages": ["é" * 100_000, "short"], "last-assistant-message": "x" * 200_000}

    argument = notify_program.encode(content)

    assert len(argument.encode()) <= notify_program.MAX_ARGUMENT_BYTES
    decoded = orjson.loads(argument)
    assert decoded["input-messages"][1] == "short"
    assert decoded["input-messages"][0].endswith("é…")


class Died(Exception):
    """Simulates a kill -9."""


def die() -> None:
    raise Died


def once(call: Callable[[], object]) -> Callable[[], None]:
    calls = [call]

    def run() -> None:
        if calls:
            calls.pop()()

    return run


def group_lives(pgid: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] != "Z":
            return True
    return False
