"""threadhouse top: once, and live in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import commands
from api.cli.top import LEAVE, TokenRate
from shared.overview import Overview
from shared.store import Store, usage
from shared.store.usage import Spent
from shared.store.workers import Worker
from tests.builders import make_config, make_thread, make_turn

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environ(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("THREADHOUSE_")}
    return {**kept, "THREADHOUSE_HOME": str(home)}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Return the home of a server without Redis, with a worker, a running and a queued turn, and tokens of a user."""
    given = {"THREADHOUSE_HOME": str(tmp_path), "THREADHOUSE_DATABASE_URL": None, "THREADHOUSE_REDIS_URL": None}
    assert CliRunner(env=given).invoke(commands, ["users", "add", "ada"]).exit_code == 0
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    store.workers.report(WORKER)
    ada = store.users.get("ada").id
    for _ in range(2):
        make_turn(store, make_thread(store, make_config(tmp_path), ada))
    store.claims.claim([f"{WORKER.name}:x"], lease_ms=600_000, turns_at_once=0)
    with store.database.write() as connection:
        usage.add(connection, [(ada, Spent("m", 12_345))])
    yield tmp_path
    store.close()


def test_without_a_terminal_the_load_is_printed_once(home: Path) -> None:
    program = (sys.executable, "-P", "-m", "api.cli", "top")
    shown = subprocess.run(
        program, env=environ(home), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=True
    ).stdout

    assert "\x1b" not in shown
    assert "workers  1 ready; 1 of 2 slots in use" in shown
    assert "turns    1 running, 1 queued, 0 parked; 0.0 new/s" in shown
    assert "tokens   12,345 today; -/s" in shown
    assert re.search(r"^running +model +1 ", shown, re.MULTILINE)
    assert re.search(r"^turns +1 +- +turns: claim +1 ", shown, re.MULTILINE)
    assert re.search(r"^ada +1 +1 +0 +12,345$", shown, re.MULTILINE)


def test_in_a_terminal_it_refreshes_in_place_until_q_is_pressed(home: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    program = (sys.executable, "-P", "-m", "api.cli", "top", "--every", "0.5")
    with subprocess.Popen(program, env=environ(home), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        shown = ""
        while shown.count("threadhouse top") < 3:  # the first screen, and two that take its place
            shown += os.read(ours, 65_536).decode()
        os.write(ours, b"q")
        assert process.wait(timeout=120) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    while LEAVE not in shown:
        shown += os.read(ours, 65_536).decode()
    os.close(ours)

    assert max(len(line) for line in CONTROL.sub("", shown).splitlines()) <= 80
    assert shown.count("\x1b[H") >= 3
    assert "\x1b[2J" not in shown, "a screen that is cleared flickers"


def test_tokens_per_second_are_those_of_the_last_minute() -> None:
    rate = TokenRate()

    def look(at_s: int, tokens: int) -> float | None:
        return rate.add(Overview(at_s * 1000, {}, 0, {}, [], 0, tokens, [], []))

    assert [look(1000, 500), look(1010, 700), look(1060, 1700)] == [None, 20, 20]
    assert look(1061, 1700) == pytest.approx(1000 / 51)
    assert look(1062, 0) is None, "a new day"
