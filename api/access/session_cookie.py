"""The cookie of a session of the web console, and which requests may use it.

A browser sends a cookie with each request to this server, whichever page asks for the request. SameSite=Strict keeps it
from other sites, and the checks here from other origins of the same site, such as another port of this machine.
"""

from __future__ import annotations

from flask import Request, Response

from shared.errors import Forbidden

NAME = "threadhouse_session"
READING_METHODS = ("GET", "HEAD")


def read(request: Request) -> str | None:
    """Return the secret of the session; None: the request has no cookie."""
    return request.cookies.get(NAME) or None


def check_sender(request: Request) -> None:
    """Refuse a request that the server's own pages have not sent; a foreign Origin was refused before.

    Errors: Forbidden
    """
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site not in ("same-origin", "none") or (
        request.method not in READING_METHODS and "Origin" not in request.headers
    ):
        raise Forbidden("the session's cookie is for the web console alone; send Authorization: Bearer <key>")


def write(response: Response, secret: str, seconds: int, *, secure: bool) -> None:
    """Have the browser keep the session's secret for so long, where no script can read it.

    secure: whether the page came over https, which a proxy may serve in front of this process
    """
    response.set_cookie(NAME, secret, max_age=seconds, path="/", httponly=True, samesite="Strict", secure=secure)


def clear(response: Response) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(NAME, path="/", httponly=True, samesite="Strict")
