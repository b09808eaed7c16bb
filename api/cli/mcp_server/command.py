"""threadhouse mcp-server: an MCP server on stdin and stdout, for agents that spawn one as a process of their own."""

from __future__ import annotations

import click

from api.cli.login.logins import server_token
from api.cli.options import server_url


@click.command("mcp-server")
def mcp_server() -> None:
    """Offer the threads of a server to other agents, as an MCP server on stdin and stdout.

    The tools are `codex` (start a thread), `codex-reply` (continue one), `codex-list` and `codex-read`. Approval
    requests are put to the user of the client by elicitation; a client without elicitation has them declined.

    THREADHOUSE_URL names the server, THREADHOUSE_TOKEN the API key (default: the login of `threadhouse
    login`). Ends when stdin ends; the turns that it has started and that still run are interrupted.
    """
    from api.cli.mcp_server.server import serve

    url = server_url()
    serve(url, server_token(url))
