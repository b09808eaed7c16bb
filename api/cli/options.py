"""Options that several commands share."""

from __future__ import annotations

import os
import shlex
from urllib.parse import urlsplit

import click

from shared.config.server import LOG_FORMAT_VARIABLE, LOG_FORMATS
from shared.errors import ConfigError

GIVEN_HOME = "threadhouse.home"  # in the meta of click's context
DEFAULT_URL = "http://127.0.0.1:8765"  # of the server, where THREADHOUSE_URL is not set


def _set_home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["THREADHOUSE_HOME"] = os.path.abspath(os.path.expanduser(value))
        ctx.find_root().meta[GIVEN_HOME] = value


# It sets the environment variable and no parameter, so that child processes and `config.load(None, os.environ)` use it.
home_option = click.option(
    "--home",
    metavar="DIR",
    expose_value=False,
    callback=_set_home,
    help="Folder of config.toml, database and logs (default: THREADHOUSE_HOME, else ~/.threadhouse).",
)


def _set_log_format(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ[LOG_FORMAT_VARIABLE] = value


# As home_option: it sets the environment variable and no parameter.
log_format_option = click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    expose_value=False,
    callback=_set_log_format,
    help="Format of log lines (default: [server] log_format, else text).",
)


def same_home() -> str:
    """Return the option that a suggested command needs to use the same home, with a space before it, or ""."""
    given = click.get_current_context().find_root().meta.get(GIVEN_HOME)
    return f" --home {shlex.quote(given)}" if given else ""


def server_url(option: str | None = None) -> str:
    """Return the http:// or https:// URL of the server that an option or THREADHOUSE_URL names. Errors: ConfigError."""
    given = option or os.environ.get("THREADHOUSE_URL") or DEFAULT_URL
    scheme, _, rest = given.partition("://")
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        is_valid = scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        name = "--server " if option else "THREADHOUSE_URL="
        raise ConfigError(f"{name}{given}: expected the address of a server, like {DEFAULT_URL}")
    return f"{scheme}://{rest}"


_file = click.Path(exists=True, dir_okay=False, readable=True, resolve_path=True)
certfile_option = click.option(
    "--certfile", type=_file, help="Serve TLS with this certificate chain (PEM); requires --keyfile."
)
keyfile_option = click.option("--keyfile", type=_file, help="Private key of --certfile (PEM).")


def check_tls(certfile: str | None, keyfile: str | None) -> dict[str, str]:
    """Return gunicorn's settings for the two files: both or none. Errors: ConfigError (only one; no valid pair)."""
    if certfile is None and keyfile is None:
        return {}
    import ssl

    if certfile is None or keyfile is None:
        raise ConfigError("--certfile and --keyfile require each other")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certfile, keyfile)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"--certfile {certfile}, --keyfile {keyfile}: not a certificate and its key: {error}"
        ) from None
    return {"certfile": certfile, "keyfile": keyfile}
