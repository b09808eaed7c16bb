"""A deployment that receives hostile input while another user works in it; at the end nothing may be damaged."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread

TURN_SECONDS = 180.0  # for a turn of the well-behaved user, on a busy machine
PAUSE_SECONDS = 0.2  # between these turns, because the hostile clients need the processors
FORBIDDEN = (b"Traceback", b"internal error", b"Segmentation", b"MemoryError", b"greenlet.error", b"Exception ignored")
MAX_GROWTH_BYTES = 600 * 1024 * 1024


class Fuzzed:
    """A deployment with a hostile user and a well-behaved one, who runs turns all the time. Use as a context.

    key:     the API key of the hostile user
    turns_s: seconds of each turn of the well-behaved user
    error:   the exception that ended these turns, if one did
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.key = deployment.add_user("mallory")[1]
        self._client: ProtocolClient = deployment.connect(token=deployment.add_user("alice")[1])
        self._ended = threading.Event()
        self._user_thread = threading.Thread(target=self._run_turns, daemon=True)
        self._pids: set[int] = set()
        self.turns_s: list[float] = []
        self.error: BaseException | None = None

    def __enter__(self) -> Fuzzed:
        self._thread_id = start_thread(self._client)
        self._run_turn()
        begun = self._tree()
        self._run_turn()
        self._pids = begun & self._tree()  # a process that becomes a command looks like its parent for a moment
        self._resident = {pid: resident_bytes(pid) for pid in self._pids}
        self._user_thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._user_thread.join(2 * TURN_SECONDS)

    def check(self) -> None:
        """Assert that the other turns completed, and no process ended, grew too much or logged an internal error."""
        self._ended.set()
        self._user_thread.join(2 * TURN_SECONDS)
        assert not self._user_thread.is_alive()
        assert self.error is None, f"the well-behaved user: {self.error!r}"
        assert self.turns_s
        assert self._client.lost is None
        assert not any(map(is_command, self._pids)), "a process ended, and another one replaced it"
        growth = {pid: resident_bytes(pid) - before for pid, before in self._resident.items()}
        assert max(growth.values()) < MAX_GROWTH_BYTES, growth
        for process in self.deployment.processes:
            assert process.is_running, f"{process.name} ended with {process.exit_code}:\n{process.log_tail()}"
            log = process.log.read_bytes()
            for text in FORBIDDEN:
                start = log.find(text)
                assert start < 0, f"{process.name}: {log[max(0, start - 1000) : start + 3000].decode(errors='replace')}"

    def growth_bytes(self) -> int:
        """Return by how much the resident memory of the process that grew most has grown."""
        return max(resident_bytes(pid) - before for pid, before in self._resident.items())

    def _run_turns(self) -> None:
        try:
            while not self._ended.is_set():
                self._run_turn()
                self._ended.wait(PAUSE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - `check` reports it
            self.error = error

    def _run_turn(self) -> None:
        began_s = time.monotonic()
        turn = run_turn(self._client, self._thread_id, command("echo unharmed"), deadline_s=TURN_SECONDS)
        assert turn["status"] == "completed", turn
        self.turns_s.append(time.monotonic() - began_s)

    def _tree(self) -> set[int]:
        """Return the pids of the processes and their children, without commands, which end with their turns."""
        pids = [process.pid for process in self.deployment.processes]
        for pid in pids:  # the loop appends to the list
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += map(int, file.read_text().split())
                except OSError:
                    continue
        return {pid for pid in pids if not is_command(pid)}


def is_command(pid: int) -> bool:
    """Return whether a process has ended, or runs a turn's command or a program that a request started."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return b"api.cli" not in words and b"redis" not in words and b"valkey" not in words and b"gunicorn" not in words


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
