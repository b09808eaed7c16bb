"""The original's terminal client in a terminal of its own: what a person types, and what they see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.wait import until

CODEX = Path(__file__).parents[2] / "node_modules" / ".bin" / "codex"
COLUMNS, ROWS = 160, 80
SECONDS = 30.0  # for what is awaited to be seen: node starts the client, and the machine may be busy
READY = r"^  mock-model .* · \S*/workspaces/"  # the line below the prompt, once the server has made or found a thread
PROMPT = "\n›"
# Nothing but the server is asked; and typed text is never taken for pasted text, in which Enter begins a new line.
CLIENT_CONFIG = """\
check_for_update_on_startup = false
disable_paste_burst = true

[analytics]
enabled = false

[tui]
animations = false
screen_reader_detection_done = true
show_tooltips = false
"""


def require_codex() -> None:
    """Skip where the client or tmux is not installed; in CI that is a failure."""
    if missing := [program for program in (str(CODEX), "tmux", "node") if shutil.which(program) is None]:
        reason = f"not installed: {', '.join(missing)} (`make clients` installs the client)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class Tui:
    """`codex ARGUMENTS` in a tmux server that nobody else uses; a context manager.

    home:    its HOME, and the folder that it is started in
    config:  more of its config.toml
    """

    def __init__(self, home: Path, *arguments: str, config: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tui-")  # a short path, as sockets need it
        self._exit_code = Path(self._folder.name, "exit-code")
        (home / ".codex").mkdir(exist_ok=True)
        (home / ".codex" / "config.toml").write_text(CLIENT_CONFIG + config)
        environ = {
            "PATH": os.environ["PATH"],
            "TERM": "tmux-256color",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "CODEX_HOME": str(home / ".codex"),
        }
        # The pane outlives the client: tmux may lose the last output and the exit code of one that ends.
        shell = ["sh", "-c", '"$@"; echo $? > "$0"; exec cat', str(self._exit_code), str(CODEX), *arguments]
        command = ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *shell]
        self._tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(home), "--", *command)

    def __enter__(self) -> Tui:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the client and its terminal, as somebody does who closes the window."""
        self._tmux("kill-server")
        self._folder.cleanup()

    def screen(self) -> str:
        """What is visible now, without the white space at the ends of lines and with one empty line for many."""
        lines = self._tmux("capture-pane", "-p").splitlines()
        return re.sub("\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines))

    def composer(self) -> str:
        """What is visible of the prompt and below it."""
        return self.screen().rpartition(PROMPT)[2]

    def wait_for(self, pattern: str, *, seconds: float = SECONDS) -> None:
        """Until the screen shows what matches the regular expression; AssertionError with the screen."""
        self._until(lambda: re.search(pattern, self.screen(), re.MULTILINE), f"{pattern!r} is not there", seconds)

    def wait_until_gone(self, pattern: str, *, seconds: float = SECONDS) -> None:
        self._until(lambda: not re.search(pattern, self.screen(), re.MULTILINE), f"{pattern!r} is there", seconds)

    def wait_until_ready(self) -> None:
        """Until there is a prompt that takes text; what is typed before is lost."""
        self.wait_for(READY)

    def wait_until_ended(self, *, seconds: float = SECONDS) -> int:
        """Until the client has ended. Returns its exit code."""
        self._until(lambda: self._exit_code.exists() and self._exit_code.read_text(), "it runs", seconds)
        return int(self._exit_code.read_text())

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Escape, C-c, Up, y."""
        self._tmux("send-keys", *keys)

    def submit(self, text: str) -> None:
        """Type the text at the prompt, and Enter once it stands there; until it has left the prompt."""
        self._tmux("send-keys", "-l", "--", text)
        typed = _squeezed(text)
        self._until(lambda: typed in _squeezed(self.composer()), f"{text!r} does not stand at the prompt", SECONDS)
        self.press("Enter")
        self._until(lambda: typed not in _squeezed(self.composer()), f"{text!r} still stands at the prompt", SECONDS)

    def _until(self, condition: Callable[[], object], otherwise: str, seconds: float) -> None:
        try:
            until(condition, seconds=seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}: {otherwise}; the screen:\n{self.screen()}") from None

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", f"{self._folder.name}/socket", "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def _squeezed(text: str) -> str:
    """Without white space: the terminal wraps lines where it likes."""
    return "".join(text.split())
