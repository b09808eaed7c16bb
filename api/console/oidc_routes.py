"""Signing in to the web console at an OpenID Connect provider, and out of it (`[auth.oidc]`).

GET /oidc/start sends the browser to the provider, GET /oidc/callback gets it back with a code, which is exchanged for
an ID token and then for a session. POST /oidc/logout is how the provider ends sessions (back-channel logout). GET
/oidc/client says where `threadhouse login` logs in.
"""

from __future__ import annotations

import hashlib
import html
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.base import OAuth2Error
from flask import Flask, Response, request

from api.access import session_cookie
from api.access.auth import Auth
from api.access.caller import Caller
from api.access.oidc_provider import Provider
from api.access.oidc_tokens import OidcTokens, is_admin, user_name
from api.console.oidc_flow import PAGES, SECONDS, PendingSignIn, clear
from api.requests.services import Services
from api.transport.error_codes import wire_error
from api.transport.request_body import read_body
from shared.errors import Forbidden, InvalidRequest, NotFound, ThreadhouseError, Unauthorized, Unavailable
from shared.store.sessions import ProviderSignIn

logger = logging.getLogger(__name__)

CALLBACK_PATH = "/oidc/callback"
LOGOUT_BYTES = 16 * 1024
LOGOUT_SECONDS = 20.0
MAX_ID_TOKEN = 64 * 1024
HOUR_MS = 3600 * 1000
NO_STORE = {"Cache-Control": "no-store"}
JSON = "application/json"
PAGE_HEADERS = {
    **NO_STORE,
    "Referrer-Policy": "no-referrer",  # the address may have a code
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Threadhouse</title>
<main><h1>You are not signed in</h1>
<p>{}</p>
<p><a href="{}">Back to the sign-in page</a></p></main>
</html>
"""


def register(app: Flask, services: Services, auth: Auth) -> None:
    """Add the routes to the application. There is a provider."""
    assert auth.provider is not None
    assert auth.oidc_tokens is not None
    routes = _Routes(services, auth, auth.provider, auth.oidc_tokens)
    app.add_url_rule("/oidc/start", "oidc_start", routes.page_of(routes.start), methods=["GET"])
    app.add_url_rule(CALLBACK_PATH, "oidc_callback", routes.page_of(routes.callback), methods=["GET"])
    app.add_url_rule("/oidc/client", "oidc_client", routes.client, methods=["GET"])
    app.add_url_rule("/oidc/logout", "oidc_logout", routes.logout, methods=["POST"])


def sign_out_url(services: Services, auth: Auth, secret: str) -> str | None:
    """Return where the browser of a session signs out of the provider; None: nowhere."""
    if auth.provider is None:
        return None
    try:
        if "end_session_endpoint" not in auth.provider.metadata():
            return None
        endpoint = auth.provider.endpoint("end_session_endpoint")
    except Unavailable as error:
        logger.warning("user stays signed in at the identity provider: %s", error)
        return None
    params = [
        ("client_id", auth.provider.settings.client_id),
        ("post_logout_redirect_uri", f"{services.config.server.browser_url}/"),
    ]
    id_token = services.store.sessions.find_id_token(secret)
    params += [("id_token_hint", id_token)] if id_token else []
    url: str = add_params_to_uri(endpoint, params)
    return url


class _Routes:
    def __init__(self, services: Services, auth: Auth, provider: Provider, tokens: OidcTokens) -> None:
        self._services = services
        self._auth = auth
        self._provider = provider
        self._tokens = tokens
        self._url = services.config.server.browser_url
        self._secure = self._url.startswith("https:")

    def page_of(self, route: Callable[[], Response]) -> Callable[[], Response]:
        """Return the route with its errors as pages, because a person reads them."""

        def answer() -> Response:
            try:
                self._auth.check_host(request)
                return route()
            except Exception as error:  # noqa: BLE001 - an edge: what is unexpected is logged and said in general
                known = wire_error(error, request.path)
                page = PAGE.format(html.escape(_sentence(known.message)), html.escape(f"{self._url}/"))
                return Response(page, known.codes.status, PAGE_HEADERS, content_type="text/html; charset=utf-8")

        return answer

    def start(self) -> Response:
        """GET /oidc/start?next=/#/…: send the browser to the provider. next: the page that is shown in the end"""
        page = request.args.get("next", "/")
        if not PAGES.fullmatch(page):
            raise InvalidRequest("the page to go to after signing in is none of this server; sign in without it")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Forbidden("another page has sent your browser here; begin at the sign-in page")
        if _host() != urlsplit(self._url).hostname:  # the cookie would stay behind
            raise InvalidRequest(f"the provider sends your browser to {self._url}; open that address and sign in there")
        pending = PendingSignIn.begin(page)
        client = self._client()
        url, _ = client.create_authorization_url(
            self._provider.endpoint("authorization_endpoint"),
            state=pending.state,
            code_verifier=pending.verifier,
            nonce=pending.nonce,
        )
        response = _redirect(url)
        pending.write(response, secure=self._secure)
        return response

    def callback(self) -> Response:
        """GET /oidc/callback: exchange the provider's answer for a session."""
        state = request.args.get("state", "")
        pending = PendingSignIn.read(request, state, secure=self._secure)
        if pending is None:
            raise InvalidRequest("this sign-in was not begun in this browser, has expired or is over; begin it again")
        self._services.limits.check_request(f"sign-in:{request.remote_addr}")  # anybody can make such a cookie
        claims, id_token = self._claims(pending)
        settings = self._provider.settings
        name = user_name(settings, claims)
        user = self._auth.find_user(name, request.remote_addr or "", creates=settings.create_users)
        self._services.limits.check_request(user.id)
        digest = hashlib.sha256(pending.nonce.encode()).hexdigest()
        # A provider accepts a code once; this is for one that does not.
        if not self._services.redis.set(f"oidc-signed-in:{digest}", b"1", nx=True, ex=SECONDS):
            raise InvalidRequest("this sign-in is over already; begin it again")
        session = claims.get("sid")
        signed_in = ProviderSignIn(
            claims["sub"], session if isinstance(session, str) else None, is_admin(settings, claims), id_token
        )
        ends_at_ms = int(time.time() * 1000) + settings.session_hours * HOUR_MS
        entry = Caller(user, "jwt", address=request.remote_addr).audit_entry("console/signIn")
        secret, ends_at_ms = self._services.store.sessions.create(
            user.id, None, ends_at_ms, provider=signed_in, audit_entry=entry
        )
        response = _redirect(f"{self._url}{pending.page}")
        session_cookie.write(response, secret, max(1, int(ends_at_ms / 1000 - time.time())), secure=self._secure)
        clear(response, state, secure=self._secure)
        return response

    def client(self) -> Response:
        """GET /oidc/client: where and as which client the programs of users log in."""
        self._auth.check_origin(request)
        self._auth.check_host(request)
        settings = self._provider.settings
        if settings.public_client_id is None:
            raise NotFound("programs cannot log in here: the operator sets [auth.oidc] cli_client_id")
        body = {"issuer": settings.issuer, "clientId": settings.public_client_id, "scopes": list(settings.scopes)}
        return Response(orjson.dumps(body), content_type=JSON, headers=NO_STORE)

    def logout(self) -> Response:
        """POST /oidc/logout (logout_token): the provider ends sessions of a user; harmless when repeated."""
        self._auth.check_origin(request, own_allowed=False)
        self._auth.check_host(request)
        with self._services.limits.bodies.reserve("") as reserved:
            raw = read_body(reserved, LOGOUT_BYTES, LOGOUT_SECONDS, too_large="the logout token is too long")
        token = _form_value(raw, "logout_token")
        try:
            subject, session = self._tokens.check_logout(token)
        except Unauthorized as error:
            return Response(
                orjson.dumps({"error": "invalid_request", "error_description": str(error)}),
                400,
                NO_STORE,
                content_type=JSON,
            )
        self._services.store.sessions.all_users_end_of_provider(subject, session)
        return Response(status=200, headers=NO_STORE)

    def _claims(self, pending: PendingSignIn) -> tuple[Mapping[str, Any], str]:
        """Return the claims of the ID token for the code in the query, and the token."""
        issuer = request.args.get("iss")
        expects_issuer = self._provider.metadata().get("authorization_response_iss_parameter_supported") is True
        if issuer != self._provider.settings.issuer and (issuer is not None or expects_issuer):  # RFC 9207
            raise InvalidRequest("the answer is not of this server's identity provider; begin the sign-in again")
        if error := request.args.get("error"):
            reason = error if error.isascii() and error.replace("_", "").isalpha() and len(error) <= 60 else "an error"
            raise InvalidRequest(f"the identity provider has refused the sign-in ({reason}); begin it again")
        code = request.args.get("code")
        if not code:
            raise InvalidRequest("the identity provider has sent no code; begin the sign-in again")
        client = self._client()
        endpoint = self._provider.endpoint("token_endpoint")
        try:
            answer = client.fetch_token(
                endpoint, grant_type="authorization_code", code=code, code_verifier=pending.verifier
            )
        except ThreadhouseError:
            raise
        except OAuth2Error:
            raise InvalidRequest("the identity provider does not accept its code; begin the sign-in again") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unavailable("the identity provider does not answer as it should; try again later") from None
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or len(id_token) > MAX_ID_TOKEN:
            raise Unavailable("the identity provider has issued no ID token; ask the operator of this server")
        access_token = access_token if isinstance(access_token, str) else None
        return self._tokens.check_sign_in(id_token, pending.nonce, access_token), id_token

    def _client(self) -> Any:
        return self._provider.client(redirect_uri=f"{self._url}{CALLBACK_PATH}")


def _redirect(url: str) -> Response:
    return Response(status=303, headers={**NO_STORE, "Referrer-Policy": "no-referrer", "Location": url})


def _host() -> str | None:
    """Return the name under which the browser knows this server."""
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None


def _form_value(raw: bytes, name: str) -> str:
    try:
        return parse_qs(raw.decode(), strict_parsing=True, max_num_fields=10)[name][0]
    except (ValueError, KeyError):
        raise InvalidRequest(f"expected a form with {name}") from None


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
