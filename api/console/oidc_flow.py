"""A sign-in at the provider that has begun: what its browser keeps until it comes back, to whichever API process.

The state is in the address with which the browser comes back, and in a cookie of this browser. So nobody can have
another browser finish a sign-in (login CSRF), and no process keeps anything for those who never come back.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from flask import Request, Response

COOKIE = "threadhouse_oidc_"
SECONDS = 600  # that a user has to sign in at the provider
# Places of the page itself. All are at `/`, so that there is no way to another server.
PAGES = re.compile(r"/(#/[A-Za-z0-9/_.~%-]{0,300})?")


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """What the cookie contains. page: where the browser goes in the end, one of PAGES"""

    state: str
    nonce: str
    verifier: str
    page: str

    @classmethod
    def begin(cls, page: str) -> PendingSignIn:
        """Return a new one."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, page)

    @classmethod
    def read(cls, request: Request, state: str, *, secure: bool) -> PendingSignIn | None:
        """Return what this browser has begun with that state; None: nothing."""
        try:
            values: Any = orjson.loads(urlsafe_b64decode(request.cookies.get(_name(state, secure), "")))
            found = cls(**values)
        except (ValueError, TypeError):
            return None
        if not all(isinstance(value, str) for value in values.values()) or not PAGES.fullmatch(found.page):
            return None
        return found if secrets.compare_digest(found.state.encode(), state.encode()) else None

    def write(self, response: Response, *, secure: bool) -> None:
        """Have the browser keep it. Lax, because the provider's page sends the browser back."""
        value = urlsafe_b64encode(orjson.dumps(asdict(self))).decode()
        response.set_cookie(
            _name(self.state, secure), value, max_age=SECONDS, path="/", httponly=True, samesite="Lax", secure=secure
        )


def clear(response: Response, state: str, *, secure: bool) -> None:
    """Have the browser forget what it has begun with that state."""
    response.delete_cookie(_name(state, secure), path="/", httponly=True, samesite="Lax", secure=secure)


def _name(state: str, secure: bool) -> str:
    """Return the name of a sign-in's cookie: a browser may have begun several. __Host-: no other host can set it."""
    return f"{'__Host-' if secure else ''}{COOKIE}{hashlib.sha256(state.encode()).hexdigest()[:16]}"
