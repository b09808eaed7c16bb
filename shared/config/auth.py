"""`[auth]`: bearer tokens (JWT) that another system signs, and the provider where users sign in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from shared.config.oidc import OidcSettings
from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable

OF_TOKENS = ("issuer", "audience", "jwt_secret_file", "jwks_file", "user_claim", "create_users")


@dataclass(frozen=True)
class AuthSettings:
    """Tokens (JWT) that another system signs, accepted beside API keys. They need one of the two files."""

    issuer: Annotated[
        str, Setting("The claim `iss` that tokens must have.", default="required with one of the files")
    ] = ""
    audience: Annotated[
        str,
        Setting("The claim `aud` that tokens must have, or contain.", default="required with one of the files"),
    ] = ""
    jwt_secret_file: Annotated[Path | None, Setting("File with the shared secret of HS256, 32 bytes or more.")] = None
    jwks_file: Annotated[
        Path | None,
        Setting("JSON Web Key Set with public keys of RS256 or ES256; it is read again when it changes."),
    ] = None
    leeway_seconds: Annotated[
        int,
        Setting("How far the clocks of an issuer and of this server may differ.", unit="s", maximum=300),
    ] = 30
    user_claim: Annotated[str, Setting("The claim that contains the user's name.")] = "sub"
    create_users: Annotated[
        bool, Setting("Whether an unknown user becomes a member; otherwise the token is refused.")
    ] = False

    oidc: Annotated[OidcSettings | None, Setting("The provider where users sign in.", default="none")] = None

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> AuthSettings:
        """Errors: ConfigError, unless exactly one of the two files is set; or none of the settings of tokens."""
        if "oidc" in values and not any(name in values for name in OF_TOKENS):
            return cls(**values)
        for name, expected in (("issuer", "the `iss` of your tokens"), ("audience", "the `aud` of your tokens")):
            if name not in values:
                raise table.error(name, expected, None)
        if ("jwt_secret_file" in values) == ("jwks_file" in values):
            found = values.get("jwks_file")
            raise table.error("jwks_file", "either this or jwt_secret_file", None if found is None else str(found))
        return cls(**values)

    @property
    def has_tokens(self) -> bool:
        """Whether tokens are accepted whose keys are in one of the two files."""
        return bool(self.jwt_secret_file or self.jwks_file)
