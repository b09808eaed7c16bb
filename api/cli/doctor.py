"""threadhouse doctor: check this host and the deployment, and say what to do about each problem."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NotRequired, TypedDict

import click

from api.cli import embedded_redis
from api.cli.host import SCHEMA_OUT_OF_DATE, database_exists, outage_reason
from api.cli.options import home_option
from api.cli.worker import refuse_root
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, ThreadhouseError, Unavailable

CHECK_SECONDS = 90  # for all checks of the tool runner
CONNECT_SECONDS = 5
MIN_KERNEL = (5, 14)  # from this version on the kernel counts processes per user namespace


if TYPE_CHECKING:
    from shared.health import Check


class HostFacts(TypedDict):
    """What workers.runner.host finds out about its host.

    uid:          of the tool runner
    kernel:       release, such as 6.1.0
    machine:      its kind of processor, such as x86_64
    filter:       whether commands get a filter of system calls
    cgroups:      why the kernel does not limit the memory of commands, or None
    sandbox:      why commands cannot be isolated, or None
    workspaces:   why workspaces cannot be written, or None
    memory:       what ended a command that took more than its limit of memory, or None
    error:        why there are no facts; then it is the only member
    """

    uid: int
    kernel: str
    machine: str
    filter: bool
    cgroups: str | None
    sandbox: str | None
    workspaces: str | None
    memory: str | None
    error: NotRequired[str]


@click.command()
@home_option
def doctor() -> None:
    """Check configuration, Redis, database, sandbox, workspaces, and whether the server's processes do their work.

    Exit code 1 when one of the checks fails; warnings do not change the exit code.
    """
    config = configuration.load(None, os.environ)
    file = config.home / "config.toml"
    source = file if file.exists() else f"no {file}, so every setting has its default (another home: --home DIR)"
    click.echo(f"ok      config: {source}, Python {sys.version.split()[0]}")
    for warning in config.warnings:
        click.echo(f"warning config: {warning}")
    checks = (_redis, _database, _runner, _sandbox, _memory, _workspaces, _root)
    failed = [check.__name__ for check in checks if not _report(check, config)]
    for found in _deployment(config):
        click.echo(f"{'ok     ' if found.ok else 'failed '} {found.name}: {found.message}")
        if not found.ok:
            failed.append(found.name)
    with suppress(Unavailable):  # a check has reported it
        for advice in _advice(config):
            click.echo(f"warning {advice}")
    sys.exit(1 if failed else 0)


def _report(check: Callable[[Config], str], config: Config) -> bool:
    name = check.__name__.strip("_")
    try:
        click.echo(f"ok      {name}: {check(config)}")
    except ThreadhouseError as error:
        click.echo(f"failed  {name}: {error}")
        return False
    return True


def _redis(config: Config) -> str:
    if config.redis_is_embedded and not embedded_redis.answers(config.home):
        embedded_redis.binary()
        return "embedded, not running; `threadhouse up` starts it"
    import redis

    from shared import redis_clients

    try:
        bounds = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS}
        with redis_clients.connect(config.redis_url, **bounds) as client:
            client.ping()
    except redis.RedisError as error:
        raise Unavailable(f"{error}: start Redis, or correct THREADHOUSE_REDIS_URL") from error
    return "answers"


def _database(config: Config) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    from shared.store.migrations import schema_is_current

    if not database_exists(config):
        return "SQLite, not created yet; `threadhouse up` or `threadhouse migrate` creates it"
    try:
        current = schema_is_current(config.database_url)
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"{outage_reason(error)}: start the database, or correct THREADHOUSE_DATABASE_URL") from error
    if not current:
        raise ConfigError(SCHEMA_OUT_OF_DATE)
    return "answers, schema up to date"


def _deployment(config: Config) -> Iterator[Check]:
    """Yield what a running server's database and Redis show; nothing where one of them is not there."""
    import redis
    from sqlalchemy.exc import SQLAlchemyError

    from shared import redis_clients
    from shared.health import Check, check_deployment, check_disk
    from shared.store import Store

    yield check_disk(config.home)
    if config.redis_is_embedded and not embedded_redis.answers(config.home):
        return
    if not database_exists(config):
        return
    bounds = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS}
    store = Store(config.database_url)
    try:
        with redis_clients.connect(config.redis_url, **bounds) as client:
            yield from check_deployment(store, client, turns_at_once=config.limits.turns_at_once)
    except (redis.RedisError, SQLAlchemyError) as error:
        yield Check("deployment", False, f"not checked: {type(error).__name__}, see above")
    finally:
        store.close()


def _sandbox(config: Config) -> str:
    facts = _facts(config)
    if facts["sandbox"]:
        raise Unavailable(facts["sandbox"])
    return "bubblewrap isolates commands"


def _memory(config: Config) -> str:
    facts = _facts(config)
    if facts["sandbox"]:
        raise Unavailable("not tried, because commands cannot be isolated")
    ended_by = facts["memory"] or "nothing"
    if "memory limit" not in ended_by:
        raise Unavailable(
            f"a command that takes four times its limit was ended by {ended_by}, not by the limit: "
            "run commands on another host, and report this with the log of the tool runner"
        )
    if facts["cgroups"]:
        return "a command over its limit was ended by the watchdog: it is watched, not limited"
    return "a command over its limit was ended by the kernel (cgroup v2)"


def _workspaces(config: Config) -> str:
    folder, problem = config.server.workspaces_dir, _facts(config)["workspaces"]
    if problem:
        raise Unavailable(f"{problem}: let the tool runner's user write there, or set server.workspaces_dir")
    return f"{folder} is writable"


def _root(config: Config) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError):  # `_database` has reported it
        if database_exists(config):
            refuse_root(config)
    return "workers may run as this user"


def _runner(config: Config) -> str:
    uid, path = _facts(config)["uid"], config.server.tool_runner
    if path is None:
        return "each worker starts its own tool runner, as the same user"
    return f"answers at {path}, uid {uid}"


def _advice(config: Config) -> Iterator[str]:
    """Yield what works but is less safe or less exact than it could be, and what to do about it."""
    facts = _facts(config)
    if facts["uid"] == 0 or os.geteuid() == 0:
        yield "root: a command that escapes its sandbox controls this host; run worker and runner as other users"
    elif config.server.tool_runner is None or facts["uid"] == os.geteuid():
        yield (
            "runner: a command that escapes its sandbox can read the files of the workers; "
            "run `threadhouse runner` as another user and set server.tool_runner (deploy/SECURITY.md)"
        )
    if facts["cgroups"]:
        yield (
            "memory: what commands use is watched, not limited, so one of them can exhaust this host for a moment "
            f"({facts['cgroups']}); run the tool runner in a systemd unit with `Delegate=yes`, on cgroup v2, and where "
            "workers start it, run the server and this check in such a unit"
        )
    if not facts["filter"]:
        yield f"filter: no system call is refused, as there is no list for {facts['machine']}; use x86_64 or aarch64"
    version = tuple(int(part) for part in re.findall(r"\d+", facts["kernel"])[:2])
    if version < MIN_KERNEL:
        yield f"kernel: {facts['kernel']} limits processes per user, not per command; use Linux 5.14 or newer"


def _facts(config: Config) -> HostFacts:
    """Return what the tool runner that this host's workers use knows of the host. Errors: Unavailable."""
    answer = _ask_runner(str(config.server.tool_runner or ""), str(config.server.workspaces_dir))
    if "error" in answer:
        raise Unavailable(answer["error"])
    return answer


@lru_cache
def _ask_runner(socket: str, workspaces: str) -> HostFacts:
    # In a process of its own, because nothing in api/ imports workers/.
    program = "from workers.runner.host import print_facts; print_facts()"
    try:
        tried = subprocess.run(
            [sys.executable, "-P", "-c", program, socket, workspaces],
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not finished after {CHECK_SECONDS} s: see the tool runner's log") from None
    if tried.returncode != 0:
        raise Unavailable((tried.stderr.strip().splitlines() or ["it did not run"])[-1].partition(": ")[2])
    facts: HostFacts = json.loads(tried.stdout)
    return facts
