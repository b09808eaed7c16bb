"""The console's page and files, and its sessions: sign in, who is signed in, sign out."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson
from flask import Flask, Response, request

from api.access import session_cookie
from api.access.auth import Auth
from api.access.caller import Caller
from api.console.files import built_files
from api.console.root_page import root_page
from api.requests.services import Services
from api.transport.request_body import read_body
from shared.errors import Forbidden, InvalidParams, NotFound, Unauthorized

ASSETS = "assets"  # the folder of files whose names change with their content
SIGN_IN_BYTES = 16 * 1024
SIGN_IN_SECONDS = 20.0
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def register(app: Flask, services: Services, auth: Auth) -> None:
    """Add the routes to the application."""
    routes = _Routes(services, auth)
    app.add_url_rule("/", "root", routes.root, methods=["GET"])
    app.add_url_rule(f"/console/{ASSETS}/<name>", "console_asset", routes.asset, methods=["GET"])
    app.add_url_rule("/console/session", "console_session", routes.session, methods=["GET"])
    app.add_url_rule("/console/session", "console_sign_in", routes.sign_in, methods=["POST"])
    app.add_url_rule("/console/session", "console_sign_out", routes.sign_out, methods=["DELETE"])


class _Routes:
    def __init__(self, services: Services, auth: Auth) -> None:
        self._services = services
        self._auth = auth

    def root(self) -> Response:
        """GET /: the console for a browser, and a few words about this server for other clients.

        Neither shows anything about any user.
        """
        self._auth.check_origin(request)
        self._auth.check_host(request)
        if "text/html" in request.headers.get("Accept", "") and "index.html" in built_files():
            return _file("index.html", "no-cache")
        page = root_page(self._services.config, request.host)
        return Response(page, content_type="text/html; charset=utf-8", headers={"Vary": "Accept"})

    def asset(self, name: str) -> Response:
        """GET /console/assets/<name>: a file of the page. Its name changes with its content."""
        self._auth.check_origin(request)
        self._auth.check_host(request)
        return _file(f"{ASSETS}/{name}", "public, max-age=31536000, immutable")

    def session(self) -> Response:
        """GET /console/session: who the caller is; {"user": null}: nobody is signed in.

        That is no error of the page, which asks this first. detail: why nobody can sign in at all
        """
        self._auth.check_origin(request)
        try:
            return self._describe(self._auth.authenticate(request, "http"))
        except Unauthorized as error:
            detail = None if self._auth.requires_credential() else str(error)
            provider = {} if self._auth.provider is None else {"provider": self._auth.provider.settings.name}
            return _answer({"user": None, "mode": "session", "detail": detail, **provider})

    def sign_in(self) -> Response:
        """POST /console/session {"credential"}: exchange an API key or a token for a session's cookie."""
        self._check_page()
        with self._services.limits.bodies.reserve("") as reserved:
            too_large = "the credential is too long; paste the API key or the token alone"
            raw = read_body(reserved, SIGN_IN_BYTES, SIGN_IN_SECONDS, too_large=too_large)
        credential = _credential(raw)
        if not self._auth.requires_credential():
            return self._describe(self._auth.authenticate(request, "http"))
        caller = self._auth.check_credential(credential, "http", request.remote_addr or "")
        self._services.limits.check_request(caller.user_id)
        earlier = session_cookie.read(request)
        secret, ends_at_ms = self._services.store.sessions.create(
            caller.user_id,
            caller.key_id,
            self._auth.credential_expires_at_ms(credential, caller),
            replaces=earlier,
            audit_entry=caller.audit_entry("console/signIn"),
        )
        if earlier is not None:
            self._auth.forget_session(earlier)
        response = self._describe(caller)
        secure = request.headers["Origin"].startswith("https:")
        session_cookie.write(response, secret, max(1, int(ends_at_ms / 1000 - time.time())), secure=secure)
        return response

    def sign_out(self) -> Response:
        """DELETE /console/session: end the session, and have the browser forget it.

        {"continueAt": …}: where the browser goes to sign out of the provider, too
        """
        self._check_page()
        leave: str | None = None
        secret = session_cookie.read(request)
        session = self._services.store.sessions.find(secret) if secret is not None else None
        if secret is not None and session is not None:
            caller = Caller(session.user, key_id=session.key_id, address=request.remote_addr)
            entry = caller.audit_entry("console/signOut")
            if session.from_provider:
                from api.console.oidc_routes import sign_out_url  # imports cryptography, which takes a while

                leave = sign_out_url(self._services, self._auth, secret)
            self._services.store.sessions.end(session.id, session.user.id, audit_entry=entry)
            self._auth.forget_session(secret)
        response = _answer({} if leave is None else {"continueAt": leave})
        session_cookie.clear(response)
        return response

    def _describe(self, caller: Caller) -> Response:
        """Return who the caller is. git: whether a thread can start from a repository."""
        user = {"id": caller.user.id, "name": caller.user.name, "role": caller.user.role}
        mode = "open" if caller.auth_mode == "none" else "session"
        git = bool(self._services.config.workspaces.git_hosts)
        return _answer({"user": user, "mode": mode, "detail": None, "git": git})

    def _check_page(self) -> None:
        """Refuse a request that the console has not sent: another page must sign nobody in or out. Errors: Forbidden"""
        self._auth.check_origin(request)
        self._auth.check_host(request)
        if "Origin" not in request.headers:
            raise Forbidden("the web console alone signs in here; send Authorization: Bearer <key> with each request")


def _credential(raw: bytes) -> str:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    credential = body.get("credential") if isinstance(body, dict) else None
    if not isinstance(credential, str) or not credential.strip() or not credential.isascii():
        raise InvalidParams('expected {"credential": an API key or a token}')
    return credential.strip()


def _answer(body: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(body), content_type="application/json", headers={"Cache-Control": "no-store"})


def _file(path: str, cache_control: str) -> Response:
    found = built_files().get(path)
    if found is None:
        raise NotFound("the console has no such file; reload the page")
    response = Response(found.content, content_type=found.content_type)
    if request.accept_encodings["gzip"] > 0:
        response = Response(found.compressed, content_type=found.content_type)
        response.headers["Content-Encoding"] = "gzip"
    response.headers.update({**SECURITY_HEADERS, "Cache-Control": cache_control, "Vary": "Accept, Accept-Encoding"})
    return response
