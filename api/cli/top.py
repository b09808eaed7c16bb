"""threadhouse top: the load of the server, live."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from api.cli.host import connect_redis, format_time, host_store, outage_reason, user_names
from api.cli.options import home_option
from shared import config as configuration
from shared.clock import span

if TYPE_CHECKING:
    from shared.overview import Overview
    from shared.queue_state import Waiting

RATE_MS = 60_000  # over which tokens per second are measured
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen without a cursor, and back
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
QUIT = ("q", "Q", "\x03")


@click.command()
@click.option("--once", is_flag=True, help="Print the load once, as it is done where stdout is no terminal.")
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@home_option
def top(once: bool, seconds: float) -> None:
    """Show the load: workers, turns and why they wait, tokens, users, queues. q or Ctrl-C ends it.

    new/s are the turns of the last minute; tokens/s are measured while it runs, for a minute at most.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from shared.overview import read_overview

    config = configuration.load(None, os.environ)
    rate = TokenRate()
    with host_store() as store, connect_redis(config) as client:

        def look() -> list[str]:
            try:
                found = read_overview(store, client, config)
                names = user_names(store)
            except SQLAlchemyError as error:
                if once:
                    raise
                return [f"the database does not answer: {outage_reason(error)}; trying again"]
            return lines(found, names, rate.add(found))

        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            once = True
            click.echo("\n".join(look()))
            return
        with suppress(KeyboardInterrupt), _full_screen():
            _refresh(look, seconds)


class TokenRate:
    """Tokens per second, from what two looks show."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()  # (Unix ms, tokens of the day)

    def add(self, found: Overview) -> float | None:
        """Return the rate since the oldest look of the last minute; None: this is the first look of the day."""
        if self._seen and found.tokens_today < self._seen[-1][1]:
            self._seen.clear()  # a new day
        self._seen.append((found.at_ms, found.tokens_today))
        while self._seen[0][0] < found.at_ms - RATE_MS:
            self._seen.popleft()
        (since_ms, before), passed_ms = self._seen[0], found.at_ms - self._seen[0][0]
        return (found.tokens_today - before) * 1000 / passed_ms if passed_ms > 0 and since_ms else None


def lines(found: Overview, names: Mapping[str, str], tokens_per_second: float | None) -> list[str]:
    """Return what is shown, whatever the size of the terminal. names: user id → name."""
    workers = ", ".join(f"{count} {state}" for state, count in sorted(found.workers.items())) or "none"
    running, rate = found.turns.get("running", 0), "-" if tokens_per_second is None else f"{tokens_per_second:,.0f}"
    turns = ", ".join(f"{found.turns.get(state, 0)} {state}" for state in ("running", "queued", "parked"))
    return [
        f"threadhouse top  {format_time(found.at_ms)}",
        f"workers  {workers}; {running} of {found.slots} slots in use",
        f"turns    {turns}; {found.new_turns / 60:.1f} new/s",
        f"tokens   {found.tokens_today:,} today; {rate}/s",
        "",
        *_table(("STATE", "CAUSE", "TURNS", "LONGEST"), _causes(found)),
        "",
        *_table(("QUEUE", "WORKERS", "TASKS", "WORK", "WAITING", "OLDEST"), _queues(found)),
        *_reasons(found.waiting),
        "",
        *_table(("USER", "RUNNING", "QUEUED", "PARKED", "TOKENS TODAY"), _users(found, names)),
    ]


def _causes(found: Overview) -> Iterator[tuple[str, ...]]:
    for one in found.causes:
        yield one.state, one.cause, str(one.count), span(found.at_ms - one.since_ms)


def _queues(found: Overview) -> Iterator[tuple[str, ...]]:
    for one in found.waiting:
        oldest = "" if one.since_ms is None else span(found.at_ms - one.since_ms)
        work = one.kind if one.cause is None else f"{one.kind}: {one.cause}"
        yield one.queue, str(one.workers), _number(one.tasks), work, _number(one.count), oldest


def _reasons(waiting: Sequence[Waiting]) -> Iterator[str]:
    for why in dict.fromkeys(f"{one.queue}: {one.why}" for one in waiting if one.why):
        yield f"! {why}"


def _users(found: Overview, names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for user in found.users:
        counts = (str(user.turns.get(state, 0)) for state in ("running", "queued", "parked"))
        yield names.get(user.owner, user.owner), *counts, f"{user.tokens_today:,}"


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


@contextmanager
def _full_screen() -> Iterator[None]:
    """Show another screen, and let keys come one by one, meanwhile; also when the process is asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        click.echo(ENTER, nl=False)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        click.echo(LEAVE, nl=False)


def _refresh(look: Callable[[], list[str]], seconds: float) -> None:
    """Show what `look` returns again and again, in place, until somebody presses a key of QUIT."""
    while True:
        shown = look()
        size = shutil.get_terminal_size()
        fitting = [line[: size.columns] for line in shown[: size.lines - 1]]
        click.echo(HOME + "".join(f"{line}{END_OF_LINE}\n" for line in fitting) + END_OF_SCREEN, nl=False)
        if _is_quit_pressed(seconds):
            return


def _is_quit_pressed(seconds: float) -> bool:
    """Wait, and return whether somebody wants to end it; any other key ends the wait."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") in ("", *QUIT)
