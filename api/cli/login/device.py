"""Logging in at an identity provider without a browser of this machine: the device authorization grant (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.base import OAuth2Error

from api.access.oidc_provider import JSON, Provider
from shared.config.oidc import OidcSettings
from shared.errors import InvalidRequest, Unavailable

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
FORM = {**JSON, "Content-Type": "application/x-www-form-urlencoded"}
ANYWHERE = ("0.0.0.0/0", "::/0")  # a program of the user reaches what the user does
INTERVAL_SECONDS = 5.0  # between two questions, if the provider says nothing else
MAX_INTERVAL_SECONDS = 60.0
MAX_SECONDS = 1800.0
OFFLINE = "offline_access"  # the scope of refresh tokens, at providers that have it


class Tokens(NamedTuple):
    id_token: str
    refresh_token: str | None


@dataclass(frozen=True, slots=True)
class Device:
    """A login that has begun. uri, user_code: what the user opens and enters; direct_uri: contains both"""

    code: str
    user_code: str
    uri: str
    direct_uri: str
    interval_seconds: float
    ends_at_s: float


class AtProvider:
    """The provider, as a program of a user sees it. Errors: of all methods: Unavailable, InvalidRequest."""

    def __init__(self, issuer: str, client_id: str, scopes: Sequence[str] = ("openid",)) -> None:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InvalidRequest("the identity provider of this server has no https, so you cannot log in there safely")
        self._provider = Provider(
            OidcSettings(issuer, client_id, name=parts.hostname or "", scopes=tuple(scopes), private_hosts=ANYWHERE)
        )
        self._client_id = client_id
        self._scopes = scopes

    def begin(self) -> Device:
        """Begin a login."""
        known = self._provider.metadata()
        if "device_authorization_endpoint" not in known:
            raise InvalidRequest("the identity provider has no login with device codes; use an API key")
        has_offline = OFFLINE in (known.get("scopes_supported") or ())
        scope = " ".join([*self._scopes, *([OFFLINE] if has_offline else [])])
        body = urlencode({"client_id": self._client_id, "scope": scope}).encode()
        answer = self._provider.request("POST", self._provider.endpoint("device_authorization_endpoint"), FORM, body)
        try:
            return _device(answer.json())
        except (ValueError, KeyError, TypeError):
            raise InvalidRequest(
                f"the identity provider begins no login with device codes for the client {self._client_id} "
                f"(HTTP {answer.status_code}); the operator of the server allows it there"
            ) from None

    def wait(self, device: Device) -> Tokens:
        """Wait until the user has entered the code."""
        interval_s = device.interval_seconds
        while time.monotonic() + interval_s < device.ends_at_s:
            time.sleep(interval_s)
            try:
                return self._fetch(grant_type=GRANT, device_code=device.code)
            except OAuth2Error as error:
                if error.error == "slow_down":
                    interval_s += INTERVAL_SECONDS
                elif error.error == "access_denied":
                    raise InvalidRequest("the login was refused at the identity provider") from None
                elif error.error != "authorization_pending":
                    break
            except Unavailable:
                interval_s = min(2 * interval_s, MAX_INTERVAL_SECONDS)  # RFC 8628, 3.5
        raise InvalidRequest("the code was not entered in time: run `threadhouse login` again")

    def renew(self, refresh_token: str) -> Tokens | None:
        """Return new tokens; None: the login has ended."""
        try:
            return self._fetch(grant_type="refresh_token", refresh_token=refresh_token)
        except (OAuth2Error, InvalidRequest):
            return None

    def revoke(self, refresh_token: str) -> None:
        """End a login at the provider, if it has a way to."""
        if "revocation_endpoint" in self._provider.metadata():
            body = urlencode({"client_id": self._client_id, "token": refresh_token, "token_type_hint": "refresh_token"})
            answer = self._provider.request("POST", self._provider.endpoint("revocation_endpoint"), FORM, body.encode())
            if answer.status_code != 200:  # RFC 7009, 2.2
                raise Unavailable(f"the identity provider has not ended it (HTTP {answer.status_code})")

    def _fetch(self, **params: str) -> Tokens:
        """Errors: OAuth2Error, too."""
        client = self._provider.client(public=True)
        try:
            found: Mapping[str, Any] = client.fetch_token(self._provider.endpoint("token_endpoint"), scope="", **params)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unavailable("the identity provider does not answer as it should; try again later") from None
        id_token, refresh_token = found.get("id_token"), found.get("refresh_token")
        if not isinstance(id_token, str):
            raise InvalidRequest("the identity provider has issued no ID token")
        return Tokens(id_token, refresh_token if isinstance(refresh_token, str) else None)


def _device(answer: Mapping[str, Any]) -> Device:
    """Errors: ValueError, KeyError, TypeError."""
    uri = answer["verification_uri"]
    direct_uri = answer.get("verification_uri_complete") or uri
    user_code = answer["user_code"]
    if not all(isinstance(text, str) for text in (uri, direct_uri, user_code)):
        raise TypeError
    # They are shown on a terminal, and opened in a browser.
    if not all(text.isascii() and text.isprintable() for text in (uri, direct_uri, user_code)):
        raise ValueError
    if not all(text.startswith(("https://", "http://")) for text in (uri, direct_uri)):
        raise ValueError
    interval_s = min(max(1.0, float(answer.get("interval", INTERVAL_SECONDS))), MAX_INTERVAL_SECONDS)
    ends_at_s = time.monotonic() + min(float(answer["expires_in"]), MAX_SECONDS)
    return Device(str(answer["device_code"]), user_code, uri, direct_uri, interval_s, ends_at_s)
