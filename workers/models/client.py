"""The HTTP side of both model APIs: one request, its retries, a stream of events that can be cut at once.

To be cut "at once" wherever it stands, a request is split at its two blocking places. A new connection (DNS, TCP, TLS:
nothing that another thread could stop) is made in a thread of its own, which a cut leaves behind. Whatever waits on a
connected socket, for the status line or in mid-stream, is woken by shutting that socket down.
"""

from __future__ import annotations

import email.utils
import functools
import random
import re
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from shared import telemetry
from shared.errors import ModelError
from workers.models import sse

if TYPE_CHECKING:
    from shared.config import Provider

USER_AGENT = f"threadhouse/{version('threadhouse')}"
CONNECT_TIMEOUT_SECONDS = 10
MAX_CONNECTIONS = 1000  # kept for reuse, per host; more are made when needed
READ_BYTES = 65_536
ERROR_BYTES = 65_536  # as much of an error's body as is read
LAST_BYTES_SECONDS = 0.05  # how long the end of a complete stream is waited for, so that its connection can be reused

BACKOFF_SECONDS = 0.2  # before the first repetition of a request; doubles
MAX_RETRY_AFTER_SECONDS = 60  # a server that asks for more is not waited for inside a request

IDLE = "idle timeout waiting for the next event"
HIGH_DEMAND = "We’re currently experiencing high demand, which may cause temporary errors."
CONTEXT_FULL = (
    "The conversation ran out of room in the model's context window. "
    "Start a new thread or clear earlier history before retrying."
)
_CONTEXT_FULL = re.compile(r"context[ _](length|window|size)|prompt is too long", re.IGNORECASE)
_TRY_AGAIN_IN = re.compile(r"try again in (\d+(?:\.\d+)?)\s*(ms|s|seconds?|m|minutes?)\b", re.IGNORECASE)
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60}

_USAGE_LIMIT = {"usage_limit_reached", "usage_not_included", "insufficient_quota"}
_OVERLOADED = {"server_is_overloaded", "slow_down"}
_REFUSED = {"invalid_prompt": "badRequest", "cyber_policy": "cyberPolicy", "model_not_found": "modelNotFound"}
_RETRYABLE_STATUS = {401, 408, 409, 425}  # beside 5xx, and 429 with Retry-After; 401: PROTOCOL section 10


class Cut(Exception):
    """The stream was cut by `Stream.cut`; never leaves workers.models."""


class Stream:
    """One request and its answer.

    Read in one thread: `for event in stream.events()`, then `close()`, whatever happened.
    Cut in any thread: `cut()` returns at once; the reader then gets Cut, wherever it waits.
    """

    def __init__(self, provider: Provider, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self._provider = provider
        self._path = path
        self._url = provider.base_url.rstrip("/") + path
        self._headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "originator": "threadhouse",
            **headers,
            **telemetry.trace_headers(),
            **({"Authorization": f"Bearer {provider.api_key}"} if provider.api_key else {}),
            **provider.resolved_headers,
        }
        self._body = body
        self._cut = threading.Event()
        self._wake = threading.Event()  # set by a cut, and when a new connection is made
        self._connection: _Connection | None = None
        self._socket: socket.socket | None = None
        self._response: urllib3.BaseHTTPResponse | None = None

    def cut(self) -> None:
        with _owning:
            self._cut.set()
            self._wake.set()
            self._shut()

    def events(self) -> Iterator[Any]:
        """The JSON of each event up to the end or `[DONE]`.

        Errors: Cut; ModelError: nothing came, or the stream broke (retryable). An end is no error here.
        """
        watch = telemetry.sse_watch(time.monotonic())
        self._response = self._open()
        try:
            for data in sse.split(self._chunks(self._response)):
                if data == b"[DONE]":
                    return
                event = sse.parse(data)
                if watch is not None:
                    watch.saw(*_seen(event))
                yield event
        except sse.Malformed as error:
            if watch is not None:
                watch.saw("malformed", str(error))
            raise disconnected(str(error)) from None
        except ModelError as error:
            if watch is not None:
                watch.saw("disconnected", str(error))
            raise
        finally:
            if watch is not None:
                watch.close()

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        response = self._response
        if response is None or response.connection is None:
            return  # given back already
        try:
            if self._socket is not None and not self._cut.is_set():
                self._socket.settimeout(LAST_BYTES_SECONDS)
                if not response.read1(READ_BYTES):
                    return
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            pass
        response.close()

    def redact(self, text: str) -> str:
        """What a server said, without the secrets it was sent."""
        for secret in (self._provider.api_key, *self._provider.resolved_headers.values()):
            if secret:
                text = text.replace(secret, "[redacted]")
        return text

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while data := response.read1(READ_BYTES):
                yield data
        except urllib3.exceptions.ReadTimeoutError:
            self._raise_if_cut()
            raise disconnected(IDLE) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._raise_if_cut()
            raise disconnected(_reason(error)) from None
        self._raise_if_cut()

    def _open(self) -> urllib3.BaseHTTPResponse:
        """The response with status 200, after as many repetitions as the provider allows."""
        attempt = 0
        while True:
            began_at = time.monotonic()
            try:
                answer = self._request()
            except ModelError as error:
                telemetry.api_requested(self._path, attempt, began_at, None, str(error))
                raise
            if isinstance(answer, ModelError):
                telemetry.api_requested(self._path, attempt, began_at, None, str(answer))
                failure, repeatable = answer, True
            else:
                error_message = None if answer.status == HTTPStatus.OK else f"http {answer.status}"
                cf_ray = answer.headers.get("cf-ray")
                telemetry.api_requested(self._path, attempt, began_at, answer.status, error_message, cf_ray)
                if answer.status == HTTPStatus.OK:
                    return answer
                failure, repeatable = self._failure(answer), answer.status >= 500
            wait_seconds = failure.retry_after_s or 0
            exhausted = attempt == self._provider.request_max_retries or wait_seconds > MAX_RETRY_AFTER_SECONDS
            if exhausted or not repeatable:
                raise failure
            backoff_seconds = BACKOFF_SECONDS * 2**attempt * random.uniform(0.9, 1.1)
            if self._cut.wait(max(backoff_seconds, wait_seconds)):
                raise Cut
            attempt += 1

    def _request(self) -> urllib3.BaseHTTPResponse | ModelError:
        """The response, whatever its status; ModelError as a result: no connection, which may be tried again."""
        self._raise_if_cut()
        url = self._url
        if self._provider.query_params:
            url += "?" + urllib.parse.urlencode(self._provider.query_params)
        idle_seconds = self._provider.stream_idle_timeout_ms / 1000
        _asking.stream = self
        try:
            return _manager(url).request(
                "POST",
                url,
                body=self._body,
                headers=self._headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=idle_seconds),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.ReadTimeoutError:
            self._raise_if_cut()
            raise disconnected(IDLE) from None
        except ValueError:
            self._raise_if_cut()
            # Not the error's own text: http.client's quotes the header, which may be a secret.
            raise ModelError("the provider's URL, key or headers cannot be sent over HTTP", info="badRequest") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._raise_if_cut()
            return ModelError(
                f"connection failed: {_reason(error)}, url: {_shown(self._url)}",
                info={"httpConnectionFailed": {"httpStatusCode": None}},
                retryable=True,
            )
        finally:
            _asking.stream = None

    def _failure(self, response: urllib3.BaseHTTPResponse) -> ModelError:
        try:
            body = response.read(ERROR_BYTES)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            self._raise_if_cut()
            body = b""
        response.close()
        text = self.redact(body.decode("utf-8", "replace").replace("\0", "\ufffd"))
        retry_after_s = retry_after_seconds(response.headers.get("Retry-After"))
        return _refused(response.status, text, retry_after_s, _shown(self._url))

    def _raise_if_cut(self) -> None:
        if self._cut.is_set():
            raise Cut

    def _attach(self, connection: _Connection) -> None:
        """From here on a cut shuts this connection's socket down, until another stream attaches it."""
        with _owning:
            connection.asked_by = self
            self._connection, self._socket = connection, connection.sock
            if self._cut.is_set():
                self._shut()

    def _shut(self) -> None:
        if self._socket is None or self._connection is None or self._connection.asked_by is not self:
            return
        try:
            # Not SSLSocket.shutdown, which would pull the TLS state from under the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            pass  # closed meanwhile

    def _connect(self, connection: _Connection, connect: Callable[[], None]) -> None:
        """Run connect() in a thread that a cut leaves behind."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                connect()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
                failures.append(error)
            self._wake.set()
            if self._cut.is_set():
                connection.close()

        self._wake.clear()
        self._raise_if_cut()
        threading.Thread(target=run, name="model-connect", daemon=True).start()
        self._wake.wait()
        self._raise_if_cut()
        if failures:
            raise failures[0]
        self._attach(connection)


def _seen(event: Any) -> tuple[str, str | None]:
    """(kind, error) of an event, for telemetry: of the Responses API its type, of Chat Completions its object."""
    if not isinstance(event, dict):
        return "unknown", None
    kind = str(event.get("type") or event.get("object") or "unknown")[:80]
    if kind not in ("response.failed", "error") and not event.get("error"):
        return kind, None
    response = event.get("response")
    error = (response if isinstance(response, dict) else event).get("error")
    return kind, str(error.get("code") or error.get("type") or kind) if isinstance(error, dict) else kind


_owning = threading.Lock()  # over _Connection.asked_by; held for a system call at most
_asking = threading.local()  # .stream: the Stream whose request this thread is making; urllib3 passes nothing down


class _Connection(HTTPConnection):
    asked_by: Stream | None = None  # a connection that went back to the pool may serve another stream already

    def connect(self) -> None:
        _asking.stream._connect(self, super().connect)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _asking.stream._attach(self)
        super().request(*args, **kwargs)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _manager(url: str) -> urllib3.PoolManager:
    """This process's connections: direct ones, or those through the proxy that the environment names for the URL."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return _make_manager(None)
    proxies = urllib.request.getproxies()
    return _make_manager(proxies.get(parts.scheme) or proxies.get("all"))


@functools.cache
def _make_manager(proxy: str | None) -> urllib3.PoolManager:
    manager = (
        urllib3.ProxyManager(proxy, maxsize=MAX_CONNECTIONS) if proxy else urllib3.PoolManager(maxsize=MAX_CONNECTIONS)
    )
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager


def disconnected(reason: str) -> ModelError:
    """A stream that broke, or ended before it was complete."""
    return ModelError(f"stream disconnected before completion: {reason}", retryable=True)


def failed(code: str | None, message: str) -> ModelError:
    """A failure that the server told inside the stream (`response.failed`, an error event); PROTOCOL section 10."""
    if code == "context_length_exceeded" or _CONTEXT_FULL.search(message):
        return ModelError(CONTEXT_FULL, info="contextWindowExceeded", details=message)
    if code in _USAGE_LIMIT:
        return ModelError(message, info="usageLimitExceeded")
    if code == "rate_limit_exceeded":
        wait_seconds = _told_seconds(message)
        return ModelError(message, info="rateLimitExceeded", retryable=True, retry_after_s=wait_seconds)
    if code in _OVERLOADED:
        return ModelError(message, info="serverOverloaded", retryable=True)
    if code in _REFUSED:
        return ModelError(message, info=_REFUSED[code])
    return disconnected(message)


def retry_after_seconds(header: str | None) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3) in seconds from now; None when absent or meaningless."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _told_seconds(message: str) -> float | None:
    match = _TRY_AGAIN_IN.search(message)
    if match is None:
        return None
    unit = match[2].lower()
    return float(match[1]) * _UNIT_SECONDS["ms" if unit == "ms" else unit[0]]


def _refused(status: int, text: str, retry_after_s: float | None, url: str) -> ModelError:
    """A response that is not 200; PROTOCOL section 10."""
    error = _error_member(text)
    message = str(error.get("message") or text)
    kinds = {str(error.get("code")), str(error.get("type"))}
    phrase = f"{status} {_phrase(status)}".strip()
    unexpected = f"unexpected status {phrase}: {message}, url: {url}"
    if status == 429:
        if kinds & _USAGE_LIMIT:
            return ModelError(_usage_limit(error), info="usageLimitExceeded", http_status=status, details=message)
        return ModelError(
            f"exceeded retry limit, last status: {phrase}",
            info={"responseTooManyFailedAttempts": {"httpStatusCode": status}},
            http_status=status,
            retry_after_s=retry_after_s,
            retryable=retry_after_s is not None,
            details=message,
        )
    if status < 500 and ("context_length_exceeded" in kinds or (status in (400, 413) and _CONTEXT_FULL.search(text))):
        return ModelError(CONTEXT_FULL, info="contextWindowExceeded", http_status=status, details=message)
    if status == 400:
        return ModelError(text or unexpected, info="other", http_status=status)
    if status == 500:
        return ModelError(
            HIGH_DEMAND, info="internalServerError", retryable=True, retry_after_s=retry_after_s, details=unexpected
        )
    if kinds & _OVERLOADED:
        info: str | dict[str, Any] = "serverOverloaded"
    elif "model_not_found" in kinds:
        info = "modelNotFound"
    else:
        info = {"httpConnectionFailed": {"httpStatusCode": status}}
    retryable = status > 500 or status in _RETRYABLE_STATUS
    return ModelError(unexpected, info=info, http_status=status, retry_after_s=retry_after_s, retryable=retryable)


def _error_member(text: str) -> dict[str, Any]:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _usage_limit(error: Mapping[str, Any]) -> str:
    resets_at = error.get("resets_at")
    if isinstance(error.get("resets_in_seconds"), int | float):
        resets_at = time.time() + error["resets_in_seconds"]
    if not isinstance(resets_at, int | float):
        return "You’ve hit your usage limit at the model's provider."
    when = datetime.fromtimestamp(resets_at, UTC)
    return f"You’ve hit your usage limit at the model's provider. Try again at {when:%Y-%m-%d %H:%M} UTC."


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _reason(error: BaseException) -> str:
    """What happened, without the objects that urllib3 puts in front of it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = re.sub(r"^\w+\(.*?\): ", "", str(error.args[0]) if error.args else type(error).__name__)
    cause = error.args[1] if len(error.args) > 1 else None
    return f"{text.rstrip('.')}: {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else text


def _shown(url: str) -> str:
    """The URL without what may be secret."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
