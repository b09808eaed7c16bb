"""Named points at which a test may kill or stop this process: `THREADHOUSE_FAULT=after_begun:kill@FILE`.

Several faults are separated by ";". A fault happens once, in the process that unlinks FILE: several workers may have
the same setting. The fault `hold` renames FILE to FILE.reached, and the thread waits until that file is gone.

Points: before_claim, after_claim, before_park, mid_clone, before_placed (of a workspace), before_begun, after_begun,
mid_command, before_ended, in_hook (it is about to start), before_hook_decision (it has ended),
mid_stream, mid_answer (a call is complete), before_end (the last answer is), before_final_commit, before_publish (after
the final commit), before_notify and after_notify (the program), before_webhook, after_webhook, feedback_claimed,
feedback_collected, feedback_written, feedback_finished. Without the variable each point is one comparison.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shared.errors import ConfigError

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}

HOLD = "hold"
POLL_SECONDS = 0.01

_armed: dict[str, Callable[[], None]] = {}


def arm(text: str | None) -> None:
    """Read the variable once, when the process starts. Errors: ConfigError."""
    for fault in text.split(";") if text else ():
        point, _, rest = fault.partition(":")
        what, _, path = rest.partition("@")
        if what not in (*SIGNALS, HOLD) or not path:
            raise ConfigError(f"THREADHOUSE_FAULT: {fault!r} is not POINT:{'|'.join((*SIGNALS, HOLD))}@FILE")
        _armed[point] = partial(_hold, Path(path)) if what == HOLD else partial(_fire, SIGNALS[what], Path(path))


def call_at(point: str, action: Callable[[], None]) -> None:
    """Call action() in each thread that reaches the point. Replaces the point set before; "" sets none."""
    _armed.clear()
    _armed[point] = action


def fault_point(point: str) -> None:
    """Run the action that is set for this point, if there is one."""
    if _armed and (action := _armed.get(point)) is not None:
        action()


def _hold(file: Path) -> None:
    reached = file.with_name(f"{file.name}.reached")
    try:
        file.rename(reached)
    except FileNotFoundError:
        return
    while reached.exists():
        time.sleep(POLL_SECONDS)


def _fire(number: signal.Signals, file: Path) -> None:
    try:
        file.unlink()
    except FileNotFoundError:
        return
    signal.pthread_kill(threading.get_ident(), number)  # this thread does not reach its next line
