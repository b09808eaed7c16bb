"""threadhouse mcp: list, add and remove the operator's MCP servers, and log in at them, as `codex mcp`."""

from __future__ import annotations

import json
import os
import shlex
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from api.cli.client import Client
from api.cli.host import show
from api.cli.login.logins import server_token
from api.cli.mcp import config_file
from api.cli.options import home_option, same_home, server_url
from api.cli.visible import visible
from shared import config as configuration
from shared.errors import InvalidRequest

if TYPE_CHECKING:
    from shared.config.mcp_servers import McpServer

MASKED = "*****"
WHEN = "Restart the server, or call config/mcpServer/reload as its local user."
AUTH = {"unsupported": "Unsupported", "unknown": "Unknown", "bearer_token": "Bearer token"}

name_argument = click.argument("name", metavar="NAME")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("mcp")
@home_option
def mcp() -> None:
    """Manage the MCP servers of config.toml, and log in at them.

    list, get, add and remove read and write HOME/config.toml; login and logout use a running server, as the user of
    THREADHOUSE_TOKEN.
    """


@mcp.command("list")
@json_option
@home_option
def list_(as_json: bool) -> None:
    """List the MCP servers. Values that may be secrets are shown as *****."""
    servers = [server for _, server in sorted(configuration.load(None, os.environ).mcp_servers.items())]
    if as_json:
        click.echo(json.dumps([_as_json(server, whole=False) for server in servers], indent=2))
        return
    if not servers:
        click.echo(f"No MCP servers configured yet. Try `threadhouse{same_home()} mcp add my-tool -- my-command`.")
        return
    programs = [_program_row(server) for server in servers if server.url is None]
    addresses = [_address_row(server) for server in servers if server.url is not None]
    show(programs, as_json=False)
    if programs and addresses:
        click.echo()
    show(addresses, as_json=False)


@mcp.command()
@name_argument
@json_option
@home_option
def get(name: str, as_json: bool) -> None:
    """Show an MCP server. Values that may be secrets are shown as *****."""
    server = configuration.load(None, os.environ).mcp_servers.get(name)
    if server is None:
        raise _not_found(name)
    if as_json:
        click.echo(json.dumps(_as_json(server, whole=True), indent=2))
        return
    for line in _lines(server):
        click.echo(line)


@mcp.command()
@name_argument
@click.argument("command", nargs=-1, metavar="[-- COMMAND [ARGS]...]")
@click.option("--url", metavar="URL", help="Address of a server that speaks streamable HTTP.")
@click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="Variable that the command gets.")
@click.option(
    "--bearer-token-env-var", metavar="VAR", help="Environment variable of the workers that has the bearer token."
)
@click.option("--scopes", metavar="SCOPE,SCOPE", help="OAuth scopes to ask for at a login.")
@click.option("--oauth-resource", metavar="RESOURCE", help="OAuth resource to name at a login.")
@home_option
def add(
    name: str,
    command: tuple[str, ...],
    url: str | None,
    variables: tuple[str, ...],
    bearer_token_env_var: str | None,
    scopes: str | None,
    oauth_resource: str | None,
) -> None:
    """Add an MCP server, or replace the one of this name: a command that runs in the sandbox, or an address."""
    from shared.config.mcp_servers import NAME

    if not NAME.fullmatch(name):
        raise click.UsageError(f"invalid server name {name!r} (use letters, numbers, '-', '_', ':', '@', '/', '.')")
    if bool(command) == (url is not None):
        raise click.UsageError("give either --url URL or -- COMMAND")
    of_address = {
        "bearer_token_env_var": bearer_token_env_var,
        "scopes": scopes.split(",") if scopes else None,
        "oauth_resource": oauth_resource,
    }
    given = {key: value for key, value in of_address.items() if value is not None}
    if url is None and given:
        raise click.UsageError("--bearer-token-env-var, --scopes and --oauth-resource go with --url")
    if url is not None and variables:
        raise click.UsageError("--env goes with a command")
    table: dict[str, Any] = {"url": url, **given} if url is not None else {"command": command[0]}
    if command[1:]:
        table["args"] = list(command[1:])
    if variables:
        table["env"] = dict(map(_pair, variables))
    config_file.put_server(name, table)
    click.echo(f"Added MCP server '{name}'. {WHEN}")


@mcp.command()
@name_argument
@home_option
def remove(name: str) -> None:
    """Remove an MCP server from config.toml. The logins of users at it stay."""
    if config_file.remove_server(name):
        click.echo(f"Removed MCP server '{name}'. {WHEN}")
    else:
        click.echo(f"No MCP server named '{name}' found.")


@mcp.command()
@name_argument
@click.option("--scopes", metavar="SCOPE,SCOPE", help="OAuth scopes to ask for (default: those of the configuration).")
@click.option("--no-browser", is_flag=True, help="Print the URL without opening a browser.")
def login(name: str, scopes: str | None, no_browser: bool) -> None:
    """Log in at an MCP server with the browser, and wait until that is done.

    THREADHOUSE_URL names the running server, THREADHOUSE_TOKEN the API key of the user who logs in.
    """
    from api.cli.mcp.login import log_in

    def send_away(url: str) -> None:
        click.echo(f"Authorize `{name}` by opening this URL in your browser:\n{visible(url, kept='')}\n")
        if not no_browser:
            webbrowser.open(url)

    log_in(server_url(), server_token(server_url()), name, scopes.split(",") if scopes else None, send_away)
    click.echo(f"Successfully logged in to MCP server '{name}'.")


@mcp.command()
@name_argument
def logout(name: str) -> None:
    """Forget a user's login at an MCP server.

    THREADHOUSE_URL names the running server, THREADHOUSE_TOKEN the API key of the user.
    """
    if Client(server_url(), server_token(server_url())).call("mcpServer/oauth/logout", {"name": name})["removed"]:
        click.echo(f"Removed the login at '{name}'.")
    else:
        click.echo(f"There is no login at '{name}'.")


def _not_found(name: str) -> InvalidRequest:
    return InvalidRequest(f"No MCP server named '{name}' found: `threadhouse{same_home()} mcp list` shows them")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise click.UsageError("--env: expected KEY=VALUE")
    return name.strip(), value


def _auth(server: McpServer) -> str:
    """Return how requests to a server are authorized; logins belong to users, who see theirs in their clients."""
    if server.url is None:
        return "unsupported"
    return "bearer_token" if server.bearer_token_env_var else "unknown"


def _status(server: McpServer) -> str:
    return "enabled" if server.enabled else "disabled"


def _program_row(server: McpServer) -> dict[str, object]:
    return {
        "name": server.name,
        "command": server.command,
        "args": shlex.join(server.args) or None,
        "env": _variables(server) or None,
        "cwd": server.cwd,
        "status": _status(server),
        "auth": AUTH[_auth(server)],
    }


def _address_row(server: McpServer) -> dict[str, object]:
    return {
        "name": server.name,
        "url": server.url,
        "bearer token env var": server.bearer_token_env_var,
        "status": _status(server),
        "auth": AUTH[_auth(server)],
    }


def _variables(server: McpServer) -> str:
    """Return the variables that a program gets, with masked values."""
    return ", ".join([*_masked(server.env), *(f"{name}={MASKED}" for name in server.env_vars)])


def _masked(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={MASKED}" for name in sorted(values)]


def _lines(server: McpServer) -> list[str]:
    """Return a server as `codex mcp get` shows it."""
    if not server.enabled:
        return [f"{server.name} (disabled)"]
    facts: dict[str, str] = {"enabled": "true"}
    if server.enabled_tools is not None:
        facts["enabled_tools"] = ", ".join(server.enabled_tools)
    if server.disabled_tools:
        facts["disabled_tools"] = ", ".join(server.disabled_tools)
    if server.url is None:
        facts |= {"transport": "stdio", "command": server.command or "", "args": shlex.join(server.args)}
        facts |= {"cwd": server.cwd or "", "env": _variables(server)}
    else:
        named = [f"{header}={variable}" for header, variable in sorted(server.env_http_headers.items())]
        facts |= {"transport": "streamable_http", "url": server.url}
        facts |= {"bearer_token_env_var": server.bearer_token_env_var or ""}
        facts |= {"http_headers": ", ".join(_masked(server.http_headers)), "env_http_headers": ", ".join(named)}
    facts["remove"] = f"threadhouse{same_home()} mcp remove {server.name}"
    return [server.name, *(f"  {name}: {value or '-'}" for name, value in facts.items())]


def _as_json(server: McpServer, *, whole: bool) -> dict[str, object]:
    """Return a server as `codex mcp list --json` and `get --json` (whole) print it, with masked values."""
    shown: dict[str, object] = {"name": server.name, "enabled": server.enabled, "disabled_reason": None}
    if server.url is None:
        shown["transport"] = {
            "type": "stdio",
            "command": server.command,
            "args": list(server.args),
            "env": dict.fromkeys(sorted(server.env), MASKED) or None,
            "env_vars": list(server.env_vars),
            "cwd": server.cwd,
        }
    else:
        shown["transport"] = {
            "type": "streamable_http",
            "url": server.url,
            "bearer_token_env_var": server.bearer_token_env_var,
            "http_headers": dict.fromkeys(sorted(server.http_headers), MASKED) or None,
            "env_http_headers": dict(server.env_http_headers) or None,
        }
    if whole:
        shown["enabled_tools"] = None if server.enabled_tools is None else list(server.enabled_tools)
        shown["disabled_tools"] = list(server.disabled_tools) or None
    shown |= {"startup_timeout_sec": server.startup_timeout_sec, "tool_timeout_sec": server.tool_timeout_sec}
    return shown if whole else {**shown, "auth_status": _auth(server)}
