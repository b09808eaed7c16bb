"""A Redis master, its replica and three Sentinels, for failovers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import redis

from api.cli import child, embedded_redis
from tests.support import processes
from tests.support.wait import until

MASTER = "threadhouse"
PORTS = range(12_000, 19_000)  # apart from those of deployments, and below the range of outgoing connections
SENTINEL = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {master_port} 2
sentinel down-after-milliseconds {master} 1000
sentinel failover-timeout {master} 5000
"""


class RedisSentinels:
    """The five processes, on the loopback device; a context manager. url: in the form of THREADHOUSE_REDIS_URL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = random.sample(PORTS, 5)
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports[2:])
        self.url = f"redis+sentinel://{hosts}/{MASTER}"

    def __enter__(self) -> RedisSentinels:
        master, replica, *sentinels = self._ports
        self._start_server(master)
        self._start_server(replica, "--replicaof", "127.0.0.1", str(master))
        for port in sentinels:
            folder = self._make_folder(port)
            file = folder / "sentinel.conf"
            file.write_text(SENTINEL.format(port=port, folder=folder, master=MASTER, master_port=master))
            self._start(port, str(file), "--sentinel")
        self.wait_until_whole()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.kill()
            server.wait()

    def kill_master(self) -> int:
        """Kill the master. Return its port."""
        port = self.master()
        self._servers[port].kill()
        self._servers[port].wait()
        return port

    def pause_master(self) -> int:
        """Stop the master without an end of its connections. Return its port."""
        port = self.master()
        processes.pause(self._servers[port].pid)
        return port

    def exchange(self) -> int:
        """Have the Sentinels exchange master and replica, both of which live. Return the old master's port."""
        port = self.master()
        self._sentinels()[0].execute_command("SENTINEL", "FAILOVER", MASTER)
        return port

    def restart(self, port: int) -> None:
        """Bring a server back, as a replica of the present master, and wait until it is one."""
        self._servers[port].kill()
        self._servers[port].wait()
        self._start_server(port, "--replicaof", "127.0.0.1", str(self.master()))
        self.wait_until_whole()

    def master(self) -> int:
        """Return the port of the present master, as the first Sentinel knows it."""
        return int(self._sentinels()[0].sentinel_get_master_addr_by_name(MASTER)[1])  # type: ignore[index]

    def wait_for_other_master(self, port: int) -> None:
        """Wait until all Sentinels name another master than this one, and it accepts writes."""

        def is_other() -> bool:
            named = {self._state(sentinel).get("port") for sentinel in self._sentinels()}
            return len(named) == 1 and not named & {port, None} and self._role(int(named.pop())) == "master"

        until(is_other)

    def wait_until_whole(self) -> None:
        """Wait until each Sentinel knows the other ones, one replica that is in step, and a master."""

        def is_whole() -> bool:
            for sentinel in self._sentinels():
                state = self._state(sentinel)
                if state.get("num-other-sentinels") != 2 or state.get("flags") != "master":
                    return False
                replicas = sentinel.sentinel_slaves(MASTER)
                if not any(one["master-link-status"] == "ok" and one["flags"] == "slave" for one in replicas):
                    return False
            return True

        until(is_whole)

    def _state(self, sentinel: redis.Redis) -> dict[str, object]:
        try:
            return dict(sentinel.sentinel_master(MASTER))
        except redis.RedisError:
            return {}

    def _role(self, port: int) -> str:
        try:
            return str(redis.Redis(port=port, socket_timeout=1, decode_responses=True).role()[0])
        except redis.RedisError:
            return ""

    def _sentinels(self) -> list[redis.Redis]:
        return [redis.Redis(port=port, socket_timeout=5, decode_responses=True) for port in self._ports[2:]]

    def _start_server(self, port: int, *options: str) -> None:
        folder = self._make_folder(port)
        common = ("--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes", "--save", "")
        self._start(port, "--port", str(port), *common, "--repl-diskless-sync-delay", "0", *options)
        until(lambda: self._role(port))

    def _start(self, port: int, *arguments: str) -> None:
        program = [sys.executable, "-IS", child.__file__, str(os.getpid()), embedded_redis.binary(), *arguments]
        with (self._folder / f"redis-{port}.log").open("ab") as log:
            self._servers[port] = subprocess.Popen(
                program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _make_folder(self, port: int) -> Path:
        folder = self._folder / f"redis-{port}"
        folder.mkdir(exist_ok=True)
        return folder
