"""Read one thread by its share link: GET /v2/thread/shared and GET /v2/thread/shared/events.

The link's secret comes as `Authorization: Share SECRET`: it is in no address, so that no log of a proxy, no history of
requests and no Referer has it. These two routes are all that it opens; as a bearer token it is a wrong one. Cookies and
keys are not looked at: who is signed in sees by a link what everybody sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson
import redis
from flask import Flask, Response, request

from api.access.auth import Auth
from api.access.caller import Caller
from api.delivery.frames import Frame
from api.requests.history import turns_page
from api.requests.services import Services
from api.transport.event_streams import CURSOR_EXPIRED, EventStreams
from shared.config import Config
from shared.errors import NotFound
from shared.protocol.thread import ThreadStatus
from shared.protocol.turn import TurnObject
from shared.store.thread_shares import ThreadShare
from shared.store.threads import Thread
from shared.store.users import User

logger = logging.getLogger(__name__)

SCHEME = "share"
MAX_SECRET_CHARACTERS = 200
PAGE_TURNS = 20
READ = "thread/share/read"  # in the audit log
READERS_NOTED = 100  # addresses of a link in a day
NOTED_SECONDS = 24 * 60 * 60
HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# What readers see. Not among them: requests to the owner, settings, warnings, token usage.
SHOWN = {
    *("thread/status/changed", "thread/name/updated", "thread/deleted", "thread/reverted", CURSOR_EXPIRED),
    *("turn/started", "turn/completed", "turn/plan/updated", "error"),
    *("item/started", "item/completed", "item/agentMessage/delta", "item/plan/delta"),
    *("item/commandExecution/outputDelta", "item/reasoning/summaryPartAdded"),
    *("item/reasoning/summaryTextDelta", "item/reasoning/textDelta"),
}


class SharedThread(TypedDict):
    """A thread as readers see it. createdAt, updatedAt: Unix seconds"""

    id: str
    name: str | None
    preview: str
    status: ThreadStatus
    cwd: str
    createdAt: int
    updatedAt: int


class SharedPage(TypedDict):
    """A thread with a page of its turns, newest first. nextCursor: continues it. expiresAt: of the link, in Unix s"""

    thread: SharedThread
    turns: list[TurnObject]
    nextCursor: str | None
    expiresAt: int


@dataclass(frozen=True)
class _Opened:
    """A link that was opened: its thread, and the caller that it makes of its reader."""

    share: ThreadShare
    thread: Thread
    caller: Caller


def register(app: Flask, services: Services, auth: Auth, streams: EventStreams) -> None:
    """Add the routes to the application."""

    def read() -> Response:
        """GET /v2/thread/shared?cursor=…: the thread of the link, with its last turns or those before a cursor."""
        opened = _open(services, auth)
        body = _page(services, opened, request.args.get("cursor"))
        data = _hider(services.config, opened.share)(orjson.dumps(body))
        release = services.limits.replies.reserve(_bucket(opened), len(data))
        response = Response(data, content_type="application/json", headers=HEADERS)
        response.call_on_close(release)
        return response

    def events() -> Response:
        """GET /v2/thread/shared/events: a stream of what happens in the thread of the link."""
        opened = _open(services, auth)
        cursor = request.headers.get("Last-Event-ID")
        view = _view(services.config, opened.share)
        response = streams.follow_thread(opened.caller, opened.thread.id, cursor, view=view, counted_as=_bucket(opened))
        response.headers.update(HEADERS)
        return response

    app.add_url_rule("/v2/thread/shared", "shared_thread", read, methods=["GET"])
    app.add_url_rule("/v2/thread/shared/events", "shared_events", events, methods=["GET"])


def _open(services: Services, auth: Auth) -> _Opened:
    """Return what the request's link opens. Errors: NotFound, the same for each link that opens nothing; Overloaded"""
    auth.check_origin(request)
    auth.check_host(request)
    address = request.remote_addr or ""
    services.limits.check_guesses(address)
    services.limits.check_read(address)
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    usable = scheme.lower() == SCHEME and secret.isascii() and 0 < len(secret) <= MAX_SECRET_CHARACTERS
    share = services.store.thread_shares.find(secret) if usable and services.config.server.share_days else None
    thread = services.store.threads.find(share.thread_id, share.owner) if share is not None else None
    if share is None or thread is None:
        services.limits.count_guess(address)
        raise NotFound("this link opens nothing: it is wrong, has expired or was revoked; ask its sender for a new one")
    caller = Caller(
        User(share.owner, "", "member"), "share", transport="http", address=request.remote_addr, share_id=share.id
    )
    opened = _Opened(share, thread, caller)
    services.limits.check_request(_bucket(opened))
    _note_reader(services, opened, address)
    return opened


def _note_reader(services: Services, opened: _Opened, address: str) -> None:
    """Write it to the audit log when an address reads by a link for the first time in a day.

    Only so many addresses of a link are noted: whoever has the link must not fill the log.
    """
    key = f"share-readers:{opened.share.id}"
    try:
        known = services.redis.scard(key)
        if known >= READERS_NOTED or not services.redis.sadd(key, address):
            return
        if known == 0:
            services.redis.expire(key, NOTED_SECONDS)
    except redis.RedisError as error:
        logger.warning("reader of a share link not noted: %s", error)
        return
    entry = opened.caller.audit_entry(READ).with_detail("reader")
    services.store.audit.append(entry, thread_id=opened.thread.id, subject_id=opened.share.id)


def _bucket(opened: _Opened) -> str:
    """Return the name under which readers are counted: together for all links of an owner, apart from the owner."""
    return f"share:{opened.share.owner}"


def _page(services: Services, opened: _Opened, cursor: str | None) -> SharedPage:
    thread = opened.thread
    shown: SharedThread = {
        "id": thread.id,
        "name": thread.name,
        "preview": thread.preview,
        "status": thread.status(),
        "cwd": thread.settings["cwd"],
        "createdAt": thread.created_at_ms // 1000,
        "updatedAt": thread.updated_at_ms // 1000,
    }
    turns = turns_page(
        services.store,
        thread.owner,
        thread.id,
        cursor=cursor,
        limit=PAGE_TURNS,
        direction="desc",
        view="full",
    )
    return {
        "thread": shown,
        "turns": list(turns.data),
        "nextCursor": turns.next_cursor,
        "expiresAt": opened.share.expires_at_ms // 1000,
    }


def _hider(config: Config, share: ThreadShare) -> Callable[[bytes], bytes]:
    """Return a function that shortens the folder of the owner's workspaces, which shows folders of this host.

    A path that two deltas of an output share is whole again in the completed item, which is shortened.
    """
    folder = orjson.dumps(f"{config.server.workspaces_dir}/{share.owner}")[1:-1]
    return lambda data: data.replace(folder, b"/workspaces")


def _view(config: Config, share: ThreadShare) -> Callable[[Frame], Frame | None]:
    """Return a function that gives an event as readers see it; None: they do not see it."""
    hide = _hider(config, share)

    def view(frame: Frame) -> Frame | None:
        if frame.method not in SHOWN:
            return None
        event: dict[str, Any] = orjson.loads(frame.data)
        if _thread_of(event) != share.thread_id:
            return None
        return frame._replace(data=hide(frame.data))

    return view


def _thread_of(event: dict[str, Any]) -> object:
    return event.get("params", {}).get("threadId")
