"""An OpenID Connect provider on loopback: authorization code with PKCE, device code, refresh, keys, sign-out.

What a person does in the browser is `visit`; a real browser gets pages with a link for each person.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
CLIENT = "threads"
SECRET = "canary-of-the-client"
CLI = "threads-cli"
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{0}</title><main><h1>{0}</h1>{1}</main></html>'


class OidcProvider:
    """The provider; a context manager.

    people:    name → more claims of this person's tokens
    claims:    claims that replace those of the tokens that are issued from now on
    faults:    path → what it does instead: "fails", "rubbish", "huge", "silent" (until the end) or an answer
    says_iss:  whether answers to authorization requests have `iss`
    requests:  (path, form) of each request
    signs_with: (key, algorithm, key id) of the tokens that are issued from now on
    expires_in: seconds for which tokens are valid
    reuses_codes: whether a code counts more than once
    """

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {"ada": {"groups": ["staff"]}, "grace": {"groups": ["staff", "ops"]}}
        self.claims: dict[str, Any] = {}
        self.faults: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.expires_in = 300
        self.reuses_codes = False
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.rotate()
        self.ended: list[str] = []  # subjects that have signed out here
        self.revocation_status = 200
        self._codes: dict[str, dict[str, str]] = {}
        self._devices: dict[str, dict[str, Any]] = {}
        self._refresh_tokens: dict[str, dict[str, Any]] = {}
        self._over = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._handle(self, b"")

            def do_POST(self) -> None:
                provider._handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> OidcProvider:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    # -- what people and tests do

    def visit(self, authorization_url: str, person: str | None) -> str:
        """Log in as a person, or refuse (None). Return the address that the browser is sent back to."""
        assert authorization_url.startswith(f"{self.issuer}/authorize?"), authorization_url
        asked = dict(parse_qsl(urlsplit(authorization_url).query))
        if person is None:
            answer = {"error": "access_denied"}
        else:
            answer = {"code": secrets.token_hex(8)}
            self._codes[answer["code"]] = {**asked, "person": person}
        return f"{asked['redirect_uri']}?{urlencode({**answer, 'state': asked['state'], 'iss': self.issuer})}"

    def approve(self, user_code: str, person: str) -> None:
        """Approve the device that shows this code."""
        [device] = [one for one in self._devices.values() if one["user_code"] == user_code]
        device["person"] = person

    def forget_logins(self) -> None:
        """Accept no refresh token any more that was issued until now."""
        self._refresh_tokens.clear()

    def rotate(self) -> None:
        """Sign with a new key from now on, the only one that is listed."""
        key = ec.generate_private_key(ec.SECP256R1())
        key_id = secrets.token_hex(4)
        self.keys = {key_id: key}
        self.signs_with: tuple[Any, str, str] = (key, "ES256", key_id)

    def token(self, **claims: Any) -> str:
        """Return a signed token with these claims beside the usual ones."""
        at_s = int(time.time())
        usual = {"iss": self.issuer, "aud": CLIENT, "iat": at_s, "exp": at_s + self.expires_in}
        key, algorithm, key_id = self.signs_with
        return jwt.encode(usual | claims | self.claims, key, algorithm, headers={"kid": key_id})

    def logout_token(self, **claims: Any) -> str:
        """Return a token that ends sessions."""
        return self.token(**{"jti": secrets.token_hex(8), "events": {LOGOUT_EVENT: {}}} | claims)

    def id_token(self, person: str, client: str, **claims: Any) -> str:
        return self.token(
            **{"sub": person, "aud": client, "sid": f"session-of-{person}"} | self.people[person] | claims
        )

    # -- requests

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path, query = urlsplit(request.path).path, dict(parse_qsl(urlsplit(request.path).query))
        form = dict(parse_qsl(body.decode()))
        self.requests.append((path, form or query))
        match self.faults.get(path):
            case "silent":
                self._over.wait()
            case "fails":
                _answer(request, 503, b"<h1>canary-of-an-error</h1>", "text/html")
            case "rubbish":
                _answer(request, 200, b"<h1>canary-of-an-error</h1>", "text/html")
            case "huge":
                _answer(request, 200, b'{"a": "' + b"x" * 2_000_000 + b'"}')
            case None:
                self._answer(request, path, query, form)
            case answer:
                _answer(request, 200, json.dumps(answer).encode())

    def _answer(self, request: BaseHTTPRequestHandler, path: str, query: dict[str, str], form: dict[str, str]) -> None:
        match path:
            case "/.well-known/openid-configuration":
                _answer(request, 200, json.dumps(self._discovery() | self.metadata).encode())
            case "/keys":
                listed = [
                    jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
                    | {"kid": kid, "use": "sig"}
                    for kid, key in self.keys.items()
                ]
                _answer(request, 200, json.dumps({"keys": listed}).encode())
            case "/authorize" if "person" in query:
                person = query.pop("person")
                _redirect(request, self.visit(f"{self.issuer}/authorize?{urlencode(query)}", person))
            case "/authorize":
                names = [(name, f"{request.path}&person={name}") for name in self.people]
                _answer(request, 200, _page("Log in as", names), "text/html; charset=utf-8")
            case "/end":
                hint = jwt.decode(query["id_token_hint"], options={"verify_signature": False})
                self.ended.append(hint["sub"])
                _redirect(request, query["post_logout_redirect_uri"])
            case "/token":
                answer = self._tokens(request, form)
                _answer(request, 400 if "error" in answer else 200, json.dumps(answer).encode())
            case "/device":
                code, user_code = secrets.token_hex(8), secrets.token_hex(3).upper()
                self._devices[code] = {"user_code": user_code, "client": form["client_id"], "scope": form["scope"]}
                shown = {"verification_uri": f"{self.issuer}/code", "expires_in": 60, "interval": 1}
                _answer(request, 200, json.dumps({"device_code": code, "user_code": user_code, **shown}).encode())
            case "/revoke":
                if self.revocation_status == 200:
                    self._refresh_tokens.pop(form["token"], None)
                _answer(request, self.revocation_status, b"")
            case "/favicon.ico":
                _answer(request, 204, b"")
            case _:
                _answer(request, 404, b"{}")

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/end",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "authorization_response_iss_parameter_supported": True,
            "scopes_supported": ["openid", "email", "offline_access"],
        }

    def _tokens(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> dict[str, Any]:
        match form["grant_type"]:
            case "authorization_code":
                return self._redeem(request, form)
            case "refresh_token":
                found = self._refresh_tokens.pop(form["refresh_token"], None)
                return self._issue(found["person"], found["client"]) if found else {"error": "invalid_grant"}
            case _:
                device = self._devices[form["device_code"]]
                if "person" not in device:
                    return {"error": "authorization_pending"}
                del self._devices[form["device_code"]]
                return self._issue(device["person"], device["client"])

    def _redeem(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> dict[str, Any]:
        asked = self._codes.get(form["code"]) if self.reuses_codes else self._codes.pop(form["code"], None)
        basic = base64.b64decode(request.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            asked is None
            or basic != f"{CLIENT}:{SECRET}"
            or asked["code_challenge"] != digest.decode().rstrip("=")
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return {"error": "invalid_grant", "error_description": "canary-of-an-error"}
        return self._issue(asked["person"], CLIENT, nonce=asked["nonce"])

    def _issue(self, person: str, client: str, **claims: Any) -> dict[str, Any]:
        refresh = f"canary-refresh-{secrets.token_hex(8)}"
        self._refresh_tokens[refresh] = {"person": person, "client": client}
        tokens = {"access_token": f"canary-access-{secrets.token_hex(8)}", "token_type": "Bearer", "expires_in": 300}
        return {**tokens, "refresh_token": refresh, "id_token": self.id_token(person, client, **claims)}


def _page(title: str, links: list[tuple[str, str]]) -> bytes:
    items = "".join(f'<p><a href="{html.escape(url)}">{name}</a></p>' for name, url in links)
    return PAGE.format(title, items).encode()


def _redirect(request: BaseHTTPRequestHandler, url: str) -> None:
    request.send_response(303)
    request.send_header("Location", url)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _answer(request: BaseHTTPRequestHandler, status: int, data: bytes, content_type: str = "application/json") -> None:
    request.send_response(status)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
