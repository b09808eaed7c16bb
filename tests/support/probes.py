"""Requests that name objects of another user, generated from the method table. Extend NAMES for new params.

A method whose params can name an object is probed with every kind of object that they can name. An id in the params of
a method that NAMES does not list fails the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from api.methods import TABLE
from api.requests.examples import THREAD_ID, TURN_ID
from api.requests.params import params_schema
from shared.ids import new_id

# Member of params → the kind of object that it names, which is an attribute of Things.
NAMES = {
    "threadId": "thread",
    "excludedThreadIds": "threads",
    "includedThreadIds": "threads",
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
    "requestId": "search",
    "userId": "user",
    "feedbackId": "feedback",
    "shareId": "share",
    "keyId": "key",
    "deliveryId": "delivery",
    "cwd": "folder",
}
OF_ALL = {"providerId"}  # names of what belongs to no user
LOOKS_LIKE_A_NAME = re.compile(r".*(Id|Ids)$|^cursor$|^cwd$")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NUMBER = re.compile(r"\b\d{6,16}(-\d+)?\b")
VERSION = re.compile(r'("version": ?)"\d+"')  # of the caller's own configuration; each write increments it
OWN = "OWN"
NOT_PROBED = {"initialize"}  # a connection's first request; it names nothing


@dataclass(frozen=True)
class Things:
    """The ids of the objects of one user, by kind. `unknown_things` returns ids that no user has."""

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
    share: str
    key: str
    delivery: str
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


def unknown_things(like: Things) -> Things:
    """Return ids of the same form that no user has."""
    return Things(
        user=new_id(),
        thread=new_id(),
        turn=new_id(),
        item=new_id(),
        request=like.request + 1_000_000,
        event=like.event.partition("-")[0][:-1] + "1-7",
        client_message="unknown-message",
        process="unknown-shell",
        search="unknown-search",
        feedback=new_id(),
        share=new_id(),
        key=new_id(),
        delivery=new_id(),
        archive=new_id(),
        workspaces=like.workspaces,
    )


@dataclass(frozen=True)
class Probe:
    """A request that names objects. OWN in its params stands for a thread of the caller."""

    method: str
    about: str
    params: dict[str, Any]

    def filled(self, make_thread: Callable[[], str]) -> dict[str, Any]:
        """Return the params with a new thread in place of OWN."""
        if self.params.get("threadId") != OWN:
            return self.params
        return {**self.params, "threadId": make_thread()}


def probes(things: Things) -> Iterator[Probe]:
    """Yield requests of each method with these objects: all at once, each alone, and each in a thread of the caller."""
    for method in TABLE:
        if method not in NOT_PROBED:
            yield from _of_method(method, things)


def _of_method(method: str, things: Things) -> Iterator[Probe]:
    fields = params_schema(TABLE[method].Params).fields
    members = {field.data_key or name for name, field in fields.items()}
    unknown = sorted(name for name in members - NAMES.keys() - OF_ALL if LOOKS_LIKE_A_NAME.match(name))
    assert not unknown, f"{method}: add these params to NAMES in tests/support/probes.py: {', '.join(unknown)}"
    example = _theirs(TABLE[method].EXAMPLE.params, things)
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
    text = text.replace(THREAD_ID, things.thread).replace(TURN_ID, things.turn)
    for example_name, theirs in (("shell-1", things.process), ("search-1", things.search)):
        text = text.replace(example_name, theirs)
    filled: dict[str, Any] = json.loads(text)
    return filled


def normalised(answer: Any, *things: Things) -> str:
    """Return an answer as text, with its ids, times and names replaced by placeholders."""
    text = answer if isinstance(answer, str) else json.dumps(answer, sort_keys=True)
    for known in things:
        for name in (known.client_message, known.process, known.search):
            text = text.replace(name, "NAME")
    return VERSION.sub(r'\1"N"', NUMBER.sub("N", UUID.sub("ID", text)))
