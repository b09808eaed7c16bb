"""threadhouse login, logout and token: an account at the server's identity provider instead of an API key."""

from __future__ import annotations

import webbrowser

import click

from api.cli.client import Client
from api.cli.login import logins
from api.cli.login.logins import Login
from api.cli.options import server_url
from shared.errors import InvalidRequest, ThreadhouseError

server_option = click.option(
    "--server", metavar="URL", help="Address of the server (default: THREADHOUSE_URL, else http://127.0.0.1:8765)."
)


@click.command()
@server_option
@click.option("--no-browser", is_flag=True, help="Print the URL without opening a browser.")
def login(server: str | None, no_browser: bool) -> None:
    """Log in at the server's identity provider, with a code that you enter in a browser.

    The login is kept in ~/.config/threadhouse/logins.json, which only you can read, and is renewed by itself. `exec`,
    `app-server`, `mcp` and `mcp-server` use it for this server unless THREADHOUSE_TOKEN is set.
    """
    from api.cli.login.device import AtProvider

    url = _server(server)
    try:
        found = Client(url).get("/oidc/client")
    except InvalidRequest as error:
        raise InvalidRequest(f"nobody can log in at {url} ({error}): set THREADHOUSE_TOKEN to an API key") from None
    provider = AtProvider(found["issuer"], found["clientId"], found["scopes"])
    device = provider.begin()
    click.echo(f"Open {device.uri} in a browser, and enter the code {device.user_code} there.")
    if not no_browser:
        webbrowser.open(device.direct_uri)
    tokens = provider.wait(device)
    client = Client(url, tokens.id_token)
    client.call("account/read", {})  # says what is wrong if the server does not accept the token
    name = client.get("/console/session")["user"]["name"]
    logins.put(url, Login(found["issuer"], found["clientId"], *tokens))
    click.echo(f"Logged in at {url} as {name}.")
    if tokens.refresh_token is None:
        click.echo("The identity provider renews no login of programs: log in again when it has ended.", err=True)


@click.command()
@server_option
def logout(server: str | None) -> None:
    """Forget the login at a server, and end it at the identity provider."""
    from api.cli.login.device import AtProvider

    url = _server(server)
    removed = logins.remove(url)
    if removed is None:
        click.echo(f"There is no login at {url}.")
        return
    click.echo(f"Logged out at {url}.")
    if removed.refresh_token is not None:
        try:
            AtProvider(removed.issuer, removed.client_id).revoke(removed.refresh_token)
        except ThreadhouseError as error:
            click.echo(f"warning: the login may still hold at the identity provider: {error}", err=True)


@click.command()
@server_option
def token(server: str | None) -> None:
    """Print the token of the login at a server, for curl, SDKs and codex; it is valid for some minutes.

    \b
    export THREADHOUSE_TOKEN=$(threadhouse token)
    codex --remote wss://… --remote-auth-token-env THREADHOUSE_TOKEN
    """
    click.echo(logins.fresh_token(_server(server)))


def _server(given: str | None) -> str:
    return logins.check_server(server_url(given))
