"""Options that several commands share."""

from __future__ import annotations

import os

import click

from shared.errors import ConfigError


def _set_home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["THREADHOUSE_HOME"] = os.path.abspath(os.path.expanduser(value))


# It sets the variable instead of a parameter: `shared.config.load(None, os.environ)` and every child process see it.
home_option = click.option(
    "--home",
    metavar="DIR",
    expose_value=False,
    callback=_set_home,
    help="Folder of config.toml, database and logs (THREADHOUSE_HOME; default ~/.threadhouse).",
)

_file = click.Path(exists=True, dir_okay=False, readable=True, resolve_path=True)
certfile_option = click.option("--certfile", type=_file, help="Serve TLS with this certificate chain (PEM).")
keyfile_option = click.option("--keyfile", type=_file, help="The certificate's private key (PEM).")


def check_tls(certfile: str | None, keyfile: str | None) -> dict[str, str]:
    """Both files, or none, by the names of their settings. Errors: ConfigError (one alone, or they do not fit)."""
    if certfile is None and keyfile is None:
        return {}
    import ssl

    if certfile is None or keyfile is None:
        raise ConfigError("--certfile and --keyfile go together")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certfile, keyfile)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"--certfile {certfile}, --keyfile {keyfile}: no TLS with these: {error}") from None
    return {"certfile": certfile, "keyfile": keyfile}
