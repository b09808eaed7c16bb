"""mcpServer/oauth/login: Begin to log the caller in at an MCP server; a notification says how it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from marshmallow import validate

from api.delivery.close_codes import Closed
from api.delivery.connection import Connection
from api.delivery.frames import notification
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from shared.errors import CallLost, InvalidRequest, ThreadhouseError
from shared.events import mcp_login
from shared.events.worker_calls import START_SECONDS, WorkerCall
from shared.store.users import LOCAL_USER

NAME = "mcpServer/oauth/login"
SLOW = True
DEFAULT_SECONDS = 300
COMPLETED = "mcpServer/oauthLogin/completed"
DISCOVERY_SECONDS = 60.0  # that a worker may take until the browser has to be sent away, and after it has come back

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Where to log in. The caller's browser has to open the result's `authorizationUrl`. When the user is done there,
    or the time is over, the connection gets `mcpServer/oauthLogin/completed`.

    name:         of the server
    scopes:       OAuth scopes to ask for, instead of those of the configuration
    timeout_secs: for which the login may take, at most 900
    thread_id:    a thread whose servers count; by default those of a new thread
    Errors: NotFound (the server, the thread); InvalidRequest (it is a program, wants no login or follows no OAuth; this
            server stores no logins; over HTTP); Overloaded, Unavailable, CallLost (no worker)
    """

    name: str
    scopes: Sequence[Annotated[str, validate.Length(1, 200)]] | None = None
    timeout_secs: Annotated[int, validate.Range(1, int(mcp_login.MAX_SECONDS))] | None = None
    thread_id: str | None = None


@dataclass(frozen=True)
class Result:
    """login_id: of this attempt, also in the notification"""

    authorization_url: str
    login_id: str


EXAMPLE = Example(
    params={"name": "tracker"},
    result={
        "authorizationUrl": "https://login.example.com/authorize?response_type=code&client_id=…",
        "loginId": "01a22704-d655-7a57-8404-08878ff5fc4a",
    },
)


def handle(ctx: Context, params: Params) -> Result:
    if params.thread_id is not None:
        ctx.get_thread(params.thread_id)
    if ctx.connection is None:
        raise InvalidRequest("a login needs a WebSocket, on which a notification says how it ended")
    if ctx.config.server.secrets_key is None:
        raise InvalidRequest("this server stores no logins: its operator has to set THREADHOUSE_SECRETS_KEY")
    seconds = float(params.timeout_secs or DEFAULT_SECONDS)
    asked = {
        "name": params.name,
        "thread_id": params.thread_id,
        "scopes": params.scopes,
        "redirect_uri": redirect_uri(ctx),
        "timeout_seconds": seconds,
    }
    call = WorkerCall(ctx.services.redis, ctx.services.queue, ctx.services.relay, NAME, asked, ctx.user_id)
    call.start()
    ctx.only_waits.set()
    outputs = call.outputs(START_SECONDS + seconds + 2 * DISCOVERY_SECONDS)
    browser = next(outputs)
    key = mcp_login.login_key(browser["state"])
    ctx.services.redis.set(key, orjson.dumps([call.worker, call.id]), ex=round(seconds))
    login = _Login(ctx, ctx.connection, params, call.id)
    ctx.after_reply(threading.Thread(target=login.wait, args=(outputs,), daemon=True).start)
    return Result(browser["url"], call.id)


def redirect_uri(ctx: Context) -> str:
    """Return where MCP servers send the browser after a login."""
    return f"{ctx.config.server.browser_url}{mcp_login.CALLBACK_PATH}"


class _Login:
    """A login whose user is in the browser."""

    def __init__(self, ctx: Context, connection: Connection, params: Params, login_id: str) -> None:
        self._logins, self._users = ctx.store.mcp_logins, ctx.store.users
        self._owner = ctx.user_id
        self._audit_entry = ctx.audit_entry(NAME)
        self._connection = connection
        self._shown = {"name": params.name, "threadId": params.thread_id, "loginId": login_id}

    def wait(self, outputs: Generator[Any, None, Any]) -> None:
        """Wait for the end, store the tokens and notify the client. A client that has left finds the login stored."""
        error: str | None = None
        try:
            self._store(outputs)
        except CallLost:
            error = "a process of the server ended during the login; begin the login again"
        except ThreadhouseError as failure:
            error = str(failure)
        except Exception:
            logger.exception("login at an MCP server failed", extra={"user_id": self._owner})
            error = "internal error"
        with suppress(Closed):
            self._connection.send([notification(COMPLETED, {**self._shown, "success": error is None, "error": error})])

    def _store(self, outputs: Generator[Any, None, Any]) -> None:
        try:
            while True:
                next(outputs)
        except StopIteration as end:
            found = end.value
            if self._owner != LOCAL_USER and not self._users.enabled([self._owner]):
                raise InvalidRequest("the user was disabled or deleted during the login") from None
            self._logins.put(self._owner, found["server_url"], found["login"], audit_entry=self._audit_entry)
