"""Encryption of what is stored for users and must not be readable in the database or its backups.

The operator's keys are in the environment variable THREADHOUSE_SECRETS_KEY, of the processes and of nothing else. The
first one encrypts and all of them decrypt, so a key is replaced in three steps: append the new one, put it first, and
drop the old one when what it encrypted has expired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import InvalidRequest

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VARIABLE = "THREADHOUSE_SECRETS_KEY"
KEYS = re.compile(r"[A-Za-z0-9_-]{43}=(?:[\s,]+[A-Za-z0-9_-]{43}=)*")  # 32 bytes in base64url each
EXPECTED = "32 random bytes in base64url (make them with: openssl rand -base64 32 | tr '+/' '-_')"


def split_keys(keys: str) -> list[str]:
    """Return the keys in the value of the variable."""
    return re.split(r"[\s,]+", keys)


class Encryption:
    """Encrypts and decrypts JSON objects. keys: in the form of KEYS."""

    def __init__(self, keys: str) -> None:
        self._keys = split_keys(keys)

    def encrypt(self, values: Mapping[str, Any]) -> str:
        """Return the object as a text that only `decrypt` can read."""
        return self._fernet.encrypt(orjson.dumps(values)).decode()

    def decrypt(self, text: str) -> dict[str, Any]:
        """Return what was encrypted. Errors: InvalidRequest (with another key, or the text was changed)."""
        from cryptography.fernet import InvalidToken

        try:
            values: dict[str, Any] = orjson.loads(self._fernet.decrypt(text))
        except InvalidToken:
            raise InvalidRequest(f"stored with a key that is not in {VARIABLE} any more") from None
        return values

    @cached_property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])
