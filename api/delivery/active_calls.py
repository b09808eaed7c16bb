"""What is done for one connection and takes long: it is found by name, and ends when the connection closes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from api.delivery.close_codes import Closed
from shared.errors import InvalidRequest
from shared.events.worker_calls import WorkerCall


@dataclass(slots=True)
class SearchSession:
    """A client's fuzzy search over some folders. updates: how often its query changed; only the newest is answered."""

    roots: list[str]
    updates: int = 0


class Cancellable(Protocol):
    """A worker call or a search. cancel() may be called by any thread, and again."""

    def cancel(self) -> None: ...


class ActiveCalls:
    """The worker calls and searches that one connection waits for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Cancellable] = {}
        self._closed: Closed | None = None

    def add(self, name: str, call: Cancellable) -> None:
        """Register a call before it starts. Errors: InvalidRequest (the name is in use), Closed."""
        with self._lock:
            if self._closed:
                raise self._closed
            if name in self._calls:
                raise InvalidRequest(f"duplicate active {name}")
            self._calls[name] = call

    def remove(self, name: str, call: Cancellable) -> None:
        """Forget a call that has ended, unless another one has the name by now."""
        with self._lock:
            if self._calls.get(name) is call:
                del self._calls[name]

    def cancel(self, name: str) -> None:
        """Cancel the call of that name, if there is one, and free the name."""
        with self._lock:
            call = self._calls.pop(name, None)
        if call is not None:
            call.cancel()

    def find(self, name: str) -> WorkerCall | None:
        """Return the worker call of that name, if there is one."""
        with self._lock:
            call = self._calls.get(name)
        return call if isinstance(call, WorkerCall) else None

    def close(self, reason: Closed) -> None:
        """Cancel all calls and refuse new ones."""
        with self._lock:
            self._closed = self._closed or reason
            for call in self._calls.values():
                call.cancel()
