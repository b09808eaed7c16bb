"""Signed bearer tokens (JWT, RFC 7519): verify them and read the user that they name.

The server's configuration decides which algorithm a key is used with, never the token's header.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jwt

from shared.config.auth import AuthSettings
from shared.errors import ConfigError, Unauthorized

logger = logging.getLogger(__name__)

SHARED = "HS256"
PUBLIC = ("RS256", "ES256")
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: as long as the hash


class Key(NamedTuple):
    """A key, and the one algorithm that it verifies. value: the secret's bytes, or a public key of `cryptography`."""

    value: Any
    algorithm: str


class TokenHeader(TypedDict, total=False):
    """The part of an unverified token header that is read. kid: id of the key."""

    kid: str


class TokenUser(NamedTuple):
    """Whom a token that is accepted names.

    left_s:   for how many seconds it is valid
    is_admin: whether the token makes them an admin, whatever their row says
    creates:  whether an unknown user becomes a member
    """

    name: str
    left_s: float
    is_admin: bool
    creates: bool


class Tokens:
    """Verifies tokens with the secret or the public keys of a file, which is read again when it changes.

    If the changed file cannot be read, the error is logged and the previous keys stay in force.
    Errors: ConfigError (the file cannot be used at the start)
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._file: Path = settings.jwt_secret_file or settings.jwks_file or Path()
        self._stamp = _stamp(self._file)
        self._keys = self._load()

    def read(self, token: str) -> TokenUser:
        """Return whom the token names. Errors: Unauthorized."""
        settings = self._settings
        try:
            header: Any = jwt.get_unverified_header(token)
            key = self._key(header)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.value,
                algorithms=[key.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", settings.user_claim]},
            )
        except jwt.PyJWTError as error:
            raise not_accepted(error) from None
        name = claims[settings.user_claim]
        if not isinstance(name, str):
            raise Unauthorized(f"the token is not accepted: its claim {settings.user_claim} must be a string")
        left_s = float(claims["exp"]) + settings.leeway_seconds - time.time()
        return TokenUser(name, left_s, False, settings.create_users)

    def _key(self, header: TokenHeader) -> Key:
        """Return the key that the token's header names, or the only one. Errors: jwt.InvalidKeyError."""
        self._reload_if_changed()
        key_id = header.get("kid")
        if key_id not in self._keys and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        found = self._keys.get(key_id)
        if found is None:
            raise jwt.InvalidKeyError("no such key")
        return found

    def _reload_if_changed(self) -> None:
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._load()
            logger.info("signing keys of tokens reloaded", extra={"file": str(self._file)})
        except ConfigError as error:
            logger.error("token keys not reloaded, the previous ones stay in force: %s", error)

    def _load(self) -> dict[str | None, Key]:
        """Return the keys of the file by their ids."""
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be read: {error.strerror}") from None
        if self._settings.jwt_secret_file is not None:
            secret = data.strip()
            if len(secret) < MIN_SECRET_BYTES:
                raise ConfigError(f"{self._file}: expected a secret of {MIN_SECRET_BYTES} bytes or more")
            return {None: Key(secret, SHARED)}
        return _public_keys(self._file, data)


def not_accepted(error: Exception) -> Unauthorized:
    """Return the error of a token that fails a check."""
    return Unauthorized(f"the token is not accepted: {type(error).__name__}; get a new one and retry")


def _public_keys(file: Path, data: bytes) -> dict[str | None, Key]:
    try:
        listed = json.loads(data)["keys"]
        found = [one for one in listed if one.get("use", "sig") == "sig" and one.get("kty") in ("RSA", "EC")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f'{file}: expected a JSON Web Key Set: {{"keys": […]}}') from None
    keys: dict[str | None, Key] = {}
    for one in found:
        try:
            key = public_key(one)
        except (jwt.PyJWTError, ValueError) as error:
            raise ConfigError(f"{file}: key {one.get('kid')!r} cannot be read: {error}") from None
        if key is not None:
            keys[one.get("kid")] = key
    if not keys:
        raise ConfigError(f"{file}: expected at least one key for {' or '.join(PUBLIC)}")
    return keys


def public_key(found: Mapping[str, Any]) -> Key | None:
    """Return a JSON Web Key; None: it is for another algorithm. Errors: jwt.PyJWTError, ValueError."""
    key = jwt.PyJWK({**found, "alg": found.get("alg") or ("RS256" if found["kty"] == "RSA" else "ES256")})
    return Key(key.key, key.algorithm_name) if key.algorithm_name in PUBLIC else None


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Return what changes when the file does; None: there is no such file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
