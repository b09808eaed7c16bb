"""The HTTP side of both model APIs: one request with its retries, and the events of the answer.

Owns what is sent beside the body, when a request is repeated, and that no secret of the provider reaches an error text.
How a request is cut stands in connections.py; what a failure means, in failures.py.
"""

from __future__ import annotations

import random
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import urllib3

from shared import telemetry
from shared.errors import ModelError
from workers.models import sse
from workers.models.connections import CuttableRequest
from workers.models.failures import (
    IDLE,
    connection_failure,
    disconnected,
    failure_reason,
    response_failure,
    retry_after_seconds,
)

if TYPE_CHECKING:
    from shared.config import Provider

USER_AGENT = f"threadhouse/{version('threadhouse')}"
READ_BYTES = 65_536
ERROR_BYTES = 65_536  # how much of an error's body is read
LAST_BYTES_SECONDS = 0.05  # how long to wait for the end of a complete stream, so that its connection can be reused

BACKOFF_SECONDS = 0.2  # before the first repetition of a request; doubles
MAX_RETRY_AFTER_SECONDS = 60  # a longer wait that a server asks for is left to the turn


class Stream:
    """One request to a model and the stream of its answer.

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
        self._request = CuttableRequest()
        self._response: urllib3.BaseHTTPResponse | None = None

    def cut(self) -> None:
        self._request.cut()

    def events(self) -> Iterator[Any]:
        """Yield the JSON of each event up to the end or `[DONE]`.

        Errors: Cut; ModelError: no answer came, or the stream broke (retryable). An early end is no error here.
        """
        watch = telemetry.watch_stream(time.monotonic())
        self._response = self._open()
        try:
            for data in sse.split(self._chunks(self._response)):
                if data == b"[DONE]":
                    return
                event = sse.parse(data)
                if watch is not None:
                    watch.record(*_kind_and_error(event))
                yield event
        except sse.Malformed as error:
            if watch is not None:
                watch.record("malformed", str(error))
            raise disconnected(str(error)) from None
        except ModelError as error:
            if watch is not None:
                watch.record("disconnected", str(error))
            raise
        finally:
            if watch is not None:
                watch.close()

    def close(self) -> None:
        """Return the connection to its pool if the answer was read to its end, else close it."""
        response = self._response
        if response is None or response.connection is None:
            return  # returned already
        try:
            if not self._request.is_cut:
                self._request.set_read_timeout(LAST_BYTES_SECONDS)
                if not response.read1(READ_BYTES):
                    return
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            pass
        response.close()

    def redact(self, text: str) -> str:
        """Return a server's text without the secrets that the server was sent."""
        for secret in (self._provider.api_key, *self._provider.resolved_headers.values()):
            if secret:
                text = text.replace(secret, "[redacted]")
        return text

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while data := response.read1(READ_BYTES):
                self._request.raise_if_cut()  # what came before the cut may still be there to read
                yield data
        except urllib3.exceptions.ReadTimeoutError:
            self._request.raise_if_cut()
            raise disconnected(IDLE) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._request.raise_if_cut()
            raise disconnected(failure_reason(error)) from None
        self._request.raise_if_cut()

    def _open(self) -> urllib3.BaseHTTPResponse:
        """Return the response with status 200, after as many repetitions as the provider allows."""
        attempt = 0
        while True:
            began_at = time.monotonic()
            try:
                answer = self._send()
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
                failure, repeatable = self._read_failure(answer), answer.status >= 500
            wait_seconds = failure.retry_after_s or 0
            exhausted = attempt == self._provider.request_max_retries or wait_seconds > MAX_RETRY_AFTER_SECONDS
            if exhausted or not repeatable:
                raise failure
            backoff_seconds = BACKOFF_SECONDS * 2**attempt * random.uniform(0.9, 1.1)
            self._request.wait(max(backoff_seconds, wait_seconds))
            attempt += 1

    def _send(self) -> urllib3.BaseHTTPResponse | ModelError:
        """Return the response, whatever its status, or the failure to connect, which may be repeated.

        Errors: ModelError (a failure that must not be repeated), Cut
        """
        request, url = self._request, self._url
        request.raise_if_cut()
        if self._provider.query_params:
            url += "?" + urllib.parse.urlencode(self._provider.query_params)
        try:
            return request.post(url, self._headers, self._body, self._provider.stream_idle_timeout_ms / 1000)
        except urllib3.exceptions.ReadTimeoutError:
            request.raise_if_cut()
            raise disconnected(IDLE) from None
        except ValueError:
            request.raise_if_cut()
            # Not the error's own text: http.client's quotes the header, which may be a secret.
            raise ModelError("the provider's URL, key or headers cannot be sent over HTTP", info="badRequest") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            request.raise_if_cut()
            return connection_failure(error, _without_secrets(self._url))

    def _read_failure(self, response: urllib3.BaseHTTPResponse) -> ModelError:
        try:
            body = response.read(ERROR_BYTES)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            self._request.raise_if_cut()
            body = b""
        response.close()
        text = self.redact(body.decode("utf-8", "replace").replace("\0", "\ufffd"))
        retry_after_s = retry_after_seconds(response.headers.get("Retry-After"))
        return response_failure(response.status, text, retry_after_s, _without_secrets(self._url))


def _kind_and_error(event: Any) -> tuple[str, str | None]:
    """Return (kind, error) of an event for telemetry: Responses API events have a type, Chat Completions an object."""
    if not isinstance(event, dict):
        return "unknown", None
    kind = str(event.get("type") or event.get("object") or "unknown")[:80]
    if kind not in ("response.failed", "error") and not event.get("error"):
        return kind, None
    response = event.get("response")
    error = (response if isinstance(response, dict) else event).get("error")
    return kind, str(error.get("code") or error.get("type") or kind) if isinstance(error, dict) else kind


def _without_secrets(url: str) -> str:
    """Return the URL without user, password and query."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
