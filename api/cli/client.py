"""A client of the HTTP API: calls, and turns as server-sent events. It ignores proxy settings of the environment."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict
from urllib.parse import quote, urlsplit

from shared.errors import InvalidRequest, RequestError, Unauthorized, Unavailable

SILENCE_SECONDS = 30.0  # a stream has a comment every 10 s; three missed comments are a dead connection
READY_SECONDS = 1.0  # /readyz answers from memory
RESULT = "result"  # name of a stream's first event, which has the result of the method


class EventData(TypedDict, total=False):
    """The data of a server-sent event: a notification or a server request (it has an id), or the result of a method."""

    id: int
    method: str
    params: Any
    eventId: str
    emittedAtMs: int
    result: Any


@dataclass(frozen=True)
class Event:
    """One server-sent event.

    id:    cursor for `events(after=…)`; None: the event is not in the thread's log
    name:  the notification's method, or RESULT
    data:  a notification; for RESULT {"result": …}
    """

    id: str | None
    name: str
    data: EventData


class Client:
    """A client of one server. It trusts the certificates that the system trusts, or those of SSL_CERT_FILE.

    url:     http:// or https://
    token:   an API key or token, or what returns one for each request; None: the server has no users
    trusted: whether to verify the certificate; false only for requests that carry and return no secret
    Errors:  of every call: Unavailable (no connection, or it broke; 5xx; over a limit), Unauthorized, InvalidRequest
    """

    def __init__(self, url: str, token: str | Callable[[], str] | None = None, *, trusted: bool = True) -> None:
        parts = urlsplit(url)
        self._secure, self._host = parts.scheme == "https", parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._tls: ssl.SSLContext | None = None
        if self._secure:
            self._tls = ssl.create_default_context() if trusted else ssl._create_unverified_context()
        self._token = token

    def call(self, method: str, params: Mapping[str, object]) -> Any:
        """POST /v2/METHOD; return the result."""
        with self._request("POST", f"/v2/{method}", params, accept="application/json") as response:
            return json.loads(_read(response))

    def get(self, path: str) -> Any:
        """GET a path; return the object there."""
        with self._request("GET", path, None, accept="application/json") as response:
            return json.loads(_read(response))

    def upload(self, file: Path) -> str:
        """POST /v2/workspace/archive; return the archive's id."""
        with (
            file.open("rb") as body,
            self._request("POST", "/v2/workspace/archive", body, accept="application/json") as response,
        ):
            archive: str = json.loads(_read(response))["archive"]
            return archive

    def stream(self, method: str, params: Mapping[str, object]) -> Iterator[Event]:
        """POST /v2/METHOD as a stream: yield its result, then the thread's events until the turn has ended."""
        with self._request("POST", f"/v2/{method}", params, accept="text/event-stream") as response:
            yield from _events(response)

    def events(self, thread_id: str, *, after: str | None = None) -> Iterator[Event]:
        """GET /v2/thread/events: yield the thread's events after the cursor, then new ones until the caller stops."""
        path = f"/v2/thread/events?threadId={quote(thread_id)}"
        headers = {"Last-Event-ID": after} if after else {}
        with self._request("GET", path, None, accept="text/event-stream", headers=headers) as response:
            yield from _events(response)

    def is_ready(self) -> bool:
        """Return whether GET /readyz answers that the server is ready."""
        try:
            with self._request("GET", "/readyz", None, accept="*/*", timeout_seconds=READY_SECONDS):
                return True
        except (Unavailable, RequestError):
            return False

    def needs_key(self) -> bool:
        """Return whether the server has users, so that it answers no request without a key."""
        try:
            self.call("thread/loaded/list", {})
        except Unauthorized:
            return True
        except (Unavailable, RequestError):
            pass
        return False

    def _authorization(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _request(
        self,
        verb: str,
        path: str,
        body: Mapping[str, object] | BinaryIO | None,
        *,
        accept: str,
        headers: dict[str, str] | None = None,
        timeout_seconds: float = SILENCE_SECONDS,
    ) -> http.client.HTTPResponse:
        """Send a request; closing the response closes its connection."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_seconds, context=self._tls)
        try:
            connection.request(
                verb,
                path,
                body=json.dumps(body) if isinstance(body, Mapping) else body,
                headers={"Accept": accept, "Content-Type": "application/json", "Connection": "close"}
                | self._authorization()
                | (headers or {}),
            )
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"no answer from {self._host}:{self._port}: {error}") from error
        if response.status >= 300:
            with response:
                raise _error(response)
        return response


def _error(response: http.client.HTTPResponse) -> Exception:
    """Return the error that a problem document (RFC 9457) describes."""
    text = _read(response)
    try:
        detail = str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP {response.status} {response.reason}"
    if response.status == 401:
        return Unauthorized(detail)
    return Unavailable(detail) if response.status == 429 or response.status >= 500 else InvalidRequest(detail)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the connection broke: {error}") from error


def _events(response: http.client.HTTPResponse) -> Iterator[Event]:
    """Parse server-sent events (WHATWG HTML, 9.2.6) whose lines end in LF; an incomplete last event is dropped."""
    fields: dict[str, str] = {}
    while line := _read_line(response):
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
        elif not value and "data" in fields:
            yield Event(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}


def _read_line(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.readline()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the stream broke: {error}") from error
