"""Tokens of the OpenID Connect provider: those of a sign-in, bearer tokens, and those that end sessions."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import jwt
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError
from jwt.types import Options

from api.access.oidc_provider import Provider
from api.access.tokens import TokenUser, not_accepted
from shared.config.oidc import OidcSettings
from shared.errors import Unauthorized

_ALL_BUT_SIGNATURE: Options = {
    "verify_signature": False,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": True,
    "verify_aud": True,
    "verify_iss": True,
}
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class OidcTokens:
    """Verifies the provider's tokens. Errors: of all methods: Unauthorized; Unavailable (no key is known yet)."""

    def __init__(self, provider: Provider, leeway_seconds: int) -> None:
        self._provider = provider
        self._settings = provider.settings
        self._leeway_seconds = leeway_seconds

    def read(self, token: str) -> TokenUser:
        """Return whom a bearer token names.

        An ID token of a sign-in with a browser has a nonce and is refused: it is in the address to sign out with.
        """
        settings = self._settings
        own = {settings.client_id, settings.public_client_id or settings.client_id}
        claims = self._verified(token, {*own, *settings.audiences})
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if "events" in claims or ("nonce" in claims and own & set(audience)):
            raise Unauthorized("the token is not accepted: it is none to send requests with; use `threadhouse login`")
        left_s = float(claims["exp"]) + self._leeway_seconds - time.time()
        return TokenUser(user_name(settings, claims), left_s, is_admin(settings, claims), settings.create_users)

    def check_sign_in(self, token: str, nonce: str, access_token: str | None) -> Mapping[str, Any]:
        """Return the claims of the ID token that the provider issued for a sign-in with this nonce."""
        client_id = self._settings.client_id
        claims = self._verified(token, {client_id})
        params = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
        try:
            CodeIDToken(claims, jwt.get_unverified_header(token), {}, params).validate(leeway=self._leeway_seconds)
        except JoseError as error:
            raise not_accepted(error) from None
        if "events" in claims:
            raise Unauthorized("the token is not accepted: it is no ID token")
        return claims

    def check_logout(self, token: str) -> tuple[str | None, str | None]:
        """Return (subject, session) whose sessions the provider ends (OpenID Connect Back-Channel Logout 1.0, 2.6)."""
        claims = self._verified(token, {self._settings.client_id}, requires=("iat", "jti", "events"))
        subject, session, events = claims.get("sub"), claims.get("sid"), claims["events"]
        named = [one for one in (subject, session) if one is not None]
        is_event = isinstance(events, dict) and isinstance(events.get(LOGOUT_EVENT), dict)
        if not is_event or "nonce" in claims or not named or not all(isinstance(one, str) for one in named):
            raise Unauthorized("the token is not accepted: it is no logout token")
        return subject, session

    def _verified(
        self, token: str, audiences: Collection[str], requires: Collection[str] = ("iat", "sub")
    ) -> dict[str, Any]:
        """Return the claims of a token of the provider for one of the audiences.

        The provider is asked for a key only after what needs none was checked.
        """
        checks: dict[str, Any] = {
            "audience": list(audiences),
            "issuer": self._settings.issuer,
            "leeway": self._leeway_seconds,
        }
        required = ["exp", "iss", "aud", *requires]
        try:
            jwt.decode(token, options={**_ALL_BUT_SIGNATURE, "require": required}, **checks)
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._provider.key(key_id)
            if key is None:
                raise jwt.InvalidKeyError("no such key")
            claims: dict[str, Any] = jwt.decode(
                token, key.value, algorithms=[key.algorithm], options={"require": required}, **checks
            )
        except jwt.PyJWTError as error:
            raise not_accepted(error) from None
        return claims


def user_name(settings: OidcSettings, claims: Mapping[str, Any]) -> str:
    """Return the name of the user. Errors: Unauthorized."""
    name = claims.get(settings.user_claim)
    if not isinstance(name, str):
        raise Unauthorized(
            f"the provider's ID token has no claim {settings.user_claim}; the operator sets [auth.oidc] user_claim to "
            "another one, or has the provider put it into ID tokens"
        )
    if settings.user_claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        raise Unauthorized("the provider has not verified your e-mail address; verify it there and sign in again")
    return name


def is_admin(settings: OidcSettings, claims: Mapping[str, Any]) -> bool:
    """Return whether the claims make an admin."""
    found = claims.get(settings.admin_claim)
    values = found if isinstance(found, list) else [found]
    return any(isinstance(value, str) and value in settings.admin_values for value in values)
