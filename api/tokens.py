"""Signed bearer tokens (JWT, RFC 7519): whom one names. The algorithms are ours to choose, never the token's."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import jwt

from shared.config import AuthSettings
from shared.errors import ConfigError, Unauthorized

logger = logging.getLogger(__name__)

SHARED = "HS256"
PUBLIC = ("RS256", "ES256")
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: as long as the hash


class Tokens:
    """Checks tokens against the secret or the public keys of a file, which is read again when it changes.

    A change that cannot be read is logged, and what was read before stays in force.
    Errors: ConfigError (the file cannot be used at the start)
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._file: Path = settings.jwt_secret_file or settings.jwks_file or Path()
        self._read_as = _stamp(self._file)
        self._keys = self._load()

    def read(self, token: str) -> tuple[str, float]:
        """The name in the user claim, and for how many more seconds the token holds. Errors: Unauthorized."""
        settings = self._settings
        try:
            key, algorithm = self._key(jwt.get_unverified_header(token))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", settings.user_claim]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not accepted: {type(error).__name__}") from None
        name = claims[settings.user_claim]
        if not isinstance(name, str):
            raise Unauthorized(f"the token is not accepted: its {settings.user_claim} is not a string")
        return name, float(claims["exp"]) + settings.leeway_seconds - time.time()

    def is_good(self, token: str | None) -> bool:
        """Whether it is still accepted."""
        try:
            self.read(token or "")
        except Unauthorized:
            return False
        return True

    def _key(self, header: dict[str, Any]) -> tuple[Any, str]:
        """By the id in the token's header, or the only one; and the one algorithm that it is for."""
        self._look_at_file()
        key_id = header.get("kid")
        found = (
            self._keys.get(key_id) if key_id in self._keys or len(self._keys) != 1 else next(iter(self._keys.values()))
        )
        if found is None:
            raise jwt.InvalidKeyError("no such key")
        return found

    def _look_at_file(self) -> None:
        stamp = _stamp(self._file)
        if stamp == self._read_as:
            return
        self._read_as = stamp
        try:
            self._keys = self._load()
            logger.info("read %s again", self._file)
        except ConfigError as error:
            logger.error("what was read before stays in force: %s", error)

    def _load(self) -> dict[str | None, tuple[Any, str]]:
        """Key id → (key, algorithm)."""
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be read: {error.strerror}") from None
        if self._settings.jwt_secret_file is not None:
            secret = data.strip()
            if len(secret) < MIN_SECRET_BYTES:
                raise ConfigError(f"{self._file}: expected a secret of {MIN_SECRET_BYTES} bytes or more")
            return {None: (secret, SHARED)}
        return _public_keys(self._file, data)


def _public_keys(file: Path, data: bytes) -> dict[str | None, tuple[Any, str]]:
    try:
        listed = json.loads(data)["keys"]
        found = [one for one in listed if one.get("use", "sig") == "sig" and one.get("kty") in ("RSA", "EC")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f'{file}: expected a JSON Web Key Set: {{"keys": […]}}') from None
    keys: dict[str | None, tuple[Any, str]] = {}
    for one in found:
        try:
            key = jwt.PyJWK({**one, "alg": one.get("alg") or ("RS256" if one["kty"] == "RSA" else "ES256")})
        except (jwt.PyJWTError, ValueError) as error:
            raise ConfigError(f"{file}: key {one.get('kid')!r} cannot be read: {error}") from None
        if key.algorithm_name in PUBLIC:
            keys[one.get("kid")] = (key.key, key.algorithm_name)
    if not keys:
        raise ConfigError(f"{file}: expected at least one key for {' or '.join(PUBLIC)}")
    return keys


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
