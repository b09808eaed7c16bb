"""A client of the server's HTTP door: calls, and turns as server-sent events. It never asks a proxy."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from shared.errors import InvalidRequest, RequestError, Unauthorized, Unavailable

SILENCE_SECONDS = 30.0  # a stream has a comment every 10 s; three missed ones are a dead connection
READY_SECONDS = 1.0  # /readyz answers from memory
RESULT = "result"  # the name of a stream's first event: what the method answered


@dataclass(frozen=True)
class Event:
    """One server-sent event.

    id:    cursor for `events(after=…)`; None: the event is not in the thread's log
    name:  the notification's method, or RESULT
    data:  {"method", "params", …} as on a WebSocket; of RESULT {"result": what the method answered}
    """

    id: str | None
    name: str
    data: dict[str, Any]


class Client:
    """One server, by its URL. Certificates are those that the system trusts, or SSL_CERT_FILE.

    trusted: false: whichever certificate it shows; for a question whose answer is no secret
    Errors:  of every call: Unavailable (no connection, or it broke; 5xx; over a limit), Unauthorized, InvalidRequest
    """

    def __init__(self, url: str, token: str | None = None, *, trusted: bool = True) -> None:
        parts = urlsplit(url)
        self._secure, self._host = parts.scheme == "https", parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._tls: ssl.SSLContext | None = None
        if self._secure:
            self._tls = ssl.create_default_context() if trusted else ssl._create_unverified_context()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """POST /v2/METHOD; the result."""
        with self._request("POST", f"/v2/{method}", params, accept="application/json") as response:
            result: dict[str, Any] = json.loads(_read(response))
            return result

    def upload(self, file: Path) -> str:
        """POST /v2/workspace/archive; the archive's id."""
        with (
            file.open("rb") as body,
            self._request("POST", "/v2/workspace/archive", body, accept="application/json") as response,
        ):
            archive: str = json.loads(_read(response))["archive"]
            return archive

    def stream(self, method: str, params: dict[str, Any]) -> Iterator[Event]:
        """POST /v2/METHOD as a stream: its result, then the thread's events until the turn has ended."""
        with self._request("POST", f"/v2/{method}", params, accept="text/event-stream") as response:
            yield from _events(response)

    def events(self, thread_id: str, *, after: str | None = None) -> Iterator[Event]:
        """GET /v2/thread/events: the thread's events after that cursor, and new ones until the caller stops."""
        path = f"/v2/thread/events?threadId={quote(thread_id)}"
        headers = {"Last-Event-ID": after} if after else {}
        with self._request("GET", path, None, accept="text/event-stream", headers=headers) as response:
            yield from _events(response)

    def is_ready(self) -> bool:
        """Whether GET /readyz says so."""
        try:
            with self._request("GET", "/readyz", None, accept="*/*", timeout_seconds=READY_SECONDS):
                return True
        except (Unavailable, RequestError):
            return False

    def _request(
        self,
        verb: str,
        path: str,
        body: dict[str, Any] | BinaryIO | None,
        *,
        accept: str,
        headers: dict[str, str] | None = None,
        timeout_seconds: float = SILENCE_SECONDS,
    ) -> http.client.HTTPResponse:
        """Close the response to close its connection."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_seconds, context=self._tls)
        try:
            connection.request(
                verb,
                path,
                body=json.dumps(body) if isinstance(body, dict) else body,
                headers={"Accept": accept, "Content-Type": "application/json", "Connection": "close"}
                | self._headers
                | (headers or {}),
            )
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"no answer from {self._host}:{self._port}: {error}") from error
        if response.status >= 300:
            with response:
                raise _refusal(response)
        return response


def _refusal(response: http.client.HTTPResponse) -> Exception:
    """The error that a problem document (RFC 9457) speaks of."""
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
    """WHATWG HTML, 9.2.6, for lines that end in LF."""
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
