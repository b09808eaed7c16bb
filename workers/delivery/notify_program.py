"""Runs the notify program with its argument. It is the operator's own program, so it runs without a sandbox."""

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
from typing import IO, NotRequired, TypedDict, cast

import orjson

from shared.errors import NotFound
from shared.redaction import Redaction
from shared.store import Store
from shared.store.items import Item
from shared.store.outbox import Outgoing
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

# The program gets none of our own variables (API keys, database, secrets). If it needs more, it reads its own file.
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE",
    "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip
MAX_ARGUMENT_BYTES = 131_071  # Linux's limit for one argument (MAX_ARG_STRLEN) without its NUL
MAX_OUTPUT_BYTES = 1 << 24  # a program that writes more is ended
LOGGED_CHARACTERS = 2000  # from the end of its output
POLL_SECONDS = 0.05
KILL_SECONDS = 2.0  # between TERM and KILL


Argument = TypedDict(
    "Argument",
    {
        "type": str,
        "thread-id": str,
        "turn-id": str,
        "cwd": str,
        "client": NotRequired[str],
        "input-messages": Sequence[str],
        "last-assistant-message": str | None,
    },
)


def build_argument(store: Store, outgoing: Outgoing) -> Argument | None:
    """Return the program's argument for a turn (PROTOCOL 13); None when the thread has been deleted."""
    try:
        turn = store.turns.get(outgoing.data["turnId"], outgoing.data["userId"])
    except NotFound:
        return None
    rows = store.items.of_turn(turn.id)
    messages = [row.item["text"] for row in rows if row.kind == "agentMessage" and row.item]
    client = turn.options.get("client")
    optional = {} if client is None else {"client": client}
    argument = {
        "type": "agent-turn-complete",
        "thread-id": turn.thread_id,
        "turn-id": turn.id,
        "cwd": outgoing.data["cwd"],
        **optional,
        "input-messages": typed_texts(turn, rows),
        "last-assistant-message": messages[-1] if messages else None,
    }
    return cast(Argument, argument)


def typed_texts(turn: Turn, rows: Sequence[Item]) -> list[str]:
    """Return what the user typed in a turn: one text per input, its text parts joined by newlines.

    The first message of a review is the server's own, unless the user gave the instructions.
    """
    inputs = [row.item["content"] for row in rows if row.kind == "userMessage" and row.item]
    texts = ["\n".join(part["text"] for part in content if part["type"] == "text") for content in inputs]
    if turn.options.get("kind") == "review" and texts and texts[0] != turn.options.get("review"):
        return texts[1:]
    return texts


def encode(argument: Argument) -> str:
    """Return the argument as JSON. Texts are shortened, the longest first, until it fits."""
    encoded, longest = orjson.dumps(argument), MAX_ARGUMENT_BYTES
    while len(encoded) > MAX_ARGUMENT_BYTES and longest > 1:
        longest //= 2
        inputs = [_cut(text, longest) for text in argument["input-messages"]]
        last = argument["last-assistant-message"]
        shortened = {**argument, "input-messages": inputs, "last-assistant-message": last and _cut(last, longest)}
        encoded = orjson.dumps(shortened)
    return encoded.decode()


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def run(argv: Sequence[str], argument: Argument, home: Path, timeout_s: float, draining: threading.Event) -> str | None:
    """Run the program to its end. Return None when it succeeded, else what went wrong.

    home:     the folder it runs in: not the workspace, whose files are not the operator's
    draining: set when this process shuts down; the program then runs on unattended
    """
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [*argv, encode(argument)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
                env={name: os.environ[name] for name in INHERITED if name in os.environ},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"it could not be started: {error}"
        problem = _wait(process, output, timeout_s, draining)
        _log(output, argument)
    return problem


def _wait(
    process: subprocess.Popen[bytes], output: IO[bytes], timeout_s: float, draining: threading.Event
) -> str | None:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if draining.wait(POLL_SECONDS):
            return "the worker shut down while it ran; it runs on unattended"
        if time.monotonic() >= deadline:
            _end(process)
            return f"it ran for more than {timeout_s:g} s and was ended"
        if os.fstat(output.fileno()).st_size > MAX_OUTPUT_BYTES:
            _end(process)
            return f"it wrote more than {MAX_OUTPUT_BYTES} bytes and was ended"
    return f"it ended with exit code {process.returncode}" if process.returncode else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _log(output: IO[bytes], argument: Argument) -> None:
    """Log the end of its output without the texts of its argument, because those are the user's."""
    size = os.fstat(output.fileno()).st_size
    if not size:
        return
    output.seek(max(0, size - 4 * LOGGED_CHARACTERS - MAX_ARGUMENT_BYTES))
    text = output.read(4 * LOGGED_CHARACTERS + MAX_ARGUMENT_BYTES).decode(errors="replace")
    secrets = {encode(argument), *argument["input-messages"], argument["last-assistant-message"] or ""}
    secrets |= {line for secret in secrets for line in secret.splitlines()}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, "[…]")
    logger.info("notify program output: %r", Redaction().text(text)[-LOGGED_CHARACTERS:])
