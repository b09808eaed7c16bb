"""What a turn sends to a background terminal that another worker process runs, and how it gets the answer.

The request is published on that process's channel (shared.event_names.worker_channel). The answer is pushed onto a list
that only this request knows, so that a turn waits for it with one blocking command and needs no subscription.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict, cast

import orjson
import redis

from shared.event_names import terminal_answer_key, worker_channel
from shared.ids import new_id

TYPE = "terminal"  # what a worker's channel calls such a request; other messages go to worker calls
ANSWER_TTL_SECONDS = 60  # of an answer that nobody fetches
POLL_SECONDS = 0.5  # of one blocking command, after which the turn sees that it was stopped


class TerminalInput(NamedTuple):
    """A request.

    answer_key: where the answer is expected
    chars:      what to type
    yield_s:    how long to wait for the command's end
    """

    answer_key: str
    chars: str
    yield_s: float
    max_output_tokens: int


class TerminalAnswer(TypedDict, total=False):
    """An answer: the report for the model, or an error.

    ended: the command has ended, and the outcome is stored
    """

    report: str
    error: str
    ended: bool


def send(client: redis.Redis, worker: str, item_id: str, given: TerminalInput) -> bool:
    """Send a request to the process that runs a terminal. Return whether it listens. Errors: redis.RedisError."""
    return bool(client.publish(worker_channel(worker), orjson.dumps([item_id, TYPE, list(given)])))


def new_answer_key() -> str:
    """Return the key for the answer to one request."""
    return terminal_answer_key(new_id())


def answer(client: redis.Redis, key: str, value: TerminalAnswer) -> None:
    """Answer a request. Errors: redis.RedisError."""
    pipeline = client.pipeline()
    pipeline.rpush(key, orjson.dumps(value))
    pipeline.expire(key, ANSWER_TTL_SECONDS)
    pipeline.execute()


def wait(client: redis.Redis, key: str, seconds: float, stopped: Callable[[], bool]) -> TerminalAnswer | None:
    """Wait for the answer. None: it did not come in time, or before `stopped`. Errors: redis.RedisError."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and not stopped():
        found: Any = client.blpop([key], timeout=POLL_SECONDS)
        if found is not None:
            return cast(TerminalAnswer, orjson.loads(found[1]))
    return None
