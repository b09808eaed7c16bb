"""Changes of `[mcp_servers.NAME]` in config.toml. Comments, order and all else of the file stay as they are."""

from __future__ import annotations

import fcntl
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import config as configuration
from shared.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SECTION = "mcp_servers"
NEW_FILE_MODE = 0o600  # it may get secrets


def put_server(name: str, table: Mapping[str, Any]) -> None:
    """Add a server, or replace the one of this name. Errors: ConfigError; the file is as it was then."""
    import tomlkit

    def edit(document: TOMLDocument) -> None:
        if SECTION not in document:
            document[SECTION] = tomlkit.table(is_super_table=True)
        servers: Any = document[SECTION]
        servers[name] = tomlkit.item(table)

    _change(edit)


def remove_server(name: str) -> bool:
    """Remove a server. Return whether there was one. Errors: ConfigError."""

    def edit(document: TOMLDocument) -> None:
        servers: Any = document[SECTION]
        del servers[name]
        if not servers:
            del document[SECTION]

    if name not in configuration.load(None, os.environ).mcp_servers:
        return False
    _change(edit)
    return True


def _change(edit: Callable[[TOMLDocument], None]) -> None:
    """Edit the file, and put it in place when a server would start with it. Errors: ConfigError."""
    import tomlkit

    file = configuration.load(None, os.environ).home / "config.toml"
    target = file.resolve()  # a link stays a link
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(target.parent):
            document = tomlkit.parse(target.read_text(encoding="utf-8")) if target.exists() else tomlkit.document()
            edit(document)
            text = tomlkit.dumps(document)
            configuration.check(file, tomllib.loads(text), os.environ)
            _replace(target, text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be changed: {error.strerror}") from None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until no other process changes a file of the folder so; the kernel releases the lock of a dead process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, text: str) -> None:
    """Replace a file at once: a process that reads it gets all of it, before or after. Its owner and mode stay."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".config.toml.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        like = file.stat() if file.exists() else file.parent.stat()
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(name, like.st_uid, like.st_gid)  # root edits the file of the user who runs the server
        os.chmod(name, like.st_mode & 0o777 if file.exists() else NEW_FILE_MODE)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
