"""Requests that name other people's things, generated from the method table: one place to extend when there are more.

A method whose params can name something is probed with everything that they can name: a method without an example in
api/examples.py, or with an id in its params that NAMES does not know, fails the tests that use this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from api.examples import EXAMPLES, THREAD, TURN
from api.methods import TABLE
from shared.ids import new_id

# Of a member of params: the kind of thing that it names, which is an attribute of Things.
NAMES = {
    "threadId": "thread",
    "excludedThreadIds": "threads",
    "parentThreadId": "thread",
    "ancestorThreadId": "thread",
    "attachedToThreadId": "thread",
    "sectionId": "thread",
    "projectId": "thread",
    "turnId": "turn",
    "lastTurnId": "turn",
    "beforeTurnId": "turn",
    "expectedTurnId": "turn",
    "itemId": "item",
    "cursor": "cursor",
    "afterEventId": "event",
    "clientUserMessageId": "client_message",
    "processId": "process",
    "sessionId": "search",
    "userId": "user",
    "feedbackId": "feedback",
    "cwd": "folder",
}
LOOKS_LIKE_A_NAME = re.compile(r".*(Id|Ids)$|^cursor$|^cwd$")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NUMBER = re.compile(r"\b\d{6,16}(-\d+)?\b")
VERSION = re.compile(r'("version": ?)"\d+"')  # of the asker's own configuration, which a write raises
OWN = "OWN"
NOT_PROBED = {"initialize"}  # a connection's first request; it names nothing


@dataclass(frozen=True)
class Things:
    """What somebody has, by kind; `nobodys` has the same shape and belongs to no one."""

    user: str
    thread: str
    turn: str
    item: str
    request: int
    event: str
    client_message: str
    process: str
    search: str
    feedback: str
    archive: str
    workspaces: str

    @property
    def threads(self) -> list[str]:
        return [self.thread]

    @property
    def cursor(self) -> str:
        return self.turn

    @property
    def folder(self) -> str:
        return f"{self.workspaces}/{self.user}/{self.thread}"


def nobodys(like: Things) -> Things:
    """Ids of the same form that nobody has."""
    return Things(
        user=new_id(),
        thread=new_id(),
        turn=new_id(),
        item=new_id(),
        request=like.request + 1_000_000,
        event=like.event.partition("-")[0][:-1] + "1-7",
        client_message="nobodys-message",
        process="nobodys-shell",
        search="nobodys-search",
        feedback=new_id(),
        archive=new_id(),
        workspaces=like.workspaces,
    )


@dataclass(frozen=True)
class Probe:
    """One request. OWN in its params is to become a thread of the one who asks."""

    method: str
    about: str
    params: dict[str, Any]

    def filled(self, make_thread: Callable[[], str]) -> dict[str, Any]:
        if self.params.get("threadId") != OWN:
            return self.params
        return {**self.params, "threadId": make_thread()}


def probes(things: Things) -> Iterator[Probe]:
    """Every method with the things of somebody: all at once, and each in a thread of one's own."""
    for method in TABLE:
        if method not in NOT_PROBED:
            yield from _of_method(method, things)


def _of_method(method: str, things: Things) -> Iterator[Probe]:
    fields = TABLE[method].Params().fields
    members = {field.data_key or name for name, field in fields.items()}
    unknown = sorted(name for name in members if LOOKS_LIKE_A_NAME.match(name) and name not in NAMES)
    assert not unknown, f"{method}: say in tests/support/probes.py what these name: {', '.join(unknown)}"
    assert method in EXAMPLES or not any(field.required for field in fields.values()), (
        f"{method}: give it an example in api/examples.py"
    )
    example = _theirs(EXAMPLES.get(method, {}), things)
    yield Probe(method, "example", example)
    if method == "thread/start":
        yield Probe(method, "their archive", {"config": {"workspace": {"archive": things.archive}}})
    named = [name for name in sorted(members) if name in NAMES]
    for name in named:
        value = getattr(things, NAMES[name])
        yield Probe(method, f"their {name}", {**example, name: value})
        if "threadId" in named and name != "threadId":
            yield Probe(method, f"their {name} in an own thread", {**example, "threadId": OWN, name: value})


def _theirs(example: dict[str, Any], things: Things) -> dict[str, Any]:
    text = json.dumps(example).replace("/workspaces/local", f"{things.workspaces}/{things.user}")
    text = text.replace(THREAD, things.thread).replace(TURN, things.turn)
    for example_name, theirs in (("shell-1", things.process), ("search-1", things.search)):
        text = text.replace(example_name, theirs)
    filled: dict[str, Any] = json.loads(text)
    return filled


def normalised(answer: Any, *things: Things) -> str:
    """An answer without the ids and times in it."""
    text = answer if isinstance(answer, str) else json.dumps(answer, sort_keys=True)
    for one in things:
        for name in (one.client_message, one.process, one.search):
            text = text.replace(name, "NAME")
    return VERSION.sub(r'\1"N"', NUMBER.sub("N", UUID.sub("ID", text)))
