"""threadhouse app-server: a server elsewhere behind stdin and stdout, for clients that spawn a process of their own."""

from __future__ import annotations

import os
import sys

import click

from api.cli.bridge.bridge import Bridge
from api.cli.login.logins import server_token
from api.cli.options import server_url

STDIO = "stdio://"


@click.command("app-server", context_settings={"ignore_unknown_options": True})
@click.option("--listen", default=STDIO, metavar="URL", help=f"Address to listen on; only {STDIO}, the default.")
@click.argument("ignored", nargs=-1, type=click.UNPROCESSED, metavar="")
def app_server(listen: str, ignored: tuple[str, ...]) -> None:
    """Speak the app-server protocol on stdin and stdout for a server that runs elsewhere.

    THREADHOUSE_URL names the server, THREADHOUSE_TOKEN the API key (default: the login of `threadhouse login`). Other
    arguments of `codex app-server` are accepted and ignored, because the server has its own configuration. Ends when
    stdin ends; running turns continue.
    """
    if listen != STDIO:
        raise click.UsageError(f"--listen: only {STDIO} is supported; `threadhouse up` serves WebSockets")
    url = server_url()
    Bridge(url, server_token(url), sys.stdout.buffer).run(sys.stdin.buffer)
    os._exit(0)  # the reader may be writing to stdout, which a normal exit would try to close
