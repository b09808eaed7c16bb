"""The store as a running turn uses it: an outage of the database delays the turn, and does not end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from shared.store import Store
from shared.store.outages import retry_outages


def patient_store(store: Store, check_authority: Callable[[], None]) -> Store:
    """Return the store with calls that are repeated while the database does not answer.

    check_authority: called before each further attempt. Errors: ClaimLost
    """
    return cast(Store, _Patient(store, check_authority))


class _Patient:
    """An object whose methods, and those of its attributes, are repeated after an outage."""

    def __init__(self, of: Any, check_authority: Callable[[], None]) -> None:
        self._of = of
        self._check_authority = check_authority

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return _Patient(found, self._check_authority)
        return lambda *args, **options: retry_outages(lambda: found(*args, **options), self._check_authority)
