"""`[auth]`: bearer tokens (JWT) that another system signs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable


@dataclass(frozen=True)
class AuthSettings:
    """Tokens (JWT) that another system signs, accepted beside API keys. Exactly one of the two files must be set."""

    issuer: Annotated[str, Setting("The claim `iss` that tokens must have.", expected="the `iss` of your tokens")]
    audience: Annotated[
        str,
        Setting("The claim `aud` that tokens must have, or contain.", expected="the `aud` of your tokens"),
    ]
    jwt_secret_file: Annotated[Path | None, Setting("File with the shared secret of HS256, 32 bytes or more.")] = None
    jwks_file: Annotated[
        Path | None,
        Setting("JSON Web Key Set with public keys of RS256 or ES256; it is read again when it changes."),
    ] = None
    leeway_seconds: Annotated[
        int,
        Setting("How far the clocks of the issuer and of this server may differ.", unit="s", maximum=300),
    ] = 30
    user_claim: Annotated[str, Setting("The claim that contains the user's name.")] = "sub"
    create_users: Annotated[
        bool, Setting("Whether an unknown user becomes a member; otherwise the token is refused.")
    ] = False

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> AuthSettings:
        """Errors: ConfigError, unless exactly one of the two files is set."""
        if ("jwt_secret_file" in values) == ("jwks_file" in values):
            found = values.get("jwks_file")
            raise table.error("jwks_file", "either this or jwt_secret_file", None if found is None else str(found))
        return cls(**values)
