"""Kills the tool runner of a host when it stands still; whatever started the runner starts it again.

The workers of the host run as another user, so they cannot kill it. The watcher is a child of the runner.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable

from workers.sandbox import runner
from workers.sandbox.channel import Channel
from workers.sandbox.messages import HEARTBEAT, OperationRequest

RESTART_SECONDS = 1.0  # before a watcher that ended is replaced

logger = logging.getLogger(__name__)


def keep(serve: Callable[[socket.socket], None]) -> None:
    """Start a watcher of this process, and another one whenever it ends. serve: answers its connection."""
    while True:
        ours, theirs = socket.socketpair()
        serve(ours)
        with theirs:
            watcher = subprocess.Popen(
                runner.command_line({"watched": theirs.fileno()}),
                executable="/proc/self/exe",
                env=runner.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                pass_fds=[theirs.fileno()],
            )
        logger.error("watcher of the tool runner ended with %d, starting another", watcher.wait())
        time.sleep(RESTART_SECONDS)


def watch(connection: socket.socket) -> None:
    """Request heartbeats of the parent process until it ends; kill it when it gives none."""
    watched = os.pidfd_open(os.getppid())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the runner has to be watched while it shuts down, too
    connection.settimeout(runner.SILENCE_SECONDS)
    channel = Channel(connection)
    try:
        while True:
            channel.send(OperationRequest(do=HEARTBEAT, args=[], kwargs={}))
            if channel.receive() is None:
                return
            time.sleep(runner.HEARTBEAT_SECONDS)
    except TimeoutError:
        logger.error("tool runner did not answer for %g s, killing it", runner.SILENCE_SECONDS)
        signal.pidfd_send_signal(watched, signal.SIGKILL)
    except OSError:  # it has ended
        return
