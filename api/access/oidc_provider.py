"""An OpenID Connect provider: its discovery document, its keys, and requests to it.

Requests go to addresses that were checked (shared.guarded_http), with a time limit and a limit of bytes. Nothing that
the provider answers is logged or shown: it may have secrets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import jwt
import orjson
from authlib.oauth2.client import OAuth2Client

from api.access.tokens import Key, public_key
from shared import guarded_http
from shared.config.oidc import OidcSettings
from shared.config.urls import is_http_url
from shared.errors import AddressRefused, Unavailable

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 8.0  # for one request, from the look-up of the name to the last byte
MAX_ANSWER_BYTES = 512 * 1024
KEPT_SECONDS = 3600.0  # for which discovery document and keys are not asked for again
FAILED_SECONDS = 2.0  # for which a provider that never answered is not asked again
RETRY_SECONDS = 30.0  # between two requests for keys, however many tokens name unknown ones
DISCOVERY = "/.well-known/openid-configuration"
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
JSON = {"Accept": "application/json"}
T = TypeVar("T")


class Provider:
    """What one process knows of the provider. Errors: of all methods that may ask it: Unavailable."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._lock = threading.RLock()  # one request at a time for discovery document and keys
        self._failure = ""
        self._failed_until_s = float("-inf")
        self._metadata: Mapping[str, Any] = {}
        self._metadata_until_s = float("-inf")
        self._keys: dict[str | None, Key] = {}
        self._keys_asked_s = float("-inf")

    def metadata(self) -> Mapping[str, Any]:
        """Return the discovery document; the previous one while the provider does not answer."""
        with self._lock:
            if time.monotonic() > self._metadata_until_s:
                kept_s = KEPT_SECONDS
                try:
                    self._metadata = self._first_time(self._discover) if not self._metadata else self._discover()
                except Unavailable:
                    if not self._metadata:
                        raise
                    kept_s = RETRY_SECONDS
                self._metadata_until_s = time.monotonic() + kept_s
            return self._metadata

    def endpoint(self, name: str) -> str:
        """Return an endpoint of the discovery document."""
        url = self.metadata().get(name)
        if not isinstance(url, str) or not self._is_usable(url):
            raise self._unusable(f"has no usable {name}")
        return url

    def key(self, key_id: str | None) -> Key | None:
        """Return the key of that id, or the only one for a token that names none; None: there is none."""
        if not self._knows(key_id):
            with self._lock:
                if not self._knows(key_id):  # another thread has not asked meanwhile
                    self._ask_for_keys()
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def client(self, *, public: bool = False, redirect_uri: str | None = None) -> OAuth2Client:
        """Return this server's client; public: that of users' programs."""
        settings = self.settings
        offered = self.metadata().get("token_endpoint_auth_methods_supported") or AUTH_METHODS[:1]
        secret = None if public else settings.client_secret
        return OAuth2Client(
            _Session(self),
            settings.public_client_id if public else settings.client_id,
            secret,
            token_endpoint_auth_method=next((one for one in AUTH_METHODS if one in offered), None)
            if secret
            else "none",
            scope=" ".join(settings.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request to an endpoint."""
        host = urlsplit(url).hostname
        if not self._is_usable(url):
            raise self._unusable("names an endpoint that is not https")
        try:
            answer = guarded_http.send(
                method,
                url,
                headers,
                deadline=time.monotonic() + REQUEST_SECONDS,
                max_bytes=MAX_ANSWER_BYTES,
                body=body,
                allowed=self.settings.private_hosts,
            )
        except AddressRefused as error:
            logger.error("identity provider not asked, [auth.oidc] private_hosts does not allow it: %s", error)
            raise self._unusable("has a host that this server may not reach") from None
        except (Unavailable, *guarded_http.FAILURES) as error:
            logger.warning("identity provider did not answer: %s: %s", host, error)
            raise Unavailable(f"the identity provider {self.settings.name} does not answer; try again later") from None
        if answer.is_cut:
            raise self._unusable("answers more than it should")
        return Answer(answer.status, answer.body)

    def get_json(self, url: str) -> dict[str, Any]:
        """Return the object at a URL."""
        answer = self.request("GET", url, JSON)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code != 200 or not isinstance(found, dict):
            raise self._unusable(f"answers HTTP {answer.status_code} without what was asked for")
        return found

    def _discover(self) -> dict[str, Any]:
        found = self.get_json(self.settings.issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self.settings.issuer:
            logger.error("identity provider has another issuer than [auth.oidc] issuer: %s", self.settings.issuer)
            raise self._unusable("calls itself by another issuer than [auth.oidc] issuer")
        return found

    def _knows(self, key_id: str | None) -> bool:
        """Return whether the keys are new enough for a token that names this one."""
        kept_s = KEPT_SECONDS if key_id in self._keys or (key_id is None and self._keys) else RETRY_SECONDS
        return time.monotonic() - self._keys_asked_s <= kept_s

    def _ask_for_keys(self) -> None:
        """Read the keys anew. The previous ones stay in force when the provider answers none."""
        try:
            self._keys = self._first_time(self._read_keys) if not self._keys else self._read_keys()
        except Unavailable:
            if not self._keys:
                raise
        self._keys_asked_s = time.monotonic()

    def _read_keys(self) -> dict[str | None, Key]:
        listed = self.get_json(self.endpoint("jwks_uri")).get("keys")
        keys = dict(_usable_keys(listed if isinstance(listed, list) else []))
        if not keys:
            raise self._unusable("has no key for RS256 or ES256")
        return keys

    def _first_time(self, ask: Callable[[], T]) -> T:
        """Ask what nothing is known of yet. Those who have waited meanwhile fail with the first one."""
        if time.monotonic() < self._failed_until_s:
            raise Unavailable(self._failure)
        try:
            return ask()
        except Unavailable as error:
            self._failure, self._failed_until_s = str(error), time.monotonic() + FAILED_SECONDS
            raise

    def _is_usable(self, url: str) -> bool:
        """Return whether a URL is as safe as the issuer's."""
        return is_http_url(url) and (url.startswith("https:") or self.settings.issuer.startswith("http:"))

    def _unusable(self, what: str) -> Unavailable:
        return Unavailable(f"the identity provider {self.settings.name} {what}; ask the operator of this server")


class Answer:
    """An HTTP answer, in the form that the library expects."""

    def __init__(self, status_code: int, content: bytes) -> None:
        self.status_code = status_code
        self._content = content

    def json(self) -> Any:
        """Errors: ValueError."""
        return orjson.loads(self._content)

    def raise_for_status(self) -> None:
        """Errors: ValueError."""
        if self.status_code >= 400:
            raise ValueError(f"HTTP {self.status_code}")


class _Session:
    """Sends the requests of the library."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> Answer:
        url, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return self._provider.request("POST", url, sent, body.encode())


def _usable_keys(listed: list[Any]) -> list[tuple[str | None, Key]]:
    """Return the keys that can be used; what else a provider lists does not matter."""
    found = []
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") not in ("RSA", "EC"):
            continue
        try:
            key = public_key(one)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        key_id = one.get("kid")
        if key is not None and (key_id is None or isinstance(key_id, str)):
            found.append((key_id, key))
    return found
