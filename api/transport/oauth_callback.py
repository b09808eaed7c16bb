"""GET /oauth/callback: where MCP servers send the browser of a user who has logged in there.

The browser has no credential of ours. Its query has the state of the login, which nobody can guess, which leads to one
call of one user, and which counts once.
"""

from __future__ import annotations

import re

import orjson
from flask import Flask, Response, request

from api.access.auth import Auth
from api.requests.services import Services
from shared.events import mcp_login, worker_calls

MAX_CHARACTERS = 4096  # of one value of the query
PASSED_ON = ("code", "state", "iss", "error")
ERROR_CODE = re.compile(r"[a-zA-Z0-9_.-]{1,80}")  # narrower than RFC 6749, section 4.1.2.1
ARRIVED = "The answer has arrived. Your client says whether the login worked; you can close this page."
UNKNOWN = "This login is unknown, has expired, or was answered before. Begin it again in your client."
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Threadhouse</title>
<h1>Threadhouse</h1>
<p>{}</p>
</html>
"""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address has the code
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def register(app: Flask, services: Services, auth: Auth) -> None:
    """Add the route to the application."""

    def callback() -> Response:
        """Pass the browser's query on to the worker that waits for it."""
        auth.check_host(request)
        query = {name: value[:MAX_CHARACTERS] for name in PASSED_ON if (value := request.args.get(name))}
        if "error" in query and not ERROR_CODE.fullmatch(query["error"]):
            query["error"] = "no error code"  # a person reads it
        is_visit = request.method == "GET"  # not the HEAD of a program that looks at links
        found = services.redis.getdel(mcp_login.login_key(query["state"])) if is_visit and "state" in query else None
        arrived = False
        if isinstance(found, bytes):
            worker, call_id = orjson.loads(found)
            arrived = worker_calls.send_to(services.redis, worker, call_id, mcp_login.CALLBACK, query)
        page = PAGE.format(ARRIVED if arrived else UNKNOWN)
        return Response(page, 200 if arrived else 404, HEADERS, content_type="text/html; charset=utf-8")

    app.add_url_rule(mcp_login.CALLBACK_PATH, "oauth_callback", callback, methods=["GET"])
