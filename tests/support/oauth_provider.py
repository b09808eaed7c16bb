"""An MCP server over HTTP that wants a login, with its own authorization server (OAuth 2.1 for MCP).

What a person does in the browser is `visit`. Its one tool, `whoami`, answers with the name of the person whose token
the request has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit


class OAuthProvider:
    """The server, on loopback; a context manager.

    expires_in:  seconds for which the tokens are valid that it says, for tokens that it issues from now on
    registers:   whether clients may register
    is_open:     whether requests need no token
    tokens:      access token → the person; a token that is removed is no longer accepted
    requested:   the parameters of each authorization request
    forms:       the forms of each request for tokens
    """

    def __init__(self) -> None:
        self.expires_in = 3600
        self.registers = True
        self.is_open = False
        self.tokens: dict[str, str] = {}
        self.requested: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh_tokens: dict[str, str] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def do_DELETE(self) -> None:
                _answer(self, 200, {})

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.base}/mcp"

    def __enter__(self) -> OAuthProvider:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def visit(self, authorization_url: str, person: str | None) -> tuple[int, str]:
        """Do what a person does: log in and allow the access, or refuse it (None). Return what the browser shows then.

        Returns: (status, page) of the address that the browser was sent back to
        """
        return get(self.location(authorization_url, person))

    def location(self, authorization_url: str, person: str | None) -> str:
        """Return the address that the browser would be sent back to."""
        assert authorization_url.startswith(f"{self.base}/authorize?")
        asked = dict(parse_qsl(urlsplit(authorization_url).query))
        self.requested.append(asked)
        if person is None:
            answer = {"error": "access_denied"}
        else:
            answer = {"code": secrets.token_hex(8)}
            self._codes[answer["code"]] = {**asked, "person": person}
        return f"{asked['redirect_uri']}?{urlencode({**answer, 'state': asked['state']})}"

    # -- requests

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        match urlsplit(request.path).path:
            case "/.well-known/oauth-protected-resource/mcp":
                _answer(request, 200, {"resource": self.url, "authorization_servers": [self.base]})
            case "/.well-known/oauth-authorization-server":
                metadata = {
                    "issuer": self.base,
                    "authorization_endpoint": f"{self.base}/authorize",
                    "token_endpoint": f"{self.base}/token",
                    "registration_endpoint": f"{self.base}/register",
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                    "scopes_supported": ["read", "write"],
                }
                _answer(request, 200, metadata)
            case "/mcp":
                _answer(request, 405, {})
            case _:
                _answer(request, 404, {})

    def _post(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        match urlsplit(request.path).path:
            case "/register" if self.registers:
                _answer(request, 201, {**json.loads(body), "client_id": secrets.token_hex(4)})
            case "/token":
                self._token(request, dict(parse_qsl(body.decode())))
            case "/mcp":
                self._mcp(request, json.loads(body))
            case _:
                _answer(request, 403, {"error": "canary-of-an-error"})

    def _token(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        self.forms.append(form)
        person = self._redeem(form)
        if person is None:
            _answer(request, 400, {"error": "invalid_grant", "error_description": "canary-of-an-error"})
            return
        access, refresh = (f"canary-{kind}-{secrets.token_hex(8)}" for kind in ("access", "refresh"))
        self.tokens[access] = self._refresh_tokens[refresh] = person
        tokens = {"access_token": access, "token_type": "Bearer", "expires_in": self.expires_in}
        _answer(request, 200, {**tokens, "refresh_token": refresh})

    def _redeem(self, form: dict[str, str]) -> str | None:
        """Return the person of a code or a refresh token, each of which counts once."""
        if form["grant_type"] == "refresh_token":
            return self._refresh_tokens.pop(form["refresh_token"], None)
        asked = self._codes.pop(form["code"], None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if asked is None or asked["code_challenge"] != digest.decode().rstrip("="):
            return None
        same = all(asked[name] == form[name] for name in ("client_id", "redirect_uri", "resource"))
        return asked["person"] if same else None

    def _mcp(self, request: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        person = self.tokens.get((request.headers.get("Authorization") or "").removeprefix("Bearer "))
        if person is None and not self.is_open:
            metadata = f"{self.base}/.well-known/oauth-protected-resource/mcp"
            _answer(request, 401, {}, {"WWW-Authenticate": f'Bearer resource_metadata="{metadata}"'})
            return
        if "id" not in message:
            _answer(request, 202, None)
            return
        result: dict[str, Any]
        match message["method"]:
            case "initialize":
                info = {"name": "tracker", "version": "1"}
                version = message["params"]["protocolVersion"]
                result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                tool = {"name": "whoami", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
                result = {"tools": [tool]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": f"you are {person}"}]}
            case _:
                result = {}
        _answer(request, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


def get(url: str) -> tuple[int, str]:
    """Return status and body of a page."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _answer(request: BaseHTTPRequestHandler, status: int, body: object, headers: dict[str, str] | None = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
