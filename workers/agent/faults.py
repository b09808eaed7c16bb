"""Named points at which a test may kill or stop this process: `THREADHOUSE_FAULT=after_begun:kill@FILE`.

One shot: whoever unlinks FILE fires, so that of several workers that were told the same one does. Points:
after_claim, mid_clone, before_placed (of a workspace), before_begun, after_begun, mid_command, before_ended,
mid_stream, mid_answer (a call is complete), before_end (the last answer is), before_final_commit, before_publish (after
the final commit), before_notify and after_notify (the program), before_webhook, after_webhook, feedback_claimed,
feedback_collected, feedback_written, feedback_finished. Without the variable each point is one comparison.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shared.errors import ConfigError

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}

_armed: tuple[str, Callable[[], None]] | None = None


def arm(text: str | None) -> None:
    """Read the variable once, when the process starts. Errors: ConfigError."""
    if not text:
        return
    point, _, rest = text.partition(":")
    what, _, path = rest.partition("@")
    if what not in SIGNALS or not path:
        raise ConfigError(f"THREADHOUSE_FAULT: {text!r} is not POINT:{'|'.join(SIGNALS)}@FILE")
    call_at(point, partial(_fire, SIGNALS[what], Path(path)))


def call_at(point: str, act: Callable[[], None]) -> None:
    """Call act() in each thread that comes to the point; of several points the last one counts, "" is none."""
    global _armed
    _armed = (point, act)


def at(point: str) -> None:
    """Fire if this point is the one."""
    if _armed is not None and _armed[0] == point:
        _armed[1]()


def _fire(number: signal.Signals, file: Path) -> None:
    try:
        file.unlink()
    except FileNotFoundError:
        return
    signal.pthread_kill(threading.get_ident(), number)  # this thread gets no further, not even to its next line
