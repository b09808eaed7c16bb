"""threadhouse backup and threadhouse restore."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path
from types import TracebackType

import click

from api.cli.host import database_exists, database_name, format_time, private_files
from api.cli.options import home_option, same_home
from shared import config as configuration
from shared.errors import BackupError, ConfigError

SHOW_SECONDS = 0.2
UNITS = ("bytes", "KB", "MB", "GB", "TB")

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@folder_argument
@home_option
@private_files()
def backup(folder: Path) -> None:
    """Back up database, workspaces, session files and feedback to the folder DIR, while the server runs.

    First a snapshot of the database, then the files: each thread of the snapshot has its files as they were after it. A
    workspace may have what was done since, and lacks only what was removed since; a file that a command writes at that
    moment may be half old and half new.

    Run it with the same DIR again to continue an interrupted backup or to update a finished one, which stays as it is
    until the end; files that were last changed a minute or more before the run that read them, and not since, are not
    read again. Large files that are almost all holes are left out. DIR is for its owner alone. Neither config.toml nor
    the secrets that it names are backed up, nor is Redis, whose contents the server builds again.

    Run it as the user that the workspaces belong to: that of the server, or root where the tool runner has a user of
    its own. Postgres needs the program pg_dump.
    """
    from api.cli.backup import database, maker

    config = configuration.load(None, os.environ)
    if not database_exists(config):
        raise ConfigError(f"there is no database {database_name(config)}: name the server's home with --home DIR")
    shown = _Progress()
    with shown:
        made = maker.make(config, Path(os.path.abspath(folder)), shown)
    if made.skipped:
        click.echo("left out: " + "; ".join(f"{why}: {count}" for why, count in sorted(made.skipped.items())), err=True)
    if made.changed:
        click.echo(f"{made.changed} files changed while they were read", err=True)
    click.echo(
        f"backed up {database.kind(config)} ({_size(made.database_size)}) and {made.files} files ({_size(made.size)}, "
        f"of which {_size(made.read_size)} in {made.read} files were read) in {shown.seconds:.1f} s"
    )


@click.command()
@folder_argument
@click.option("--verify", is_flag=True, help="Only check the backup: read all of it and compare it with its manifest.")
@home_option
@private_files()
def restore(folder: Path, verify: bool) -> None:
    """Restore the backup in the folder DIR into an empty deployment that does not run.

    Stop all processes of the server first. On Postgres it is refused while somebody else is connected to the database;
    with SQLite only running workers and `threadhouse up` are noticed. `threadhouse up` cannot start meanwhile.

    It is refused where the database has users or threads or the folders are not empty. Run it again to continue an
    interrupted restore. Each file is compared with its digest, and the database gets the schema of this version.

    Run it as the user that the workspaces shall belong to. As root, files get the owner of the folder that they are
    restored to. Postgres needs the program pg_restore, and a database that exists.
    """
    from api.cli.backup import restorer

    shown = _Progress()
    folder = Path(os.path.abspath(folder))
    with shown:
        if verify:
            found = restorer.verify(folder, shown)
        else:
            found = restorer.restore(configuration.load(None, os.environ), folder, shown)
    click.echo(
        f"{'checked' if verify else 'restored'} {found.header.database} ({_size(found.header.size)}) and {found.files} "
        f"files ({_size(found.size)}) of {format_time(found.header.at_ms)} in {shown.seconds:.1f} s"
    )
    if verify:
        return
    click.echo(f"the database has {found.users} users and {found.threads} threads")
    if found.left_out:
        click.echo(
            f"left out {found.left_out} session files and folders: set `[server] sessions_dir` for them", err=True
        )
    click.echo(
        "next: stop the old server for good, or both run the same turns and send the same webhooks; put config.toml "
        f"and its secrets in place; run `threadhouse doctor{same_home()}`; start all processes; repeat the deletions "
        "that were made since (`threadhouse erasures list` of the old server)"
    )


class _Progress:
    """Shows on a terminal how much was read, and gives errors of the system a name. A context manager."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._shown_at = self._began_at
        self._size = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown_at != self._began_at:
            click.echo("\r\033[K", err=True, nl=False)
        if isinstance(error, OSError | sqlite3.Error):
            raise BackupError(f"{error}: solve this, and run the same command again to continue") from error

    def __call__(self, size: int) -> None:
        self._size += size
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown_at > SHOW_SECONDS:
            self._shown_at = now
            click.echo(f"\r\033[K{_size(self._size)} in {now - self._began_at:.0f} s", err=True, nl=False)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_at


def _size(size: float) -> str:
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == UNITS[0] else f"{size:.1f} {unit}"
