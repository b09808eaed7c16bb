"""The notify program: what it is told of a turn, and how it is run. It is the operator's own: it runs in no sandbox."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from shared.errors import NotFound
from shared.redaction import Redaction
from shared.store import Store
from shared.store.items import Item
from shared.store.outbox import Outgoing
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

# It gets none of our own variables: API keys, database, secrets. A program that needs more reads it from its own file.
PASSED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE",
    "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip
MAX_ARGUMENT_BYTES = 131_071  # Linux's limit of one argument (MAX_ARG_STRLEN) without its NUL
MAX_OUTPUT_BYTES = 1 << 24  # a program that writes more is ended
LOGGED_CHARACTERS = 2000  # of the end of its output
POLL_SECONDS = 0.05
KILL_SECONDS = 2.0  # between TERM and KILL


def argument(store: Store, of: Outgoing) -> dict[str, Any] | None:
    """What the program is told of a turn (PROTOCOL 13), from the log. None: the thread was deleted meanwhile."""
    try:
        turn = store.turns.get(of.data["turnId"], of.data["userId"])
    except NotFound:
        return None
    rows = store.items.of_turn(turn.id)
    said = [row.item["text"] for row in rows if row.kind == "agentMessage" and row.item]
    told: dict[str, Any] = {
        "type": "agent-turn-complete",
        "thread-id": turn.thread_id,
        "turn-id": turn.id,
        "cwd": of.data["cwd"],
        "client": turn.options.get("client"),
        "input-messages": typed(turn, rows),
        "last-assistant-message": said[-1] if said else None,
    }
    if told["client"] is None:
        del told["client"]
    return told


def typed(turn: Turn, rows: Sequence[Item]) -> list[str]:
    """What the user typed in a turn: one text per input, its text parts joined by newlines.

    The first message of a review is ours, unless the user gave the instructions.
    """
    inputs = [row.item["content"] for row in rows if row.kind == "userMessage" and row.item]
    texts = ["\n".join(part["text"] for part in one if part["type"] == "text") for one in inputs]
    if turn.options.get("kind") == "review" and texts and texts[0] != turn.options.get("review"):
        return texts[1:]
    return texts


def encode(told: dict[str, Any]) -> str:
    """As one argument. What would not fit is shortened, the longest texts first."""
    encoded, longest = orjson.dumps(told), MAX_ARGUMENT_BYTES
    while len(encoded) > MAX_ARGUMENT_BYTES and longest > 1:
        longest //= 2
        inputs = [_cut(text, longest) for text in told["input-messages"]]
        last = told["last-assistant-message"]
        shortened = {**told, "input-messages": inputs, "last-assistant-message": last and _cut(last, longest)}
        encoded = orjson.dumps(shortened)
    return encoded.decode()


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def run(argv: Sequence[str], told: dict[str, Any], home: Path, timeout_s: float, leave: threading.Event) -> str | None:
    """Run it to its end. None: it ended well; else what went wrong.

    home:  where it runs: not in the workspace, whose files are not the operator's
    leave: set when this process shuts down; the program then goes on without us
    """
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [*argv, encode(told)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"it could not be started: {error}"
        problem = _wait(process, output, timeout_s, leave)
        _log(output, told)
    return problem


def _wait(process: subprocess.Popen[bytes], output: IO[bytes], timeout_s: float, leave: threading.Event) -> str | None:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if leave.wait(POLL_SECONDS):
            return "the worker shut down while it ran; it goes on unwatched"
        if time.monotonic() >= deadline:
            _end(process)
            return f"it ran for more than {timeout_s:g} s and was ended"
        if os.fstat(output.fileno()).st_size > MAX_OUTPUT_BYTES:
            _end(process)
            return f"it wrote more than {MAX_OUTPUT_BYTES} bytes and was ended"
    return f"it ended with {process.returncode}" if process.returncode else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _log(output: IO[bytes], told: dict[str, Any]) -> None:
    """The end of what it wrote, without the texts that it was told: those are the user's."""
    size = os.fstat(output.fileno()).st_size
    if not size:
        return
    output.seek(max(0, size - 4 * LOGGED_CHARACTERS - MAX_ARGUMENT_BYTES))
    text = output.read(4 * LOGGED_CHARACTERS + MAX_ARGUMENT_BYTES).decode(errors="replace")
    secrets = {encode(told), *told["input-messages"], told["last-assistant-message"] or ""}
    secrets |= {line for one in secrets for line in one.splitlines()}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, "[…]")
    logger.info("the notify program wrote: %r", Redaction().text(text)[-LOGGED_CHARACTERS:])
