"""`[auth.oidc]`: an OpenID Connect provider where users sign in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import is_http_url


def _is_issuer(url: str) -> bool:
    return is_http_url(url) and not {"?", "#"} & set(url)


@dataclass(frozen=True)
class OidcSettings:
    """A provider where users sign in to the web console, and whose ID tokens are accepted as bearer tokens."""

    issuer: Annotated[
        str,
        Setting(
            "The provider: `/.well-known/openid-configuration` below it says where everything else is.",
            matches=_is_issuer,
            expected="an http:// or https:// URL without a query",
        ),
    ]
    client_id: Annotated[str, Setting("This server's client at the provider.")]
    client_secret_env_var: Annotated[
        str | None,
        Setting(
            "The environment variable of API processes that contains the client's secret.",
            default="none: a public client",
        ),
    ] = None
    cli_client_id: Annotated[
        str | None,
        Setting(
            "The public client of `threadhouse login`, with the device authorization grant.",
            default="client_id, if that has no secret",
        ),
    ] = None
    name: Annotated[str, Setting("What the sign-in page calls the provider.", default="the issuer's host")] = ""
    scopes: Annotated[tuple[str, ...], Setting("Scopes that are asked for; `openid` is always among them.")] = (
        "openid",
        "profile",
        "email",
    )
    user_claim: Annotated[
        str, Setting("The claim of ID tokens that contains the user's name; users must not be able to change it.")
    ] = "sub"
    create_users: Annotated[
        bool, Setting("Whether an unknown user becomes a member; otherwise they cannot sign in.")
    ] = False
    admin_claim: Annotated[
        str, Setting("The claim whose values make an admin, for as long as the session or token is valid.")
    ] = "groups"
    admin_values: Annotated[
        tuple[str, ...], Setting("Values of `admin_claim`, one of which is enough.", default="none")
    ] = ()
    audiences: Annotated[
        tuple[str, ...],
        Setting("Further `aud` of the provider's tokens that are accepted as bearer tokens.", default="none"),
    ] = ()
    session_hours: Annotated[
        int,
        Setting("How long a session of the web console lasts at most.", unit="h", minimum=1, maximum=14 * 24),
    ] = 12
    private_hosts: Annotated[
        tuple[str, ...],
        Setting(
            "Hosts of the provider that may have a private or loopback address: names, addresses or networks.",
            default="none",
        ),
    ] = ()
    client_secret: str | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> OidcSettings:
        """Read the client's secret, which only API processes have."""
        name = values.get("name") or urlsplit(values["issuer"]).hostname
        scopes = tuple(dict.fromkeys(("openid", *values.get("scopes", cls.scopes))))
        secret = table.environ.get(values.get("client_secret_env_var", "")) or None
        return cls(**values | {"name": name, "scopes": scopes}, client_secret=secret)

    @property
    def public_client_id(self) -> str | None:
        """The client that a program of a user may be; None: there is none."""
        return self.cli_client_id or (None if self.client_secret_env_var else self.client_id)
