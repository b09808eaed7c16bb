"""A deployment under fire: somebody who behaves works in it meanwhile, and at the end everything must be as before."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread

TURN_SECONDS = 60.0  # for a turn of the one who behaves, on a busy machine
PAUSE_SECONDS = 0.2  # between turns: those who do harm need the processors
FORBIDDEN = (b"Traceback", b"internal error", b"Segmentation", b"MemoryError", b"greenlet.error", b"Exception ignored")
MAX_GROWTH_BYTES = 600 * 1024 * 1024


class Fuzzed:
    """Use as a context; its end checks what `check` checks.

    key: of the one who does harm
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.key = deployment.add_user("mallory")[1]
        self._good: ProtocolClient = deployment.connect(token=deployment.add_user("alice")[1])
        self._over = threading.Event()
        self._neighbour = threading.Thread(target=self._behave, daemon=True)
        self._pids: set[int] = set()
        self.turns_s: list[float] = []
        self.harm: BaseException | None = None

    def __enter__(self) -> Fuzzed:
        self._thread_id = start_thread(self._good)
        self._turn()
        self._pids = self._tree()
        self._resident = {pid: resident_bytes(pid) for pid in self._pids}
        self._neighbour.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._neighbour.join(2 * TURN_SECONDS)

    def check(self) -> None:
        """Nobody else was harmed, no process ended, grew without bound or logged that something unforeseen happened."""
        self._over.set()
        self._neighbour.join(2 * TURN_SECONDS)
        assert not self._neighbour.is_alive()
        assert self.harm is None, f"the other connection: {self.harm!r}"
        assert self.turns_s
        assert self._good.lost is None
        assert self._pids <= self._tree(), "a process ended, and another one took its place"
        growth = {pid: resident_bytes(pid) - before for pid, before in self._resident.items()}
        assert max(growth.values()) < MAX_GROWTH_BYTES, growth
        for process in self.deployment.processes:
            assert process.is_running, f"{process.name} ended with {process.exit_code}:\n{process.log_tail()}"
            log = process.log.read_bytes()
            for word in FORBIDDEN:
                place = log.find(word)
                assert place < 0, f"{process.name}: {log[max(0, place - 1000) : place + 3000].decode(errors='replace')}"

    def growth_bytes(self) -> int:
        """Of the process that grew most."""
        return max(resident_bytes(pid) - before for pid, before in self._resident.items())

    def _behave(self) -> None:
        try:
            while not self._over.is_set():
                self._turn()
                self._over.wait(PAUSE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - said by `check`
            self.harm = error

    def _turn(self) -> None:
        began_s = time.monotonic()
        turn = run_turn(self._good, self._thread_id, command("echo unharmed"), deadline_s=TURN_SECONDS)
        assert turn["status"] == "completed", turn
        self.turns_s.append(time.monotonic() - began_s)

    def _tree(self) -> set[int]:
        """The pids of the processes and of their children that stay: commands of turns come and go."""
        pids = [process.pid for process in self.deployment.processes]
        for pid in pids:  # grows as it goes
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += map(int, file.read_text().split())
                except OSError:
                    continue
        return {pid for pid in pids if not is_command(pid)}


def is_command(pid: int) -> bool:
    """Whether a turn's command runs in it, or the search that came of one."""
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
